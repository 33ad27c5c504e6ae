"""Builders and fakes for the gateway's tests: a catalog, keys, fakes at its Protocols, and a bare ASGI client."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from hearth_api.wire.keys import ApiKeyRecord, KeyLimits, Priority, Scope, hash_key
from hearth_api.wire.knowledge import Consistency, EmbeddingConfig, KbStatus, QueueStatus, SearchHit, SearchResponse
from hearth_gateway.admission import Admission
from hearth_gateway.app import Gateway, build_app
from hearth_gateway.auth import Authenticator, RateLimiter
from hearth_gateway.catalog.model import Catalog, fold
from hearth_gateway.catalog.source import MemoryCatalog
from hearth_gateway.circuit import Circuits
from hearth_gateway.dispatch import Dispatcher
from hearth_gateway.errors import GatewayError, NotFoundError
from hearth_gateway.metrics import Metrics
from hearth_gateway.settings import Settings
from hearth_gateway.state import State
from hearth_gateway.upstream import Answer, Stream

ALL = tuple(Scope)


def api_key(public: str = "abcdefghij", secret: str = "s" * 43) -> str:
    return f"hearth_{public}_{secret}"


def key_record(
    key: str,
    *,
    scopes: tuple[Scope, ...] = (Scope.CHAT, Scope.EMBED, Scope.SEARCH),
    knowledge_bases: tuple[str, ...] | None = None,
    rpm: int | None = None,
    max_priority: Priority = Priority.INTERACTIVE,
    expires: Any = None,
) -> ApiKeyRecord:
    return ApiKeyRecord(
        id=key.split("_")[1],
        sha256=hash_key(key),
        scopes=scopes,
        knowledge_bases=knowledge_bases,
        limits=KeyLimits(requests_per_minute=rpm, max_priority=max_priority),
        expires=expires,
    )


def variant(name: str = "cpu", *, url: str = "http://node:8000/chat/cpu", **extra: Any) -> dict[str, Any]:
    return {
        "name": name,
        "node": "home",
        "engine": "LlamaCpp",
        "url": url,
        "state": "Available",
        "slots": 1,
        "contextTokens": 2048,
        "modelDigest": "sha256:0",
        "memory": {"estimate": "300Mi"},
        **extra,
    }


def deployment(
    name: str = "chat",
    *,
    task: str = "Chat",
    variants: list[dict[str, Any]] | None = None,
    aliases: tuple[str, ...] = (),
    ready: bool = True,
    message: str = "ok",
    suspend: bool = False,
    created: str = "2026-01-01T00:00:00Z",
) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": "True" if ready else "False", "reason": "R", "message": message}]
    return {
        "metadata": {"name": name, "creationTimestamp": created},
        "spec": {"task": task, "aliases": list(aliases), "suspend": suspend},
        "status": {"variants": [variant()] if variants is None else variants, "conditions": conditions},
    }


def knowledge_base(name: str = "work", **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "spec": {},
        "status": {
            "documents": 3,
            "chunks": 9,
            "embedding": {"model": "embed"},
            "sources": [{"source": "inbox", "documents": 3}],
            "conditions": [{"type": "Ready", "status": "True", "message": ""}],
            **status,
        },
    }


def catalog(*deployments: dict[str, Any], bases: tuple[str, ...] = ("work",)) -> Catalog:
    found = deployments or (
        deployment(aliases=("gpt-4o",)),
        deployment("embed", task="Embed", variants=[variant(url="http://node:8000/embed/cpu")]),
    )
    return fold(found, [knowledge_base(name) for name in bases])


def hit(
    text: str,
    *,
    document: str = "email-aaaaaaaaaaaaaaaaaaaa",
    chunk: int = 0,
    title: str = "A mail",
    score: float = 1.0,
    **extra: Any,
) -> SearchHit:
    return SearchHit(
        document=document,
        version=extra.pop("version", 1),
        chunk=chunk,
        title=title,
        text=text,
        score=score,
        source="inbox",
        kind="email",
        **extra,
    )


class FakeKnowledge:
    """Answers searches from a table of hits or answers by knowledge base; an exception as value is raised."""

    def __init__(self, hits: dict[str, Any] | None = None) -> None:
        self.hits = hits or {}
        self.requests: list[tuple[str, Any]] = []

    async def search(self, knowledge_base: str, *, request: Any) -> SearchResponse:
        self.requests.append((knowledge_base, request))
        found = self.hits.get(knowledge_base, ())
        if isinstance(found, Exception):
            raise found
        return found if isinstance(found, SearchResponse) else SearchResponse(results=tuple(found), took_ms=1.0)

    async def status(self, knowledge_base: str) -> KbStatus:
        found = self.hits.get(knowledge_base)
        if isinstance(found, Exception):
            raise found
        return KbStatus(
            collection="c",
            documents=3,
            chunks=4,
            embedding=EmbeddingConfig(model="embed", digest="d", dimensions=2),
            queue=QueueStatus(pending=1),
            consistency=Consistency(consistent=False, expected_chunks=5, indexed_chunks=4),
        )

    def read(self, knowledge_base: str, **_: Any) -> Any:
        raise NotFoundError("no document")

    async def list_part(self, knowledge_base: str, **asked: Any) -> bytes:
        self.requests.append((knowledge_base, asked))
        return b'{"items":[]}'

    async def list_backups(self) -> bytes:
        return b'{"items":[]}'

    async def make_backup(self) -> bytes:
        self.requests.append(("", {"backup": True}))
        return b'{"name":"backup-1"}'

    async def act(self, knowledge_base: str, **asked: Any) -> bytes:
        self.requests.append((knowledge_base, asked))
        return b'{"released":1}'


class FakeStream(Stream):
    def __init__(self, chunks: list[bytes | GatewayError]) -> None:
        self.content_type = b"text/event-stream"
        self.first = chunks[0]
        self._chunks = chunks[1:]
        self.closed = False
        self.gate: asyncio.Event | None = None

    async def rest(self):
        for chunk in self._chunks:
            if self.gate is not None:
                await self.gate.wait()
            if isinstance(chunk, GatewayError):
                raise chunk
            yield chunk

    def close(self) -> None:
        self.closed = True


class FakeUpstream:
    """Gives what `respond(variant, path, body)` returns; remembers what it was sent."""

    def __init__(self, respond: Any = None) -> None:
        self.respond = respond or (lambda *_: chat_answer("hello"))
        self.sent: list[tuple[str, str, bytes]] = []
        self.cancelled = 0

    async def send(self, variant: Any, *, path: str, body: bytes, request_id: str, stream: bool, deadline: Any) -> Any:
        self.sent.append((variant.name, path, body))
        try:
            result = self.respond(variant.name, path, body)
            if asyncio.iscoroutine(result):
                result = await result
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(result, Exception):
            raise result
        return result


def chat_body(text: str) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "chat",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }


def chat_answer(text: str) -> Answer:
    return Answer(status=200, content_type=b"application/json", body=json.dumps(chat_body(text)).encode())


def sse(value: Any) -> bytes:
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


def chat_events(text: str) -> list[bytes]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "chat"}
    words = [word + " " for word in text.split(" ")]
    events = [
        sse({**head, "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]}) for word in words
    ]
    events.append(sse({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
    return [*events, sse(b"[DONE]")]


@dataclass
class Harness:
    """A gateway with fakes, without a socket."""

    source: MemoryCatalog = field(default_factory=lambda: MemoryCatalog(catalog()))
    upstream: Any = field(default_factory=FakeUpstream)
    knowledge: Any = field(default_factory=FakeKnowledge)
    settings: Settings = field(default_factory=Settings)
    reviewer: Any = None
    key: str = field(default_factory=api_key)

    def __post_init__(self) -> None:
        self.source.keys = self.source.keys or {"abcdefghij": key_record(self.key)}
        self.circuits = Circuits()
        self.metrics = Metrics()
        self.admission = Admission(
            lambda: self.source.catalog, circuits=self.circuits, queue_limit=self.settings.limits.queue_per_model
        )
        self.source.subscribe(self.admission.catalog_changed)
        self.metrics.watch(self.source, admission=self.admission)
        dispatcher = Dispatcher(
            self.admission,
            circuits=self.circuits,
            upstream=self.upstream,
            settings=self.settings,
            metrics=self.metrics,
        )
        self.source.subscribe(dispatcher.catalog_changed)
        self.state = State(
            settings=self.settings,
            source=self.source,
            authenticator=Authenticator(
                lambda: self.source.keys, reviewer=self.reviewer, namespace=self.settings.namespace
            ),
            limiter=RateLimiter(),
            admission=self.admission,
            dispatcher=dispatcher,
            knowledge=self.knowledge,
            metrics=self.metrics,
        )
        self.app: Gateway = build_app(lambda gateway: None)
        self.app.start(self.state)

    async def post(self, path: str, body: Any, **options: Any) -> "Reply":
        return await self.call("POST", path, body=body, **options)

    async def get(self, path: str, **options: Any) -> "Reply":
        return await self.call("GET", path, **options)

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = b"",
        key: str | None = "",
        headers: dict[str, str] | None = None,
        leave: asyncio.Event | None = None,
    ) -> "Reply":
        """Send one request. `key` "" is the harness's, None sends none. `leave` set: the client disconnects."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        pairs = [(b"host", b"hearth.local"), (b"content-length", str(len(raw)).encode())]
        if key is not None:
            pairs.append((b"authorization", b"Bearer " + (key or self.key).encode()))
        pairs += [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": pairs,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "state": {},
        }
        reply = Reply()
        sent = False

        async def receive() -> dict[str, Any]:
            nonlocal sent
            if not sent:
                sent = True
                return {"type": "http.request", "body": raw, "more_body": False}
            await (leave or asyncio.Event()).wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            reply.take(message)

        await self.app(scope, receive, send)
        return reply


class Reply:
    """What came back."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.chunks: list[bytes] = []

    def take(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            assert self.status == 0, "two responses"
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        elif message.get("body"):
            self.chunks.append(message["body"])

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    def json(self) -> Any:
        return json.loads(self.body)

    def events(self) -> list[Any]:
        lines = [line[6:] for line in self.body.decode().split("\n") if line.startswith("data: ")]
        return [line if line == "[DONE]" else json.loads(line) for line in lines]


async def until(condition: Any) -> None:
    """Let other tasks run until `condition()` holds."""
    while not condition():  # noqa: ASYNC110 (there is no event for the state of the code under test)
        await asyncio.sleep(0)


async def settle() -> None:
    """Give closed connections the turns of the loop that they need; aiohttp's sessions do not wait for them."""
    await asyncio.sleep(0.1)
