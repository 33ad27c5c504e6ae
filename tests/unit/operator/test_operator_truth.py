"""How soon the status tells what happened: the operator's own loop, queue and reconcilers, in virtual time."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any, Self

import pytest
import structlog

from hearth_api.wire.serve import ProbeResult, ServeInfo
from hearth_operator.clients.http import HttpStatusError
from hearth_operator.errors import UnreachableError
from hearth_operator.facts import RayNode
from hearth_operator.reconcile.guest import stop_watching_guests
from hearth_operator.reconcile.loop import Reconciler
from hearth_operator.reconcile.metrics import Metrics
from hearth_operator.reconcile.probing import stop_watching
from hearth_operator.reconcile.queue import Key, KeyedQueue
from hearth_operator.settings import Intervals
from support.fake_kube import FakeRay, as_stored
from support.operator_gen import managed_node, model, variant
from support.operator_still import NOW, StillKube, still_context
from support.virtual_time import run_virtually

PROMISED = 15.0
"""Seconds within which the status tells the truth."""
SECRET = {"apiVersion": "v1", "kind": "Secret", "data": {"token": "eA=="}}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Hours of virtual time log a lot."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


class Machine:
    """A node's Ray and the variant on it, each of which can stop in its own way."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ray = FakeRay()
        self.ray.raylets = (RayNode("n1", alive=True, labels={"hearth-node": name}, cpus=8.0, memory=0),)
        self.asleep = self.ray_asleep = self.dead = self.mute = self.stuck = self.off = False
        self.busy, self.tokens, self.pid, self.probes = 0, 0, 1, 0

    async def applications(self, *, timeout: float) -> Any:
        await self._reach(timeout)
        found = await self.ray.applications(timeout=timeout)
        return {} if self.dead else found

    async def put_applications(self, document: dict[str, Any], *, first: bool = False) -> None:
        await self._reach(4)
        await self.ray.put_applications(document, first=first)

    async def version(self) -> str:
        await self._reach(4)
        return await self.ray.version()

    async def nodes(self) -> Any:
        await self._reach(4)
        return await self.ray.nodes()

    async def _reach(self, timeout: float) -> None:
        if self.off:
            raise UnreachableError("Unreachable", "connection refused")
        if self.asleep or self.ray_asleep:
            await asyncio.sleep(timeout)
            raise UnreachableError("Unreachable", "no answer in time")


class Models:
    """ModelApi of all machines: found by the host in the URL."""

    def __init__(self, machines: dict[str, Machine]) -> None:
        self.machines = machines

    def _of(self, url: str) -> Machine:
        return next(m for name, m in self.machines.items() if f"hearth-node-{name}." in url)

    async def info(self, url: str, _access: Any) -> ServeInfo:
        machine = self._of(url)
        if machine.asleep or machine.mute:
            await asyncio.sleep(3600)
        if machine.off:
            raise UnreachableError("Unreachable", "connection refused")
        if machine.dead:
            raise UnreachableError("Unreachable", "404")
        return ServeInfo.model_validate(
            {
                "build": "b", "engine": "LlamaCpp", "engineVersion": "1", "modelId": "chat", "modelDigest": "d" * 64,
                "contextTokens": 2048, "slotsTotal": 1, "slotsBusy": machine.busy, "tokensProduced": machine.tokens,
                "memory": {"now": 1, "peak": 100}, "node": machine.name, "pid": machine.pid,
            }
        )  # fmt: skip

    async def probe(self, url: str, _access: Any) -> ProbeResult:
        machine = self._of(url)
        machine.probes += 1
        if machine.busy:
            raise UnreachableError("ProbeFailed", "503") from HttpStatusError(
                method="POST", url=url, status=503, text="overloaded"
            )
        if machine.asleep or machine.stuck or machine.mute:
            await asyncio.sleep(3600)
        return ProbeResult(took_ms=1)


