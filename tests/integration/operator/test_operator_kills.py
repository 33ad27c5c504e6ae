"""The operator is killed a few times while everything changes, and nothing is lost, doubled or out of order.

`tests/soak/test_soak_operator.py` is the same with hundreds of kills.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from support.operator_kill_run import run_kills

SEED = 5
KILLS = 12


@pytest.mark.timeout(500)
async def test_a_few_kills_lose_nothing(stage, tmp_path: Path) -> None:
    intervals = replace(stage.settings.intervals, not_yet=0.5, resync=2.0)
    print(await run_kills(stage, seed=SEED, kills=KILLS, seconds=120, intervals=intervals, folder=tmp_path))
