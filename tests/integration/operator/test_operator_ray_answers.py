"""Ray answering well, garbage, 401, 500, slowly, half, or never: a real HTTP server and the real client.

Each time: the right condition, no crash, bounded time and memory, and all well again within 15 s.
"""

import asyncio
import functools
import json
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from hearth_api.conditions import find_condition
from hearth_operator.clients.ray import RayClient
from hearth_operator.facts import PodFacts
from hearth_operator.plan.serve_document import pin_labels
from hearth_operator.reconcile.endpoint import reconcile_endpoint
from hearth_operator.reconcile.glance import Glance
from hearth_operator.reconcile.world import EndpointState, World
from hearth_operator.settings import Intervals, Settings
from hearth_operator.status.model import VariantFacts, model_status
from hearth_operator.status.node import node_status
from support.fake_kube import FakeKube
from support.operator_gen import managed_node, model

NOW = datetime(2026, 10, 5, 9, 0, tzinfo=UTC)
BUSY_SECONDS = 20.0
"""For a machine that is busy: what is shown is that nothing hangs."""
FAST = Intervals(heartbeat=0.05, heartbeat_timeout=0.3, nodes=0.1)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Outside:
    """A server that is Ray until `bad` answers instead of it."""

    url: str = ""
    bad: Handler | None = None
    only: str = ""
    """Part of the path that `bad` answers; empty: all."""
    asked: int = 0


def _good(request: web.Request, apps: dict[str, Any]) -> Any:
    if request.path == "/api/version":
        return {"ray_version": "2.60.0"}
    if request.path == "/api/v0/nodes":
        row = {"node_id": "n1", "state": "ALIVE", "labels": {"hearth-node": "home"}, "resources_total": {"CPU": 2.0}}
        return {"result": True, "data": {"result": {"result": [row]}}}
    return {"applications": apps}


@pytest.fixture
async def outside() -> AsyncIterator[Outside]:
    out = Outside()
    apps: dict[str, Any] = {}

    async def answer(request: web.Request) -> web.StreamResponse:
        out.asked += 1
        if out.bad is not None and out.only in f"{request.method} {request.path}":
            return await out.bad(request)
        if request.method == "PUT":
            document = await request.json()
            apps.clear()
            apps.update({a["name"]: _details(a) for a in document["applications"]})
            return web.Response()
        return web.json_response(_good(request, apps))

    app = web.Application()
    app.router.add_route("*", "/{any:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    out.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[union-attr]
    yield out
    await runner.cleanup()


def _details(config: dict[str, Any]) -> dict[str, Any]:
    replica = {"replica_id": "r1", "state": "RUNNING", "node_id": "n1"}
    deployments = {"Model": {"status": "HEALTHY", "message": "", "replicas": [replica]}}
    return {"status": "RUNNING", "message": "", "deployed_app_config": config, "deployments": deployments}


# What it answers


def text(body: str, *, status: int = 200) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=body, status=status)

    return answer


def value(body: Any) -> Handler:
    return text(json.dumps(body))


async def never(_: web.Request) -> web.Response:
    await asyncio.sleep(60)
    return web.Response()


