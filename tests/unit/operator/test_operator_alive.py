"""Liveness notices what really stands still, and nothing else: workers, passes, the watches' loop, a late loop."""

import asyncio
import io
import json
import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from prometheus_client import generate_latest

from hearth_common.logs import configure_logging
from hearth_operator.errors import UnreachableError
from hearth_operator.handlers.http import build_app
from hearth_operator.reconcile.loop import Reconciler
from hearth_operator.reconcile.metrics import Metrics
from hearth_operator.reconcile.pulse import Heart, Pulse
from hearth_operator.reconcile.queue import Key, KeyedQueue
from hearth_operator.settings import Bounds
from support.operator_gen import managed_node
from support.operator_still import NOW, StillKube, still_context

NODE = {
    "apiVersion": "hearth.banjonet.com/v1alpha1",
    "kind": "InferenceNode",
    "metadata": {"name": "home", "generation": 1},
    "spec": managed_node().to_manifest()["spec"],
}
A, B = Key("InferenceNode", "a"), Key("InferenceNode", "b")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Hanging(StillKube):
    """Answers for everything but one name, which it never answers for."""

    def __init__(self, *, stuck: str) -> None:
        super().__init__()
        self.stuck = stuck
        self.asked = asyncio.Event()

    async def get(self, kind: str, name: str) -> dict[str, Any] | None:
        if name == self.stuck:
            self.asked.set()
            await asyncio.Event().wait()
        return await super().get(kind, name)


class Alive:
    """Workers, pulse and port around one API server."""

    def __init__(self, kube: StillKube) -> None:
        self.clock = Clock()
        self.queue = KeyedQueue(clock=self.clock)
        self.metrics = Metrics()
        self.watch = Heart(self.clock)
        self.work = Heart(self.clock)
        self.pulse = Pulse(queue=self.queue, bounds=Bounds(), work=self.work, watch=self.watch)
        self.metrics.watch(self.queue, self.work)
        self.ctx = still_context(kube, clock=self.clock, wrote=self.metrics.record)
        self.reconciler = Reconciler(self.ctx, self.queue, self.metrics)

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)


def sample(metrics: Metrics, name: str) -> dict[str, float]:
    lines = generate_latest(metrics.registry).decode().splitlines()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name)}


async def test_a_pass_that_never_ends_is_noticed() -> None:
    alive = Alive(Hanging(stuck="a"))
    work = asyncio.create_task(alive.reconciler.run(workers=2))
    try:
        alive.queue.add(A)
        await asyncio.wait_for(alive.ctx.kube.asked.wait(), 5)
        assert alive.pulse.trouble() is None
        alive.clock.now += 899
        alive.queue.add(B)  # the other worker goes on meanwhile
        await alive.settle()
        assert alive.pulse.trouble() is None
        alive.clock.now += 2
        assert alive.pulse.trouble() == "InferenceNode a has been worked on for 901 s"
        assert sample(alive.metrics, "hearth_operator_longest_pass_seconds") == {
            "hearth_operator_longest_pass_seconds": 901.0
        }
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def test_workers_that_take_nothing_are_noticed() -> None:
    alive = Alive(Hanging(stuck="a"))
    work = asyncio.create_task(alive.reconciler.run(workers=1))
    try:
        alive.queue.add(A)
        await asyncio.wait_for(alive.ctx.kube.asked.wait(), 5)
        alive.clock.now += 500
        alive.queue.add(B)  # due now: nobody is late yet, though nothing was taken for long
        assert alive.pulse.trouble() is None
        alive.clock.now += 61
        assert alive.pulse.trouble() == "no worker took InferenceNode b, which has been due for 61 s"
        assert sample(alive.metrics, "hearth_operator_queue")["hearth_operator_queue_oldest_seconds"] == 61.0
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def test_a_long_queue_that_moves_is_no_trouble() -> None:
    alive = Alive(StillKube())
    for number in range(50):
        alive.queue.add(Key("InferenceNode", f"n{number}"))
    for _ in range(50):
        alive.clock.now += 50
        assert alive.pulse.trouble() is None
        alive.queue.done(await alive.queue.take())
    alive.clock.now += 5000
    assert alive.pulse.trouble() is None, "nothing is due"


async def test_an_api_server_that_is_away_is_no_trouble() -> None:
    kube = StillKube()
    kube.error = UnreachableError("Unreachable", "connection refused")
    alive = Alive(kube)
    work = asyncio.create_task(alive.reconciler.run(workers=2))
    try:
        for _ in range(20):
            alive.clock.now += 10
            for key in (A, B):
                alive.queue.forget(key)  # its delay is over, says this clock; the loop's own timer does not know it
                alive.queue.add(key)
            await alive.settle()
            assert alive.pulse.trouble() is None
        assert sample(alive.metrics, 'hearth_operator_errors_total{error="UnreachableError"')
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def test_a_thread_whose_loop_stands_still_is_noticed_and_its_end_is_not_ours() -> None:
    heart = Heart(time.monotonic)
    queue = KeyedQueue(clock=time.monotonic)
    bounds = replace(Bounds(), silence=0.3)
    pulse = Pulse(queue=queue, bounds=bounds, work=Heart(time.monotonic), watch=heart)
    blocked, release, end = threading.Event(), threading.Event(), threading.Event()

    async def loop() -> None:
        beating = asyncio.create_task(heart.beat())
        await asyncio.sleep(0)
        blocked.set()
        release.wait(10)  # a call that does not come back, in the loop
        await asyncio.to_thread(end.wait, 10)
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)

    assert pulse.trouble() is None, "not started yet"
    thread = threading.Thread(target=lambda: asyncio.run(loop()))
    thread.start()
    try:
        assert await asyncio.to_thread(blocked.wait, 5)
        await asyncio.sleep(0.4)
        said = pulse.trouble()
        assert said is not None
        assert said.startswith("the watches' loop has stood still")
    finally:
        release.set()
        end.set()
        await asyncio.to_thread(thread.join, 5)
    assert pulse.trouble() is None, "an ended thread ends the process by itself"