class House:
    """Two machines, one model with a variant on each, and the operator's workers."""

    def __init__(
        self, *, names: tuple[str, ...] = ("desk", "rack"), failback: int = 30, status: Any = None, nodes: Any = ()
    ) -> None:
        self.machines = {name: Machine(name) for name in names}
        given = {node.metadata.name: node for node in nodes}
        nodes = [given.get(name) or managed_node(name, memory="8Gi", cpu="4") for name in names]
        self.front: Any = None
        chat = model(
            "chat",
            *(variant(name, node=name) for name in names),
            failback={"stableSeconds": failback},
            status=status,
            meta={"finalizers": ["hearth.banjonet.com/serve"]},
        )
        raws = [as_stored(resource) for resource in (*nodes, chat)]
        secrets = [
            SECRET | {"metadata": {"name": f"hearth-{kind}-{name}"}} for kind in ("ray", "serve") for name in names
        ]
        self.kube = StillKube([*raws, *secrets])
        self.metrics = Metrics()
        self.changes: list[tuple[float, str | None]] = []

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self.loop = loop
        queue = KeyedQueue(clock=loop.time)
        ray = lambda url, _token: next(m for n, m in self.machines.items() if f"hearth-node-{n}." in url)  # noqa: E731
        self.ctx = still_context(
            self.kube,
            clock=loop.time,
            ray=ray,
            model=Models(self.machines),
            front=self.front,
            wake=lambda key, *, delay=0.0: queue.add(key, delay=delay),
            wrote=self._wrote,
        )
        self.begun = loop.time()
        object.__setattr__(self.ctx, "now", lambda: NOW + timedelta(seconds=loop.time() - self.begun))
        self.ctx.world.known = {"InferenceNode": set(self.machines), "ModelDeployment": {"chat"}}
        self.ctx.world.owner = "me"
        reconciler = Reconciler(self.ctx, queue, self.metrics)
        self.task = asyncio.create_task(reconciler.run(workers=4))
        for name in self.machines:
            queue.add(Key("InferenceNode", name))
        queue.add(Key("ModelDeployment", "chat"))
        return self

    async def __aexit__(self, *_: object) -> None:
        stop_watching(self.ctx)
        stop_watching_guests(self.ctx)
        while not self.task.done():  # before Python 3.12 wait_for can lose a cancellation
            self.task.cancel()
            await asyncio.sleep(0.1)

    def _wrote(self, kind: str, name: str, raw: Any) -> None:
        self.metrics.record(kind, name, raw)
        serving = (raw.get("status") or {}).get("serving")
        if kind == "ModelDeployment" and (not self.changes or self.changes[-1][1] != serving):
            self.changes.append((self.loop.time(), serving))

    @property
    def status(self) -> dict[str, Any]:
        return self.kube.objects["ModelDeployment", "chat"].get("status") or {}

    def condition(self, type_: str) -> Any:
        return next((c for c in self.status.get("conditions", ()) if c["type"] == type_), {})

    def variant(self, name: str) -> tuple[str, str]:
        entry: Any = next((v for v in self.status.get("variants", ()) if v["name"] == name), {})
        return entry.get("state", ""), entry.get("reason", "")

    async def until(self, what: Callable[[], bool], *, seconds: float) -> float:
        begun = self.loop.time()
        while not what():
            assert self.loop.time() - begun < seconds, self.status
            await asyncio.sleep(0.1)
        return self.loop.time() - begun

    async def settle(self) -> None:
        """Wait until every variant is available."""
        names = list(self.machines)
        await self.until(lambda: all(self.variant(n)[0] == "Available" for n in names), seconds=120)
        assert self.status["serving"] == names[0]


def story(house: House, body: Callable[[House], Awaitable[None]]) -> None:
    async def main() -> None:
        async with house:
            await body(house)

    run_virtually(main())


