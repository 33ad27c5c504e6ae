"""Real servers: model servers and a knowledge service over aiohttp, an API server over aiohttp, the gateway in uvicorn."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from hearth_gateway.app import Gateway, build_app
from hearth_gateway.catalog.source import MemoryCatalog
from hearth_gateway.main import build_state
from hearth_gateway.settings import Settings, Timeouts
from hearth_gateway.upstream import make_session
from support.asgi_server import serve_asgi
from support.gateway import api_key, catalog, chat_body, chat_events, deployment, hit, key_record, settle, variant

TOKEN = "serve-token"


class ModelServer:
    """An OpenAI-shaped model server whose behaviour tests change while it runs."""

    def __init__(self) -> None:
        self.token = TOKEN
        self.url = ""
        self.seen: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.text = "It arrives on 14 October."
        self.pause = 0.0
        self.gate = asyncio.Event()
        self.gate.set()
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.break_after: int | None = None
        self.status = 200
        self.words = "broken"
        self.running = 0
        self.most = 0

    def app(self) -> web.Application:
        app = web.Application(client_max_size=64 << 20, handler_args=None)
        app.router.add_post("/m/v1/chat/completions", self.chat)
        app.router.add_post("/m/v1/embeddings", self.embed)
        return app

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await self._enter(request)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.gate.wait()
            if self.status != 200:
                return web.Response(status=self.status, text=self.words, headers={"Retry-After": "7"})
            if body.get("stream"):
                return await self._stream(request)
            return web.json_response(chat_body(self.text))
        except (asyncio.CancelledError, ConnectionError):
            self.cancelled.set()
            raise
        finally:
            self.running -= 1

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number, event in enumerate(chat_events(self.text)):
            if number == self.break_after:
                request.transport.abort()
                return response
            await response.write(event)
            await asyncio.sleep(self.pause)
        return response

    async def embed(self, request: web.Request) -> web.Response:
        body = await self._enter(request)
        if body.get("dimensions") not in (None, 3):
            error = {"error": {"message": "dimensions must be 3", "type": "invalid_request_error"}}
            return web.json_response(error, status=400)
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        data = [{"object": "embedding", "index": n, "embedding": [0.0, 0.0, 1.0]} for n, _ in enumerate(texts)]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return web.json_response({"object": "list", "data": data, "model": "embed", "usage": usage})

    async def _enter(self, request: web.Request) -> dict[str, Any]:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            raise web.HTTPUnauthorized
        self.headers.append(dict(request.headers))
        body = await request.json()
        self.seen.append(body)
        self.started.set()
        return body


class KnowledgeServer:
    """The knowledge service's search and reading calls, over a table."""

    def __init__(self) -> None:
        self.url = ""
        self.headers: list[dict[str, str]] = []
        self.hits = [hit("The pump from Nordwerk arrives on 14 October.", title="Re: pump")]

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/kbs/{kb}/search", self.search)
        app.router.add_get("/v1/kbs/{kb}/documents/{id}", self.document)
        app.router.add_get("/v1/kbs/{kb}/documents/{id}/original", self.original)
        return app

    async def search(self, request: web.Request) -> web.Response:
        self.headers.append(dict(request.headers))
        json.loads(await request.read())
        return web.json_response({"results": [item.to_json_object() for item in self.hits], "took_ms": 1.0})

    async def document(self, request: web.Request) -> web.Response:
        if not request.match_info["id"].endswith("aaaa"):
            return web.json_response({"detail": "no"}, status=404)
        return web.json_response({"id": request.match_info["id"], "version": request.query.get("version")})

    async def original(self, request: web.Request) -> web.Response:
        return web.Response(body=b"<script>x</script>" * 10000, content_type="text/html")


@pytest.fixture(name="serve_web")
def _serve_web() -> Any:
    return serve_web


@contextlib.asynccontextmanager
async def serve_web(app: web.Application, **options: Any) -> AsyncIterator[str]:
    # handler_cancellation: a client that goes away cancels the handler, as serving engines do it.
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.2)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, **options)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@pytest.fixture(name="serve_asgi")
def _serve_asgi() -> Any:
    return serve_asgi


class House:
    """Everything that runs."""

    def __init__(self) -> None:
        self.first, self.second = ModelServer(), ModelServer()
        self.knowledge = KnowledgeServer()
        self.source = MemoryCatalog()
        self.url = ""
        self.key = api_key()
        self.state: Any = None

    def variants(self, **extra: Any) -> list[dict[str, Any]]:
        secret = {"tokenSecretRef": {"name": "hearth-serve-home", "key": "token"}}
        return [
            variant("gpu", url=f"http://{self.first.url}/m", **secret, **extra),
            variant("cpu", url=f"http://{self.second.url}/m", **secret, **extra),
        ]

    def set_slots(self, slots: int, *, variants: int = 2) -> None:
        chat = deployment(variants=self.variants(slots=slots)[:variants])
        embed = deployment("embed", task="Embed", variants=self.variants(slots=4)[:1])
        self.source.set_catalog(catalog(chat, embed))


@pytest.fixture
def between_tokens() -> float:
    """How long a model may be silent; a test of silence makes it short."""
    return 20.0


@pytest.fixture
async def house(tmp_path, between_tokens) -> AsyncIterator[House]:
    home = House()
    token = tmp_path / "token"
    token.write_text("gateway-account-token")
    async with contextlib.AsyncExitStack() as stack:
        home.first.url = await stack.enter_async_context(serve_web(home.first.app()))
        home.second.url = await stack.enter_async_context(serve_web(home.second.app()))
        home.knowledge.url = await stack.enter_async_context(serve_web(home.knowledge.app()))
        settings = Settings(
            knowledge_url=f"http://{home.knowledge.url}",
            knowledge_token_path=str(token),
            timeouts=Timeouts(connect=1, first_byte=60, between_tokens=between_tokens, total=120),
        )
        home.source.secrets["hearth-serve-home"] = {"token": TOKEN.encode()}
        home.source.keys = {"abcdefghij": key_record(home.key)}
        home.set_slots(2)

        @contextlib.asynccontextmanager
        async def start(gateway: Gateway) -> AsyncIterator[None]:
            async with make_session(settings.timeouts) as session:
                home.state = build_state(settings, source=home.source, reviewer=None, session=session)
                gateway.start(home.state)
                yield

        home.url = await stack.enter_async_context(serve_asgi(build_app(start)))
        yield home
    await settle()


@pytest.fixture
async def http(house) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {house.key}"}
    async with aiohttp.ClientSession(house.url, headers=headers) as session:
        yield session
