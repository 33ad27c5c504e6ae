"""An hour of rest: 200 resources, the operator's real intervals, and not one write to the API server or to Ray.

HEARTH_SOAK_SECONDS bounds it (default 600); 3600 is the hour.
"""

import asyncio
import os
from dataclasses import replace

import pytest

from hearth_operator.settings import Intervals
from integration.operator.conftest import plane, stage
from integration.operator.household import settle
from support.operator_idle import Watchman, open_house

__all__ = ["plane", "stage"]
SECONDS = float(os.environ.get("HEARTH_SOAK_SECONDS", "600"))
COUNT = 200
LOOK_EVERY = 30.0


@pytest.mark.timeout(0)
async def test_an_hour_of_rest_writes_nothing(stage) -> None:
    settings = replace(stage.settings, intervals=Intervals())
    async with open_house() as (house, stage.outside):
        await stage.start(settings=settings)
        # Longer than a resync: whatever one of them still has to say is said.
        counts = await settle(stage, house, COUNT, quiet=1.5 * settings.intervals.resync)
        watchman = Watchman(house, log=stage.plane.audit_log, namespace=stage.namespace, port=settings.http_port)
        await watchman.begin()
        loop = asyncio.get_running_loop()
        end = loop.time() + SECONDS
        while loop.time() < end:
            await asyncio.sleep(min(LOOK_EVERY, max(0.0, end - loop.time())))
            rest = await watchman.look()
            assert not rest.writes, f"{rest}\n" + "\n".join(map(str, rest.writes[:20]))
            assert not rest.puts, rest
        resyncs = min(rest.passes[kind] / count for kind, count in counts.items())
        print(f"\n{COUNT} resources, {resyncs:.1f} passes over each of the kind with the fewest\n{rest}")
        assert resyncs >= int(SECONDS / settings.intervals.resync) - 1
        await stage.stop()