LOSSES: dict[str, tuple[Callable[[Machine], None], tuple[str, ...]]] = {
    "its process dies": (lambda m: setattr(m, "dead", True), ("Pending", "Loading", "Failed")),
    "its machine goes to sleep": (lambda m: setattr(m, "asleep", True), ("Unreachable", "Failed")),
    "it answers /info and computes nothing": (lambda m: setattr(m, "stuck", True), ("Failed",)),
    "it does not even answer /info": (lambda m: setattr(m, "mute", True), ("Failed",)),
}


@pytest.mark.parametrize("after", [0.0, 2.1])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_is_told_in_time_with_who_serves_and_why(loss: str, after: float) -> None:
    lose, shown = LOSSES[loss]

    async def body(house: House) -> None:
        await house.settle()
        await asyncio.sleep(60 + after)
        lose(house.machines["desk"])
        took = await house.until(lambda: house.status["serving"] == "rack", seconds=PROMISED)
        assert took < PROMISED
        assert house.variant("desk")[0] in shown
        said = house.condition("Degraded")
        assert (said["status"], said["reason"]) == ("True", "FallbackServing")
        assert said["message"].startswith("variant rack serves; desk: ")
        assert house.condition("Ready")["status"] == "True"
        failovers = house.metrics.registry.get_sample_value
        assert failovers("hearth_model_failovers_total", {"model": "chat", "from": "desk", "to": "rack"}) == 1
        assert failovers("hearth_model_variant_available", {"model": "chat", "variant": "desk"}) == 0

    story(House(), body)


def test_the_worst_case_follows_from_the_intervals() -> None:
    i = Intervals()
    mute = i.look + i.look_timeout + i.look_again + i.look_timeout
    idle_hang = max(i.look, i.probe) + i.probe_timeout + i.look_again + i.probe_timeout
    asleep = i.heartbeat + i.heartbeat_timeout + i.heartbeat / 4 + i.heartbeat_timeout
    assert max(mute, idle_hang, asleep) <= PROMISED - 1.5, "and time to write it"


@pytest.mark.parametrize("loss", LOSSES)
def test_who_comes_back_waits_and_then_serves_once(loss: str) -> None:
    async def body(house: House) -> None:
        await house.settle()
        desk = house.machines["desk"]
        LOSSES[loss][0](desk)
        await house.until(lambda: house.status["serving"] == "rack", seconds=PROMISED)
        desk.dead = desk.asleep = desk.stuck = desk.mute = False
        await house.until(lambda: house.variant("desk") == ("Loading", "Recovering"), seconds=PROMISED)
        waits = await house.until(lambda: house.status["serving"] == "desk", seconds=40)
        assert 28 <= waits <= 31
        assert house.condition("Degraded")["reason"] == "PreferredServing"
        await asyncio.sleep(600)
        assert [serving for _, serving in house.changes][-3:] == ["desk", "rack", "desk"]

    story(House(), body)


def test_a_machine_that_comes_and_goes_does_not_take_the_model_with_it() -> None:
    async def body(house: House) -> None:
        await house.settle()
        for _ in range(20):
            house.machines["desk"].asleep = not house.machines["desk"].asleep
            await asyncio.sleep(60)
        house.machines["desk"].asleep = False
        await house.until(lambda: house.status["serving"] == "desk", seconds=620)
        assert len(house.changes) < 10, house.changes
        assert None not in [serving for _, serving in house.changes[2:]]

    story(House(), body)


@pytest.mark.parametrize("after", [0.0, 1.1, 2.3, 3.9])
def test_a_machine_that_refuses_everything_is_never_said_to_have_failed(after: float) -> None:
    async def body(house: House) -> None:
        await house.settle()
        await asyncio.sleep(60 + after)
        house.machines["desk"].off = True
        await house.until(lambda: house.condition("Available")["status"] != "True", seconds=PROMISED)
        for _ in range(200):
            assert house.condition("Available")["status"] == house.condition("Ready")["status"] == "Unknown"
            assert house.variant("desk")[0] == "Unreachable"
            await asyncio.sleep(0.1)

    story(House(names=("desk",)), body)


