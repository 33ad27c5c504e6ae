"""Fakes at the knowledge service's own Protocols, and a way to call its application without a socket."""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from hearth_api.wire.keys import Priority
from hearth_api.wire.knowledge import EmbeddingConfig, KbConfig
from hearth_common.errors import TokenRefusedError
from hearth_common.review import Identity
from hearth_knowledge.app import build_app
from hearth_knowledge.errors import EmbedderUnavailableError, StoreUnavailableError
from hearth_knowledge.ports import Relevance, RowFilter, VectorRow
from hearth_knowledge.service import Ports, Service
from hearth_knowledge.settings import Settings

DIMENSIONS = 8
CONFIG = KbConfig(embedding=EmbeddingConfig(model="embed", digest="d1", dimensions=DIMENSIONS))


class NamedTokens:
    """A token is `account`, or `namespace/account`; "bad" is refused."""

    async def review(self, token: str) -> Identity:
        if token == "bad":
            raise TokenRefusedError(audience="hearth-knowledge", reason="not authenticated")
        namespace, _, account = token.rpartition("/")
        return Identity(username=f"system:serviceaccount:{token}", namespace=namespace or "hearth", account=account)


class HashEmbedder:
    """Vectors that depend on the text alone."""

    def __init__(self) -> None:
        self.down = False
        self.texts: list[str] = []

    async def embed(
        self, texts: Sequence[str], *, model: str, dimensions: int, priority: Priority, seconds: float
    ) -> list[list[float]]:
        if self.down:
            raise EmbedderUnavailableError("down")
        self.texts += texts
        return [[byte / 255 for byte in hashlib.sha256(text.encode()).digest()[:dimensions]] for text in texts]


class WordReranker:
    """Scores a text by the share of its words that the query has. `answer` replaces what it says, or is raised."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str], str, Priority]] = []
        self.answer: Callable[[list[Relevance]], Awaitable[list[Relevance]]] | Exception | None = None

    async def rerank(self, query: str, texts: Sequence[str], *, model: str, priority: Priority) -> list[Relevance]:
        self.asked.append((query, list(texts), model, priority))
        wanted = set(words(query))
        said = [
            Relevance(index=index, score=sum(word in wanted for word in words(text)) / len(words(text)))
            for index, text in enumerate(texts)
        ]
        if isinstance(self.answer, Exception):
            raise self.answer
        return await self.answer(said) if self.answer is not None else said


def words(text: str) -> list[str]:
    """Words as WordReranker compares them."""
    return re.findall(r"\w+", text.lower())


class MemoryStore:
    """Rows in dictionaries."""

    def __init__(self) -> None:
        self.down = False
        self.collections: dict[str, dict[str, VectorRow]] = {}
        self.aliases: dict[str, str] = {}

    def _rows(self, collection: str) -> dict[str, VectorRow]:
        self.ping()
        if collection not in self.collections:
            raise StoreUnavailableError("no such collection")
        return self.collections[collection]

    def ping(self) -> None:
        if self.down:
            raise StoreUnavailableError("down")

    def ensure_collection(self, collection: str, *, dimensions: int) -> None:
        self.ping()
        self.collections.setdefault(collection, {})

    def point_alias(self, alias: str, *, collection: str) -> None:
        self.aliases[alias] = collection

    def drop(self, collections: Collection[str], *, alias: str | None = None) -> None:
        self.ping()
        for name in collections:
            self.collections.pop(name, None)
        if alias:
            self.aliases.pop(alias, None)

    def list_collections(self, prefix: str) -> list[str]:
        return [name for name in self.collections if name.startswith(prefix)]

    def upsert(self, collection: str, rows: Sequence[VectorRow]) -> None:
        self._rows(collection).update({row.id: row for row in rows})

    def close_rows(self, collection: str, document: str, version: int, *, valid_to: int) -> int:
        rows = self._rows(collection)
        found = [row for row in rows.values() if (row.document, row.version) == (document, version)]
        rows.update({row.id: replace(row, valid_to=valid_to) for row in found})
        return len(found)

    def delete_rows(self, collection: str, document: str, version: int) -> None:
        rows = self._rows(collection)
        for row in [row for row in rows.values() if (row.document, row.version) == (document, version)]:
            del rows[row.id]

    def delete_source(self, collection: str, source: str) -> None:
        rows = self._rows(collection)
        for row in [row for row in rows.values() if row.source == source]:
            del rows[row.id]

    def delete_ids(self, collection: str, ids: Sequence[str]) -> None:
        for row in ids:
            self._rows(collection).pop(row, None)

    def flush(self, collection: str) -> None:
        self._rows(collection)

    def count(self, collection: str) -> int:
        return len(self._rows(collection))

    def row_ids(self, collection: str) -> set[str]:
        return set(self._rows(collection))

    def close(self) -> None:
        """Nothing is open."""

    def search_dense(
        self, collection: str, vector: Sequence[float], *, where: RowFilter, limit: int
    ) -> list[tuple[str, float]]:
        return self._best(
            collection, where, limit, lambda row: sum(a * b for a, b in zip(row.dense, vector, strict=True))
        )

    def search_sparse(
        self, collection: str, vector: Mapping[int, float], *, where: RowFilter, limit: int
    ) -> list[tuple[str, float]]:
        return self._best(
            collection, where, limit, lambda row: sum(row.sparse.get(n, 0.0) * weight for n, weight in vector.items())
        )

    def _best(self, collection: str, where: RowFilter, limit: int, score: Any) -> list[tuple[str, float]]:
        found = [(row.id, score(row)) for row in self._rows(collection).values() if passes(row, where)]
        return sorted((item for item in found if item[1] > 0), key=lambda item: (-item[1], item[0]))[:limit]


def passes(row: VectorRow, where: RowFilter) -> bool:
    """What Milvus' filter expression says."""
    return (
        row.valid_from <= where.valid_at < row.valid_to
        and (not where.source or row.source in where.source)
        and (not where.kind or row.kind in where.kind)
        and (not where.trust or row.trust in where.trust)
        and (not where.people or bool(set(row.people) & set(where.people)))
        and (where.thread is None or row.thread == where.thread)
        and (where.after is None or row.time >= where.after)
        and (where.before is None or row.time < where.before)
    )


