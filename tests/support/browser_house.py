"""A gateway on a real socket in a thread, before a scripted model and a knowledge service in memory."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from aiohttp import web

from hearth_api.wire.keys import Scope
from hearth_gateway.app import Gateway, build_app
from hearth_gateway.catalog.model import fold
from hearth_gateway.catalog.source import MemoryCatalog
from hearth_gateway.main import build_state
from hearth_gateway.settings import Settings, Timeouts
from hearth_gateway.upstream import make_session
from support.gateway import api_key, chat_events, deployment, key_record, knowledge_base, sse, variant

OWNER, READER = api_key("aaaaaaaaaa"), api_key("bbbbbbbbbb")


@dataclass
class Shelf:
    """What the knowledge service knows: document views by id, and hits in order."""

    views: dict[str, dict[str, Any]] = field(default_factory=dict)
    older: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    hits: list[dict[str, Any]] = field(default_factory=list)
    related: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    originals: dict[str, bytes] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    quarantine: list[dict[str, Any]] = field(default_factory=list)
    searches: list[dict[str, Any]] = field(default_factory=list)
    acts: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    pending: int = 0

    def app(self) -> web.Application:
        app = web.Application()
        document = "/v1/kbs/{kb}/documents/{id}"
        app.router.add_post("/v1/kbs/{kb}/search", self.search)
        app.router.add_get("/v1/kbs/{kb}/status", self.status)
        app.router.add_get("/v1/kbs/{kb}/quarantine", self.list_quarantine)
        app.router.add_get("/v1/kbs/{kb}/audit", self.list_audit)
        app.router.add_get(document, self.view)
        for part, handler in (("original", self.original), ("history", self.history), ("related", self.list_related)):
            app.router.add_get(f"{document}/{part}", handler)
        app.router.add_post(f"{document}/release", self.release)
        app.router.add_post(f"{document}/reveal", self.reveal)
        return app

    async def search(self, request: web.Request) -> web.Response:
        asked = json.loads(await request.read())
        self.searches.append(asked)
        kinds = asked.get("filters", {}).get("kind") or ()
        words = set(asked["query"].lower().replace("?", "").split())
        found = [hit for hit in self.hits if not kinds or hit["kind"] in kinds]
        found.sort(key=lambda hit: -len(words & set(hit["text"].lower().split())))
        return web.json_response({"results": found[: asked["top_k"]], "took_ms": 3.0})

    async def status(self, request: web.Request) -> web.Response:
        body = {
            "collection": "c",
            "documents": len(self.views),
            "chunks": len(self.hits),
            "embedding": {"model": "embed", "digest": "d", "dimensions": 3},
            "queue": {"pending": self.pending},
            "consistency": {"consistent": True, "expectedChunks": 1, "indexedChunks": 1},
            "quarantined": len(self.quarantine),
        }
        return web.json_response(body)

    async def view(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        found = self.older.get((name, request.query.get("version", "")), self.views.get(name))
        return web.json_response(found) if found else web.json_response({"detail": "no"}, status=404)

    async def history(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        versions = [view for (other, _), view in self.older.items() if other == name] + [self.views[name]]
        keys = ("version", "state", "recorded", "validFrom")
        return web.json_response({"id": name, "versions": [{key: view[key] for key in keys} for view in versions]})

    async def list_related(self, request: web.Request) -> web.Response:
        return web.json_response({"related": self.related.get(request.match_info["id"], [])})

    async def original(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        if name in self.refused and request.query.get("reveal") != "ticket-1":
            return web.json_response({"error": {"code": "withheld", "message": self.refused[name]}}, status=403)
        if name not in self.originals:
            return web.json_response({"detail": "no"}, status=404)
        return web.Response(body=self.originals[name], content_type="text/html")

    async def list_quarantine(self, request: web.Request) -> web.Response:
        return web.json_response({"items": self.quarantine})

    async def list_audit(self, request: web.Request) -> web.Response:
        when = "2026-11-20T10:00:00Z"
        items = [
            {
                "time": when,
                "actor": asked["actor"],
                "act": act,
                "document": name,
                "version": 1,
                "reason": asked["reason"],
            }
            for act, name, asked in self.acts
        ]
        return web.json_response({"items": items})

    async def release(self, request: web.Request) -> web.Response:
        asked = json.loads(await request.read())
        name = request.match_info["id"]
        self.acts.append(("release", name, asked))
        before = len(self.quarantine)
        self.quarantine = [item for item in self.quarantine if item["document"] != name]
        return web.json_response({"released": before - len(self.quarantine)})

    async def reveal(self, request: web.Request) -> web.Response:
        asked = json.loads(await request.read())
        self.acts.append(("reveal", request.match_info["id"], asked))
        if asked.get("original"):
            return web.json_response({"ticket": "ticket-1"})
        document = self.views[request.match_info["id"]]["document"]
        segments = [{**segment, "text": segment.get("text") or "As it came."} for segment in document["segments"]]
        return web.json_response({"document": {**document, "segments": segments}})


class Model:
    """Answers every chat with `text`; waits at `gate` before each word after the first `free` words."""

    def __init__(self) -> None:
        self.text = "Hello."
        self.asked: list[dict[str, Any]] = []
        self.free = 10**9
        self.gate = asyncio.Event()
        self.cancelled = threading.Event()
        self.break_after: int | None = None
        self.status = 200

    def app(self) -> web.Application:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/m/v1/chat/completions", self.chat)
        return app

    async def chat(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(json.loads(await request.read()))
        if self.status != 200:
            return web.Response(status=self.status, headers={"Retry-After": "7"}, text="busy")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            for number, event in enumerate(chat_events(self.text)):
                if number >= self.free:
                    await self.gate.wait()
                if number == self.break_after:
                    await response.write(sse({"error": {"message": "The engine ran out of memory."}}))
                    return response
                await response.write(event)
        except (asyncio.CancelledError, ConnectionError):
            self.cancelled.set()
            raise
        return response


class BrowserHouse:
    """What tests change while it runs. `do` runs a function in the servers' thread."""

    def __init__(self) -> None:
        self.shelf, self.model = Shelf(), Model()
        self.source = MemoryCatalog()
        self.url = self.model_url = ""
        self.loop: asyncio.AbstractEventLoop | None = None
        self.state: Any = None

    def do(self, work: Callable[[], Any]) -> Any:
        async def call() -> Any:
            return work()

        assert self.loop is not None
        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(10)

    def reset(self) -> None:
        """Forget what an earlier test changed."""
        model = self.model
        model.text, model.free, model.break_after, model.status = "Hello.", 10**9, None, 200
        model.asked.clear()
        model.cancelled.clear()
        self.do(model.gate.clear)
        for name, value in vars(Shelf()).items():
            setattr(self.shelf, name, value)
        self.source.keys = {
            "aaaaaaaaaa": key_record(OWNER, scopes=(Scope.ADMIN,)),
            "bbbbbbbbbb": key_record(READER, scopes=(Scope.CHAT, Scope.SEARCH)),
        }
        self.set_catalog()

    def set_catalog(
        self, *, variants: list[dict[str, Any]] | None = None, nodes: Any = None, sources: Any = (), **extra: Any
    ) -> None:
        """Replace what the gateway sees of the cluster."""
        found = fold(
            [
                deployment(variants=variants or self.variants(), **extra),
                deployment("embed", task="Embed", variants=[variant(node="gpu", url=f"{self.model_url}/m")]),
            ],
            [knowledge_base("work")],
            nodes=nodes if nodes is not None else [node("studio"), node("gpu")],
            sources=sources,
        )
        self.do(lambda: self.source.set_catalog(found))

    def variants(self, **first: Any) -> list[dict[str, Any]]:
        return [
            variant("metal", **{"node": "studio", "url": f"{self.model_url}/m", "slots": 4, **first}),
            variant("cuda", node="gpu", url=f"{self.model_url}/m", slots=4),
        ]