def test_the_only_one_is_never_held_back() -> None:
    async def body(house: House) -> None:
        await house.settle()
        house.machines["desk"].asleep = True
        await house.until(lambda: house.status.get("serving") is None, seconds=PROMISED)
        assert house.condition("Available")["status"] == "Unknown", "nobody knows what a sleeping machine would do"
        assert house.condition("Ready")["status"] == "Unknown"
        house.machines["desk"].asleep = False
        await house.until(lambda: house.status.get("serving") == "desk", seconds=PROMISED)

    story(House(names=("desk",)), body)


def test_a_long_prompt_is_no_hang_and_traffic_needs_no_probe() -> None:
    async def body(house: House) -> None:
        await house.settle()
        desk = house.machines["desk"]
        await asyncio.sleep(90)
        desk.busy, probes, written = 1, desk.probes, len(house.kube.writes)
        await asyncio.sleep(290)
        desk.tokens += 1
        for _ in range(60):
            desk.tokens += 5
            await asyncio.sleep(3)
        desk.busy = 0
        await asyncio.sleep(1)
        assert desk.probes == probes
        assert len(house.kube.writes) == written, "nothing changed, nothing is written"

    story(House(), body)


def test_slots_that_are_busy_for_ever_are_a_hang() -> None:
    async def body(house: House) -> None:
        await house.settle()
        desk = house.machines["desk"]
        desk.busy = 1
        took = await house.until(lambda: house.status["serving"] == "rack", seconds=320)
        assert took >= 295
        assert "are busy for 300 s and no token came" in house.condition("Degraded")["message"]
        await asyncio.sleep(600)
        assert house.status["serving"] == "rack", "busy is not believed twice"
        desk.tokens += 1
        await house.until(lambda: house.status["serving"] == "desk", seconds=60)

    story(House(), body)


def test_a_variant_serves_on_while_only_ray_is_silent() -> None:
    async def body(house: House) -> None:
        await house.settle()
        desk = house.machines["desk"]
        desk.ray_asleep = True
        await house.until(lambda: house.variant("desk") == ("Available", "RayUnreachable"), seconds=PROMISED)
        assert house.status["serving"] == "desk"
        assert house.condition("Degraded")["reason"] == "RayUnreachable"
        desk.stuck = True
        await house.until(lambda: house.status["serving"] == "rack", seconds=PROMISED)
        assert house.variant("desk") == ("Unreachable", "NodeOffline")
        desk.ray_asleep = desk.stuck = False
        await house.until(lambda: house.status["serving"] == "desk", seconds=60)
        assert house.condition("Degraded")["reason"] == "PreferredServing"

    story(House(), body)


def test_a_restarted_operator_writes_nothing_while_it_looks_and_keeps_who_serves() -> None:
    async def first(house: House) -> None:
        await house.settle()
        house.machines["desk"].asleep = True
        await house.until(lambda: house.status["serving"] == "rack", seconds=PROMISED)
        house.machines["desk"].asleep = False
        await house.until(lambda: house.variant("desk")[1] == "Recovering", seconds=PROMISED)

    old = House()
    story(old, first)

    async def second(house: House) -> None:
        house.kube.objects = old.kube.objects
        for name, machine in house.machines.items():
            machine.ray = old.machines[name].ray
        await house.until(lambda: house.status["serving"] == "desk", seconds=60)
        assert [serving for _, serving in house.changes] in (["rack", "desk"], ["desk"])
        assert house.changes[-1][0] - house.begun >= 29, "it waits again: another one serves"

    story(House(), second)


def test_a_restart_in_the_middle_of_a_long_prompt_is_no_loss() -> None:
    old = House()
    story(old, lambda house: house.settle())

    async def second(house: House) -> None:
        house.kube.objects = old.kube.objects
        for name, machine in house.machines.items():
            machine.ray = old.machines[name].ray
        house.machines["desk"].busy = 1
        await asyncio.sleep(120)
        assert {serving for _, serving in house.changes} <= {"desk"}
        assert house.variant("desk") == ("Available", "Serving")

    story(House(), second)
