"""Nothing is written while nothing changes: 200 resources of all kinds, in many states, at rest.

`tests/soak/test_soak_idle.py` is the same with the operator's real intervals, for an hour.
"""

import asyncio
from dataclasses import replace

import pytest

from integration.operator.household import settle
from support.operator_idle import Watchman, open_house

COUNT = 200
ROUNDS = 3


@pytest.mark.timeout(1200)
async def test_two_hundred_resources_at_rest_write_nothing(stage) -> None:
    brisk = replace(
        stage.settings.intervals,
        resync=8.0, heartbeat=1.0, nodes=2.0, look=2.0, probe=2.0, catalog=3.0, knowledge=4.0, unreachable_most=3.0,
        heartbeat_timeout=30.0, look_timeout=30.0, probe_timeout=30.0,  # a busy machine is late, which is no loss
    )  # fmt: skip
    settings = replace(stage.settings, intervals=brisk)
    async with open_house() as (house, stage.outside):
        await stage.start(settings=settings)
        counts = await settle(stage, house, COUNT)
        watchman = Watchman(house, log=stage.plane.audit_log, namespace=stage.namespace, port=settings.http_port)

        await watchman.begin()

        async def all_went_round():
            await asyncio.sleep(1)
            rest = await watchman.look()
            assert not rest.writes, "\n".join(map(str, rest.writes[:20]))
            assert not rest.puts, rest.asked
            return rest if all(rest.passes.get(kind, 0) >= ROUNDS * count for kind, count in counts.items()) else None

        rest = await stage.until(all_went_round, seconds=300, why=f"{ROUNDS} passes over every resource")
        print(rest)
        # Every sort of look was taken, at every machine: else the silence above says nothing.
        variants = sum(len(fake.apps) for fake in house.fakes)
        assert variants > 60
        assert rest.asked["GET /api/serve/applications/"] >= ROUNDS * len(house.fakes)
        assert rest.asked["GET /api/v0/nodes"] >= ROUNDS * len(house.fakes)
        assert rest.asked["GET /{model}/{variant}/info"] >= ROUNDS * variants
        assert rest.asked["POST /{model}/{variant}/probe"] >= ROUNDS * variants
        assert rest.asked["GET /v1/kbs/{kb}/status"] >= ROUNDS * (counts["KnowledgeBase"] - 2)
        assert rest.reads > sum(counts.values())

        # And the same eyes see one write: a change that is small.
        stage.kubectl("patch", "kb", "base-0", "--type=merge", "-p", '{"spec": {"chunking": {"overlapTokens": 7}}}')

        async def written():
            return (await watchman.look()).writes

        seen = {right for call in await stage.until(written) for right in call.rights}
        assert ("knowledgebases/status", "base-0") in {(right.resource, right.name) for right in seen}
        await stage.stop()