async def drip(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(600):
        await response.write(b" ")
        await asyncio.sleep(0.1)
    return response


async def half(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"applications": {')
    assert request.transport is not None
    request.transport.close()
    return response


async def huge(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b'{"applications": {"a": "')
    for _ in range(2000):
        await response.write(b"x" * 1024 * 1024)
    return response


@functools.cache
def packed() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join([*(packer.compress(b" " * 2**20) for _ in range(512)), packer.flush()])


async def bomb(_: web.Request) -> web.Response:
    return web.Response(body=packed(), headers={"Content-Encoding": "gzip"})


async def slam(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def elsewhere(request: web.Request) -> Any:
    raise web.HTTPFound("http://127.0.0.1:1/login")


async def redirect(request: web.Request) -> web.Response:
    return elsewhere(request)


OFFLINE, GARBAGE, REFUSED = (
    ("Unknown", "NodeOffline"),
    ("Unknown", "UnexpectedAnswer"),
    ("False", "AuthenticationFailed"),
)
TABLE = [
    ("401", text("no", status=401), REFUSED),
    ("403", text("no", status=403), REFUSED),
    ("500", text("Traceback (most recent call last)\n\x1b[31mboom", status=500), OFFLINE),
    ("503", text("", status=503), OFFLINE),
    ("never", never, OFFLINE),
    ("a byte now and then", drip, OFFLINE),
    ("half a body", half, OFFLINE),
    ("closes at once", slam, OFFLINE),
    ("404", text("not found", status=404), GARBAGE),
    ("a login page elsewhere", redirect, GARBAGE),
    ("a web page", text("<html>router</html>"), GARBAGE),
    ("nothing", text(""), GARBAGE),
    ("not UTF-8", text("\ufffd\x00\x01"), GARBAGE),
    ("a number", value(7), GARBAGE),
    ("a list", value([]), GARBAGE),
    ("null", value(None), GARBAGE),
    ("an empty object", value({}), GARBAGE),
    ("applications is a list", value({"applications": []}), GARBAGE),
    ("applications of numbers", value({"applications": {"a": 1}}), GARBAGE),
    ("deployments is text", value({"applications": {"a": {"deployments": "x"}}}), GARBAGE),
    ("replicas of text", value({"applications": {"a": {"deployments": {"M": {"replicas": ["x"]}}}}}), GARBAGE),
    ("config is text", value({"applications": {"a": {"deployed_app_config": "x"}}}), GARBAGE),
    ("infinitely deep", text("[" * 200_000), GARBAGE),
    ("2 GB", huge, GARBAGE),
    ("512 MB in half a megabyte", bomb, GARBAGE),
]


class Watch:
    """One endpoint of one node, looked after as the queue does."""

    def __init__(self, outside: Outside, session: aiohttp.ClientSession) -> None:
        self.kube, self.world = FakeKube(), World()
        self.node = managed_node("home", memory="6Gi", status={"rayVersion": "2.60.0"})
        self.model = model("chat")
        self.kube.put(self.node, self.model)
        self.state = EndpointState(nodes={"home"}, serve_url="https://x:8000", token="t")
        self.world.endpoints["u"] = self.state
        self.ctx: Any = SimpleNamespace(
            settings=Settings(namespace="n", control_image="c", serve_image="s", intervals=FAST),
            kube=self.kube,
            ray=lambda _url, token: RayClient(session, url=outside.url, token=token),
            clock=time.monotonic,
            random_bytes=lambda n: b"\x07" * n,
            world=self.world,
            wake=lambda _key, delay=0.0: None,
            wake_fleet=lambda: None,
            glance=Glance(),
        )

    def reachable(self) -> tuple[str, str]:
        status = node_status(
            self.node, facts=self.state.facts, pod=PodFacts(exists=True), pin=pin_labels(self.node), urls=("a", "b"),
            memory=None, millicores=None, planned=0, models=(), now=NOW,
        )  # fmt: skip
        found = find_condition(status.conditions, "Reachable")
        assert found is not None
        assert "\x1b" not in found.message
        assert len(found.message) < 1000
        return found.status.value, found.reason

    def available(self) -> str:
        variant = self.model.spec.variants[0]
        known = VariantFacts(
            variant=variant, node="home", fits=True, reach=self.state.facts.reach,
            reach_message=self.state.facts.message, app=self.state.facts.apps.get("chat.cpu"),
        )  # fmt: skip
        status = model_status(self.model, facts=[known], refused=None, now=NOW)
        found = find_condition(status.conditions, "Available")
        assert found is not None
        return found.status.value

    async def until(self, what: Callable[[], bool], *, seconds: float = 15) -> float:
        begun = time.monotonic()
        while not what():
            assert time.monotonic() - begun < seconds, self.state.facts
            delay = await reconcile_endpoint(self.ctx, "u")
            await asyncio.sleep(delay or 0)
        return time.monotonic() - begun


@pytest.fixture
async def watch(outside: Outside) -> AsyncIterator[Watch]:
    async with aiohttp.ClientSession() as session:
        watch = Watch(outside, session)
        await watch.until(lambda: "chat.cpu" in watch.state.facts.apps)
        yield watch


@pytest.mark.parametrize(("bad", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
async def test_what_is_no_answer_of_ray_is_said_and_passes(outside: Outside, watch: Watch, bad, expected) -> None:
    outside.bad = bad
    tracemalloc.start()
    took = await watch.until(lambda: watch.reachable()[1] == expected[1])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert watch.reachable() == expected
    assert watch.available() == "Unknown", "nothing is known of the models there"
    assert took < BUSY_SECONDS
    assert peak < 64 * 1024 * 1024
    outside.bad = None
    assert await watch.until(lambda: watch.reachable() == ("True", "Reachable")) < BUSY_SECONDS
    assert watch.state.facts.apps["chat.cpu"].replicas == ("r1",)


NODES = [
    ("never", never),
    ("garbage", value({"data": {"result": {"result": [{"labels": [1]}]}}})),
    ("500", text("", status=500)),
    ("infinite memory", text('{"data": {"result": {"result": [{"resources_total": {"memory": Infinity}}]}}}')),
]


@pytest.mark.parametrize("bad", [row[1] for row in NODES], ids=[row[0] for row in NODES])
async def test_a_ray_that_answers_but_is_slow_to_tell_its_nodes_stays_reachable(
    outside, watch, bad, monkeypatch
) -> None:
    from hearth_operator.clients import ray

    original = ray.RayClient._get

    async def quick(self, model, path, *, timeout):
        return await original(self, model, path, timeout=min(timeout, 0.3))

    monkeypatch.setattr(ray.RayClient, "_get", quick)
    outside.bad, outside.only = bad, "nodes"
    for _ in range(8):
        await asyncio.sleep(await reconcile_endpoint(watch.ctx, "u") or 0)
        assert watch.reachable() == ("True", "Reachable")


PUTS = [("never", never), ("500", text("", status=500)), ("401", text("", status=401)), ("400", text("no", status=400))]


@pytest.mark.parametrize("bad", [row[1] for row in PUTS], ids=[row[0] for row in PUTS])
async def test_a_put_that_goes_wrong_is_tried_again_and_the_heartbeat_goes_on(outside, watch, bad, monkeypatch) -> None:
    from hearth_operator.clients import ray

    monkeypatch.setattr(ray, "_PUT_SECONDS", 0.3)
    monkeypatch.setattr(ray, "_FIRST_PUT_SECONDS", 0.3)
    outside.bad, outside.only = bad, "PUT"
    watch.kube.put(model("more"))
    watch.state.dirty = True
    for _ in range(4):
        await asyncio.sleep(await reconcile_endpoint(watch.ctx, "u") or 0)
        assert watch.reachable() == ("True", "Reachable")
        assert "chat.cpu" in watch.state.facts.apps
    refused = "more.cpu" in watch.state.refused
    outside.bad = None
    if refused:  # Ray said no to this revision: it waits for another
        watch.kube.put(model("more", sampling={"temperature": "0.5"}))
        watch.state.dirty = True
    await watch.until(lambda: "more.cpu" in watch.state.facts.apps)
