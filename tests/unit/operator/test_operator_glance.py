"""What passes share, and who goes first: with hundreds of resources, without anybody seeing what is out of date."""

import asyncio
from typing import Any

from hearth_operator import names
from hearth_operator.reconcile.glance import Glance
from hearth_operator.reconcile.observe import glance_at_fleet, observe_fleet
from hearth_operator.reconcile.placing import glance_at_placements
from hearth_operator.reconcile.queue import HEAD_START_SECONDS, Key, KeyedQueue
from support.fake_kube import as_stored
from support.operator_gen import managed_node, model
from support.operator_still import StillKube, still_context


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Counting(StillKube):
    """Counts lists; `during` runs in the middle of one."""

    lists = 0
    during: Any = None

    async def list_all(self, kind: str, labels: dict[str, str] | None = None) -> list[dict[str, Any]]:
        self.lists += 1
        found = await super().list_all(kind, labels)
        await asyncio.sleep(0)
        if self.during is not None:
            self.during()
        return found


def world() -> tuple[Any, Counting, Clock]:
    objects = [managed_node(), *(model(f"m{n}") for n in range(3))]
    kube, clock = Counting([as_stored(o) for o in objects]), Clock()
    return still_context(kube, clock=clock, glance=Glance(lifetime=2.0)), kube, clock


async def test_passes_at_once_list_once_and_plan_once() -> None:
    ctx, kube, _ = world()
    fleets = await asyncio.gather(*(glance_at_fleet(ctx) for _ in range(20)))
    assert kube.lists == 2, "nodes and models"
    assert len({id(fleet) for fleet in fleets}) == 1
    assert glance_at_placements(ctx, fleets[0]) is glance_at_placements(ctx, fleets[0])


async def test_a_change_or_two_seconds_make_a_new_list() -> None:
    ctx, kube, clock = world()
    await glance_at_fleet(ctx)
    ctx.glance.forget()
    await glance_at_fleet(ctx)
    assert kube.lists == 4
    clock.now += 2.0
    await glance_at_fleet(ctx)
    assert kube.lists == 6


async def test_a_list_during_which_something_changed_is_kept_by_nobody() -> None:
    ctx, kube, _ = world()
    kube.during = ctx.glance.forget
    await glance_at_fleet(ctx)
    kube.during = None
    await glance_at_fleet(ctx)
    assert kube.lists == 4


async def test_who_writes_to_ray_lists_always_and_reads_only_what_changed() -> None:
    ctx, kube, _ = world()
    first, again = await observe_fleet(ctx), await observe_fleet(ctx)
    assert kube.lists == 4
    assert all(a is b for a, b in zip(first.models, again.models, strict=True))
    raw = kube.objects[names.MODEL, "m1"]
    raw["metadata"]["resourceVersion"], raw["spec"]["suspend"] = "2", True
    changed = await observe_fleet(ctx)
    assert [m.spec.suspend for m in changed.models] == [False, True, False]
    raw["metadata"]["uid"], raw["spec"]["suspend"] = "another", False
    assert not any(m.spec.suspend for m in (await observe_fleet(ctx)).models)


async def test_a_change_goes_before_what_was_only_woken_with_it_and_nothing_starves() -> None:
    clock = Clock()
    queue = KeyedQueue(clock=clock)
    for number in range(100):
        queue.add(Key("M", f"woken-{number:03}"))
    queue.add(Key("M", "woken-050"), urgent=True)
    assert await queue.take() == Key("M", "woken-050")
    clock.now += HEAD_START_SECONDS + 1
    queue.add(Key("M", "changed"), urgent=True)
    assert await queue.take() == Key("M", "woken-000"), "has waited longer than the head start"
    assert len(queue) == 99
    assert queue.longest_due() == (Key("M", "woken-001"), HEAD_START_SECONDS + 1)
