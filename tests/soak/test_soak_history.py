"""Long histories of sources with crashes in between: each ends equal to one fresh run.

HEARTH_SOAK_SECONDS (default 600) bounds the whole; HEARTH_SOAK_SEED repeats a run. A failure names its seed and steps.
"""

import os
import random
import shutil
import time
from pathlib import Path

import pytest

from support.history import WORLDS, compare, live, random_steps

SECONDS = float(os.environ.get("HEARTH_SOAK_SECONDS", "600"))
SEED = int(os.environ.get("HEARTH_SOAK_SEED", "0")) or random.SystemRandom().getrandbits(40)


@pytest.mark.parametrize("kind", WORLDS)
def test_any_history_ends_equal_to_a_fresh_run(kind: str, tmp_path: Path) -> None:
    end, number = time.monotonic() + SECONDS / len(WORLDS), 0
    while time.monotonic() < end:
        number += 1
        steps = random_steps(random.Random(f"{SEED}-{kind}-{number}"), most=25)
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            compare(*live(kind, steps, folder), kind=kind)
        except AssertionError as error:
            error.add_note(f"seed {SEED}, history {number}: {steps}")
            raise
        shutil.rmtree(folder)
    print(f"\n{kind}: seed {SEED}, {number} histories")
    assert number
