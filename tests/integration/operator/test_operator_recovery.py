"""At the intervals of a real house: what was away is told within 15 s, and is well again within 15 s of its return."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from hearth_operator.settings import Intervals
from integration.operator.test_operator_life import up

pytestmark = pytest.mark.timeout(300)
ASKED_SECONDS = 15.0
AWAY_SECONDS = 25.0
"""Longer than every delay that grows while something is away."""


async def timed(what: Callable[[], Awaitable[object]]) -> float:
    begun = time.monotonic()
    await what()
    return time.monotonic() - begun


async def test_knowledge_and_ray_that_were_away_are_well_again_soon(stage) -> None:
    await stage.start(settings=replace(stage.settings, intervals=Intervals()))
    await up(stage, "node", "embed", "knowledge")
    await stage.until_condition("KnowledgeBase", "work", "True", seconds=120)

    async def both(status: str, *, kb: str | None = None) -> None:
        await asyncio.gather(
            stage.until_condition("KnowledgeBase", "work", status, reason=kb, seconds=60),
            stage.until_condition("InferenceNode", "home", status, seconds=60),
            stage.until_condition("ModelDeployment", "embed", status, type_="Available", seconds=60),
        )

    stage.fake.knowledge_up = stage.fake.ray_up = False
    stage.fake.mute.add("embed.cpu")  # the whole machine is away, its model too
    told = await timed(lambda: both("Unknown", kb="Unreachable"))
    await asyncio.sleep(AWAY_SECONDS)
    stage.fake.knowledge_up = stage.fake.ray_up = True
    stage.fake.mute.clear()
    back = await timed(lambda: both("True"))

    assert told <= ASKED_SECONDS, f"told after {told:.1f} s"
    assert back <= ASKED_SECONDS, f"well again after {back:.1f} s"
    print(f"told after {told:.1f} s, well again {back:.1f} s after the return")