@dataclass
class Fixture:
    """A service with fakes around it, and its application."""

    app: FastAPI
    service: Service
    store: MemoryStore
    embedder: HashEmbedder
    reranker: WordReranker
    clock: list[int]

    async def call(
        self,
        verb: str,
        path: str,
        *,
        account: str | None = None,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """Call the application as a server would. `body` is bytes, or an object that becomes JSON."""
        sent = {name.lower(): value for name, value in (headers or {}).items()}
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        if body is not None and not isinstance(body, bytes):
            sent["content-type"] = "application/json"
        if account is not None:
            sent["authorization"] = f"Bearer {account}"
        return await call_app(self.app, verb, path, headers=sent, body=data)

    async def json(self, verb: str, path: str, *, account: str, body: Any = None) -> Any:
        status, _, answer = await self.call(verb, path, account=account, body=body)
        assert status < 300, answer
        return json.loads(answer) if answer else None

    async def put(self, kb: str, lines: Sequence[Any], *, source: str = "inbox") -> list[Any]:
        body = b"\n".join(
            line if isinstance(line, bytes)
            else json.dumps(line).encode() if isinstance(line, dict)
            else line.model_dump_json(by_alias=True).encode()
            for line in lines
        )  # fmt: skip
        status, _, answer = await self.call(
            "POST", f"/v1/kbs/{kb}/documents:batch", account=f"hearth-ingest-{source}", body=body
        )
        assert status == 200, answer
        return [json.loads(line) for line in answer.splitlines()]

    async def index(self) -> None:
        """Do all indexing work that is due."""
        while await self.service.worker.run_once():
            pass


@asynccontextmanager
async def knowledge(folder: Path, **environment: str) -> AsyncIterator[Fixture]:
    """Build a service over a folder. Its worker does not run by itself: call `index`."""
    (folder / "kek").mkdir(exist_ok=True)
    key = folder / "kek" / "v1"
    if not key.exists():
        key.write_text("A" * 43 + "=")
    values = {"HEARTH_KNOWLEDGE_DATA": str(folder / "data"), "HEARTH_KEK_DIR": str(folder / "kek"), **environment}
    store, embedder, reranker, clock = MemoryStore(), HashEmbedder(), WordReranker(), [1_790_000_000_000]

    def now() -> int:
        clock[0] += 1
        return clock[0]

    ports = Ports(
        authenticator=NamedTokens(),
        embedder=embedder,
        reranker=reranker,
        connect_store=lambda _uri: store,
        now=now,
    )
    service = Service(Settings.from_environment(values), ports)
    try:
        yield Fixture(
            app=build_app(service), service=service, store=store, embedder=embedder, reranker=reranker, clock=clock
        )
    finally:
        service.database.close()


async def call_app(
    app: FastAPI, verb: str, path: str, *, headers: Mapping[str, str], body: bytes
) -> tuple[int, dict[str, str], bytes]:
    """Send one request through ASGI and return status, headers and body."""
    path, _, query = path.partition("?")
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": verb, "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "server": ("test", 80), "client": ("test", 1),
    }  # fmt: skip
    # In pieces, as a network brings it.
    pieces = [body[start : start + 1000] for start in range(0, len(body), 1000)] or [b""]
    waiting = [
        {"type": "http.request", "body": piece, "more_body": number < len(pieces) - 1}
        for number, piece in enumerate(pieces)
    ]
    answers: list[dict[str, Any]] = []
    ended = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if waiting:
            return waiting.pop(0)
        await ended.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        answers.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            ended.set()

    await app(scope, receive, send)
    start = next(message for message in answers if message["type"] == "http.response.start")
    content = b"".join(message.get("body", b"") for message in answers if message["type"] == "http.response.body")
    return start["status"], {name.decode(): value.decode() for name, value in start["headers"]}, content