async def test_a_late_loop_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hearth_operator.reconcile.pulse.TICK_SECONDS", 0.05)
    heart = Heart(time.monotonic)
    queue = KeyedQueue(clock=time.monotonic)
    pulse = Pulse(queue=queue, bounds=replace(Bounds(), lag=0.1), work=heart, watch=Heart(time.monotonic))
    beating = asyncio.create_task(heart.beat())
    await asyncio.sleep(0)
    assert pulse.trouble() is None
    time.sleep(0.3)  # noqa: ASYNC251 (somebody computes in the loop)
    for _ in range(3):
        await asyncio.sleep(0)
    assert pulse.trouble() == "the workers' loop was 0 s late"
    assert heart.lag > 0.2
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)
    assert heart.silence() == 0.0


async def test_the_probe_says_what_is_stuck_and_readiness_does_not_change() -> None:
    stuck: list[str] = []
    app = build_app(Metrics(), ready=lambda: True, trouble=lambda: stuck[0] if stuck else None)
    assert await ask(app, "/healthz") == (200, "ok\n")
    stuck.append("InferenceNode a has been worked on for 901 s")
    assert await ask(app, "/healthz") == (503, "InferenceNode a has been worked on for 901 s\n")
    assert (await ask(app, "/readyz"))[0] == 200


async def ask(app: web.Application, path: str) -> tuple[int, str]:
    """One request without a socket."""
    request = make_mocked_request("GET", path, app=app)
    response = await app._handle(request)
    return response.status, response.text


# Metrics


def test_reachability_is_told_by_node_and_forgotten_with_it() -> None:
    metrics = Metrics()
    metrics.record_endpoint("http://r", {"a", "b"}, up=True, now=NOW)
    assert sample(metrics, "hearth_node_up") == {
        'hearth_node_up{endpoint="http://r",node="a"}': 1.0,
        'hearth_node_up{endpoint="http://r",node="b"}': 1.0,
    }
    metrics.record_endpoint("http://r", {"b"}, up=False, now=NOW)
    assert sample(metrics, "hearth_node_up") == {'hearth_node_up{endpoint="http://r",node="b"}': 0.0}
    metrics.record_endpoint("http://r", (), up=False, now=NOW)
    assert sample(metrics, "hearth_node_up") == sample(metrics, "hearth_node_last_heartbeat") == {}


def test_a_models_availability_is_told_and_forgotten_with_it() -> None:
    metrics = Metrics()
    for status, value in (("True", 1.0), ("Unknown", 0.0), ("False", 0.0)):
        raw = {"status": {"conditions": [{"type": "Available", "status": status}]}}
        metrics.record("ModelDeployment", "chat", raw)
        assert sample(metrics, "hearth_model_available") == {'hearth_model_available{model="chat"}': value}
    metrics.record("ModelDeployment", "chat", None)
    metrics.record("ModelDeployment", "never-seen", None)
    assert sample(metrics, "hearth_model_available") == {}


def test_the_build_is_told() -> None:
    [line] = sample(Metrics(), "hearth_operator_build_info")
    assert 'version="' in line
    assert 'python="3.' in line


# Logs


async def test_a_pass_is_one_line_at_debug_and_no_secret_is_in_any(monkeypatch: pytest.MonkeyPatch) -> None:
    planted = "hearth_ab2c3d4e5f_" + "pl4ntedS3cret" * 3
    token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW0ifQ.c2lnbmF0dXJl"
    out = io.StringIO()
    configure_logging("hearth-operator", level="DEBUG", stream=out)
    kube = StillKube([NODE])
    alive = Alive(kube)
    assert await alive.reconciler.reconcile(Key("InferenceNode", "gone")) is None
    kube.error = UnreachableError("Unreachable", f"401 for Authorization: Bearer {token} and key {planted}")
    await alive.reconciler.reconcile(Key("InferenceNode", "home"))
    kube.error = ValueError(f"cannot use {planted}")  # type: ignore[assignment]
    await alive.reconciler.reconcile(Key("InferenceNode", "home"))
    text = out.getvalue()
    assert planted not in text
    assert token not in text
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["event"] for line in lines] == [
        "reconciled", "reconcile_failed", "reconciled", "reconcile_failed", "reconciled",
    ]  # fmt: skip
    assert lines[0] | {"timestamp": ""} == {
        "event": "reconciled", "kind": "InferenceNode", "name": "gone", "seconds": 0.0, "next_in": None, "level": "debug",
        "service": "hearth-operator", "timestamp": "",
    }  # fmt: skip
    assert "Traceback" in lines[3]["exception"]