def node(
    name: str, *, reachable: bool = True, since: str = "2026-11-20T10:00:00Z", message: str = ""
) -> dict[str, Any]:
    """Return an InferenceNode as the API server gives it."""
    words = {"status": "True" if reachable else "False", "reason": "R", "message": message, "lastTransitionTime": since}
    conditions = [{"type": kind, **words} for kind in ("Reachable", "Ready")]
    return {"metadata": {"name": name}, "status": {"conditions": conditions}}


@contextlib.asynccontextmanager
async def _served(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.2)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _run(house: BrowserHouse, *, token: Path, ready: threading.Event, end: threading.Event) -> None:
    async with contextlib.AsyncExitStack() as stack:
        house.loop = asyncio.get_running_loop()
        house.model_url = await stack.enter_async_context(_served(house.model.app()))
        knowledge_url = await stack.enter_async_context(_served(house.shelf.app()))
        timeouts = Timeouts(connect=1, first_byte=30, between_tokens=30, total=60)
        settings = Settings(knowledge_url=knowledge_url, knowledge_token_path=str(token), timeouts=timeouts)

        @contextlib.asynccontextmanager
        async def start(gateway: Gateway) -> AsyncIterator[None]:
            async with make_session(settings.timeouts) as session:
                house.state = build_state(settings, source=house.source, reviewer=None, session=session)
                gateway.start(house.state)
                yield

        config = uvicorn.Config(build_app(start), host="127.0.0.1", port=0, log_config=None, access_log=False)
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None
        serving = asyncio.create_task(server._serve())
        while not server.started:
            if serving.done():
                await serving
            await asyncio.sleep(0.01)
        house.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        ready.set()
        await asyncio.to_thread(end.wait)
        server.should_exit = True
        house.model.gate.set()
        await serving


@contextlib.contextmanager
def running(folder: Path) -> Iterator[BrowserHouse]:
    """Serve until the block ends."""
    token = folder / "token"
    token.write_text("gateway-account-token")
    house = BrowserHouse()
    ready, end = threading.Event(), threading.Event()
    failure: list[BaseException] = []

    def work() -> None:
        try:
            asyncio.run(_run(house, token=token, ready=ready, end=end))
        except BaseException as error:
            failure.append(error)
            ready.set()

    thread = threading.Thread(target=work, name="browser-house")
    thread.start()
    ready.wait(30)
    try:
        if failure:
            raise failure[0]
        yield house
    finally:
        end.set()
        thread.join(30)
