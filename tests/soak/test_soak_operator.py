"""At least 300 kills of the operator at random moments under random changes: nothing lost, doubled or out of order.

HEARTH_SOAK_SECONDS (default 600) bounds it, HEARTH_SOAK_KILLS (default 300) is how many are wanted; HEARTH_SOAK_SEED
draws the same changes and moments again, of which the machine's own timing makes another run each time.
"""

import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from integration.operator.conftest import plane, stage
from support.operator_kill_run import run_kills

__all__ = ["plane", "stage"]
SECONDS = float(os.environ.get("HEARTH_SOAK_SECONDS", "600"))
KILLS = int(os.environ.get("HEARTH_SOAK_KILLS", "300"))
SEED = int(os.environ.get("HEARTH_SOAK_SEED", "0")) or random.SystemRandom().getrandbits(40)


@pytest.mark.timeout(0)
async def test_hundreds_of_kills_lose_nothing(stage, tmp_path: Path) -> None:
    intervals = replace(stage.settings.intervals, not_yet=0.5, resync=2.0)
    said = await run_kills(stage, seed=SEED, kills=KILLS, seconds=SECONDS, intervals=intervals, folder=tmp_path)
    print(f"\n{said}")
    if SECONDS >= 600:
        assert f" {KILLS} kills" in said, f"the machine is too slow for {KILLS} kills in {SECONDS:.0f} s: {said}"
