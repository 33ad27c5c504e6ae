"""Slots, priorities, bounds, circuits."""

import asyncio

import pytest

from hearth_api.wire.keys import Priority
from hearth_gateway.admission import Admission
from hearth_gateway.catalog.model import Catalog
from hearth_gateway.circuit import Circuits
from hearth_gateway.errors import ModelNotReadyError, QueueFullError, QueueTimeoutError
from support.gateway import catalog, deployment, until, variant


class Clock:
    def __init__(self):
        self.value = 100.0

    def __call__(self):
        return self.value


class Room:
    def __init__(self, *variants, limit=8):
        self.clock = Clock()
        self.circuits = Circuits(monotonic=self.clock)
        self.catalog = catalog(deployment(variants=list(variants) or [variant()]))
        self.admission = Admission(
            lambda: self.catalog, circuits=self.circuits, queue_limit=limit, monotonic=self.clock
        )

    def ask(self, priority=Priority.NORMAL, seconds=5, **extra):
        return asyncio.create_task(self.admission.acquire("chat", priority=priority, seconds=seconds, **extra))

    @property
    def waiting(self):
        return sum(self.admission.waiting("chat").values())

    def busy(self, index=0):
        return self.admission.busy("chat", self.catalog.models["chat"].variants[index])


async def test_waiters_go_by_priority_then_by_arrival():
    room = Room()
    held = await room.ask()
    order = []

    async def wait(name, priority):
        lease = await room.admission.acquire("chat", priority=priority, seconds=5)
        order.append(name)
        lease.release()

    names = [("i1", Priority.INDEXING), ("n1", Priority.NORMAL), ("n2", Priority.NORMAL), ("x", Priority.INTERACTIVE)]
    tasks = []
    for number, (name, priority) in enumerate(names, start=1):
        tasks.append(asyncio.create_task(wait(name, priority)))
        await until(lambda: room.waiting == number)  # noqa: B023 (awaited within the turn)
    held.release()
    await asyncio.gather(*tasks)
    assert order == ["x", "n1", "n2", "i1"]
    assert room.busy() == 0


async def test_the_owners_order_decides_then_what_is_free():
    room = Room(variant("a", url="http://a", slots=1), variant("b", url="http://b", slots=1))
    first, second = await room.ask(), await room.ask()
    assert (first.variant.name, second.variant.name) == ("a", "b")
    waiting = room.ask()
    await until(lambda: room.waiting == 1)
    second.release()
    assert (await waiting).variant.name == "b"


async def test_a_full_queue_turns_away_the_least_urgent_and_latest():
    room = Room(limit=2)
    held = await room.ask()
    old, young = room.ask(Priority.BATCH), room.ask(Priority.BATCH)
    await until(lambda: room.waiting == 2)
    urgent = room.ask(Priority.INTERACTIVE)
    with pytest.raises(QueueFullError) as raised:
        await young
    assert raised.value.retry_after >= 1
    with pytest.raises(QueueFullError):
        await room.ask(Priority.INDEXING)
    held.release()
    (await urgent).release()
    (await old).release()


async def test_waiting_ends_at_the_deadline():
    room = Room()
    await room.ask()
    with pytest.raises(QueueTimeoutError):
        await room.ask(seconds=0.01)
    assert room.waiting == 0


async def test_a_cancelled_waiter_gives_back_a_slot_that_was_just_handed_to_it():
    room = Room()
    held = await room.ask()
    waiter = room.ask()
    await until(lambda: room.waiting == 1)
    held.release()
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert room.busy() == 0


async def test_releasing_twice_is_harmless():
    room = Room(variant(slots=2))
    first, second = await room.ask(), await room.ask()
    first.release()
    first.release()
    assert room.busy() == 1
    second.release()


async def test_a_new_variant_serves_who_waits():
    room = Room()
    await room.ask()
    waiter = room.ask()
    await until(lambda: room.waiting == 1)
    room.catalog = catalog(deployment(variants=[variant(slots=2)]))
    room.admission.catalog_changed()
    assert (await waiter).variant.slots == 2


async def test_fewer_slots_than_running_admit_nobody_until_enough_end():
    room = Room(variant(slots=2))
    first, second = await room.ask(), await room.ask()
    room.catalog = catalog(deployment(variants=[variant(slots=1)]))
    waiter = room.ask()
    await until(lambda: room.waiting == 1)
    first.release()
    await asyncio.sleep(0)
    assert not waiter.done()
    second.release()
    await waiter


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Catalog(), "is gone"),
        (catalog(deployment(suspend=True)), "suspended"),
        (catalog(deployment(variants=[], ready=False, message="no node fits")), "no node fits"),
        (catalog(deployment(variants=[variant(state="Failed")])), "cpu: Failed"),
        (catalog(deployment(variants=[variant(url=None)])), "none of its variants"),
    ],
    ids=["gone", "suspended", "condition", "failed", "without url"],
)
async def test_a_model_without_candidates_says_why(found, words):
    room = Room()
    room.catalog = found
    with pytest.raises(ModelNotReadyError, match=words):
        await room.ask()


async def test_excluded_variants_are_not_offered_again():
    room = Room(variant("a", url="http://a", slots=9), variant("b", url="http://b"))
    assert (await room.ask(excluded=frozenset({"a"}))).variant.name == "b"
    with pytest.raises(ModelNotReadyError):
        await room.ask(excluded=frozenset({"a", "b"}))


async def test_an_open_circuit_fails_fast_then_admits_one_trial():
    room = Room(variant(slots=4))
    for _ in range(2):
        lease = await room.ask()
        room.circuits.fail(lease.key)
        lease.release()
    with pytest.raises(ModelNotReadyError) as raised:
        await room.ask()
    assert raised.value.retry_after == 1
    room.clock.value += 1.1
    trial = await room.ask()
    waiter = room.ask()
    await until(lambda: room.waiting == 1)
    room.circuits.succeed(trial.key)
    trial.release()
    (await waiter).release()


async def test_who_waits_is_looked_at_again_when_a_circuit_admits_a_trial():
    room = Room(variant(slots=1))
    held = await room.ask()
    waiter = room.ask()
    await until(lambda: room.waiting == 1)
    room.circuits.fail(held.key)
    room.circuits.fail(held.key)
    held.release()
    assert room.waiting == 1
    room.clock.value += 0.99
    room.admission.wake_later("chat", key=held.key)
    room.clock.value += 0.02
    assert (await asyncio.wait_for(waiter, 2)).variant.name == "cpu"


def test_pauses_double_up_to_the_longest_and_success_ends_them():
    clock = Clock()
    circuits = Circuits(monotonic=clock)
    waits = []
    circuits.fail("x")
    for _ in range(6):
        circuits.fail("x")
        waits.append(circuits.wait("x"))
    assert waits == [1, 2, 4, 8, 15, 15]
    circuits.succeed("x")
    assert circuits.allows("x")
    assert circuits.wait("x") == 0


def test_a_trial_that_tells_nothing_can_be_tried_again():
    clock = Clock()
    circuits = Circuits(monotonic=clock)
    circuits.fail("x")
    circuits.fail("x")
    clock.value += 2
    circuits.begin("x")
    assert not circuits.allows("x")
    circuits.abandon("x")
    assert circuits.allows("x")
