"""The routes of one model, as a plain ASGI application over an engine.

Every route but /healthz demands the node's Serve token. Nothing here logs what was asked or answered.
"""

import base64
import json
import os
import time
import uuid
from array import array
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any

from hearth_api.wire.serve import ProbeResult, ServeArgs, ServeInfo, ServeTunables, Task
from hearth_serve import machine
from hearth_serve.asgi import (
    EVENT_HEADERS,
    CallerGoneError,
    Receive,
    Scope,
    Send,
    answer_lifespan,
    header,
    path_of,
    read_body,
    send_error,
    send_json,
    until_gone,
)
from hearth_serve.auth import TokenFile
from hearth_serve.engines.protocol import Embedded, Engine, Reranked
from hearth_serve.errors import ApiError
from hearth_serve.fold import DONE, Fold, event
from hearth_serve.logs import log
from hearth_serve.requests import (
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    GenerateRequest,
    RerankRequest,
    demand_dimensions,
)
from hearth_serve.slots import Slots
from hearth_serve.watchdog import Watchdog, patience

Handler = Callable[[bytes, Send], Coroutine[Any, Any, None]]
PROBE_CHAT = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1, "temperature": 0}
PROBE_TEXT = "probe"


class ModelApp:
    """Routes below `/<modeldeployment>/<variant>`."""

    def __init__(
        self,
        *,
        engine: Engine,
        args: ServeArgs,
        token: TokenFile,
        build: str,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.tunables = ServeTunables()
        self.slots = Slots(args.concurrency, max_waiting=args.max_waiting)
        self._engine = engine
        self._args = args
        self._token = token
        self._build = build
        self._clock = clock
        self.watchdog = Watchdog(
            limit=patience(engine.facts.context_tokens), tokens=lambda: engine.tokens_produced, clock=clock
        )
        self._routes: dict[tuple[str, str], Handler] = {
            ("GET", "/info"): self._info,
            ("POST", "/probe"): self._probe,
        }
        if args.task is Task.CHAT:
            self._routes[("POST", "/v1/chat/completions")] = self._chat
            self._routes[("POST", "/v1/completions")] = self._complete
        elif args.task is Task.EMBED:
            self._routes[("POST", "/v1/embeddings")] = self._embed
        else:
            self._routes[("POST", "/v1/rerank")] = self._rerank

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await answer_lifespan(receive, send, shutdown=self._engine.close)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1003})
            return
        try:
            await self._answer(scope, receive, send)
        except ApiError as error:
            await send_error(send, error)
        except CallerGoneError:
            return

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], path_of(scope)
        if path == "/healthz" and method in ("GET", "HEAD"):
            alive = not self.watchdog.hangs
            await send_json(send, 200 if alive else 503, {"ok": alive})
            return
        self._token.check(header(scope, b"authorization"))
        handler = self._routes.get((method, path))
        if handler is None:
            raise _no_route(method, path, known={route for _, route in self._routes})
        body = await read_body(receive)
        await until_gone(receive, handler(body, send))

    async def _info(self, _body: bytes, send: Send) -> None:
        facts = self._engine.facts
        info = ServeInfo(
            build=self._build,
            engine=self._args.engine,
            engine_version=facts.version,
            model_id=self._args.model_id,
            model_digest=facts.digest,
            context_tokens=facts.context_tokens,
            dimensions=facts.dimensions,
            slots_total=self.slots.total,
            slots_busy=self.slots.busy,
            tokens_produced=self._engine.tokens_produced,
            memory=machine.memory_info(),
            shape=facts.shape,
            node=self._args.node,
            pid=os.getpid(),
        )
        await send_json(send, 200, info.to_json_object())

    async def _probe(self, _body: bytes, send: Send) -> None:
        """Compute one token, vector or score; 503 `overloaded` while all slots are busy: then /info's counter grows."""
        start = self._clock()
        async with self.slots.take(wait=False):
            if self._args.task is Task.EMBED:
                with self.watchdog.waiting():
                    await self._engine.embed([PROBE_TEXT])
            elif self._args.task is Task.RERANK:
                with self.watchdog.waiting():
                    await self._engine.rerank(PROBE_TEXT, [PROBE_TEXT])
            else:
                async with aclosing(self.watchdog.follow(self._engine.stream_chat(PROBE_CHAT))) as chunks:
                    async for _ in chunks:
                        pass
        took = ProbeResult(took_ms=(self._clock() - start) * 1000)
        await send_json(send, 200, took.to_json_object())

    async def _chat(self, body: bytes, send: Send) -> None:
        request = ChatRequest.parse(body)
        await self._generate(request, self._engine.stream_chat(request.for_engine(self.tunables)), send)

    async def _complete(self, body: bytes, send: Send) -> None:
        request = CompletionRequest.parse(body)
        await self._generate(request, self._engine.stream_completion(request.for_engine(self.tunables)), send)

    async def _generate(self, request: GenerateRequest, chunks: AsyncGenerator[bytes, None], send: Send) -> None:
        async with self.slots.take(), aclosing(self.watchdog.follow(chunks)) as running:
            if request.stream:
                await _send_events(running, send, include_usage=request.include_usage)
                return
            fold = Fold()
            async for chunk in running:
                fold.add(chunk)
        await send_json(send, 200, fold.whole())

    async def _embed(self, body: bytes, send: Send) -> None:
        request = EmbeddingRequest.parse(body)
        demand_dimensions(request, dimensions=self._engine.facts.dimensions)
        async with self.slots.take():
            with self.watchdog.waiting():
                result = await self._engine.embed(request.texts(self.tunables))
        encode = _base64 if request.encoding_format == "base64" else list
        data = [{"object": "embedding", "index": n, "embedding": encode(row)} for n, row in enumerate(result.vectors)]
        answer = {"object": "list", "model": self._args.model_id, "data": data, "usage": _usage(result)}
        await send_json(send, 200, answer)

    async def _rerank(self, body: bytes, send: Send) -> None:
        request = RerankRequest.parse(body)
        texts = request.texts()
        async with self.slots.take():
            with self.watchdog.waiting():
                result = await self._engine.rerank(request.query, texts)
        best = sorted(range(len(texts)), key=lambda n: (-result.scores[n], n))[: request.top_n]
        found = [
            {"index": n, "relevance_score": result.scores[n]}
            | ({"document": {"text": texts[n]}} if request.return_documents else {})
            for n in best
        ]
        head = {"id": f"rerank-{uuid.uuid4().hex}", "object": "list", "model": self._args.model_id}
        await send_json(send, 200, {**head, "results": found, "usage": _usage(result)})


def _usage(result: Embedded | Reranked) -> dict[str, object]:
    usage: dict[str, object] = {"prompt_tokens": result.tokens, "total_tokens": result.tokens}
    if result.truncated:
        usage["truncated_inputs"] = list(result.truncated)
    return usage


def _base64(vector: Sequence[float]) -> str:
    """Return little-endian float32, OpenAI's compact form."""
    return base64.b64encode(array("f", vector).tobytes()).decode()


def _no_route(method: str, path: str, *, known: set[str]) -> ApiError:
    if path in known:
        return ApiError(405, f"{path} does not take {method}.", code="method_not_allowed")
    return ApiError(404, f"This model does not serve {method} {path}.", code="unknown_url")


async def _send_events(chunks: AsyncGenerator[bytes, None], send: Send, *, include_usage: bool) -> None:
    """Send chunks as they come. The status waits for the first one, so that refusals keep theirs."""
    started = False
    try:
        async for chunk in chunks:
            if not started:
                await send({"type": "http.response.start", "status": 200, "headers": EVENT_HEADERS})
                started = True
            if include_usage or not _only_usage(chunk):
                await send({"type": "http.response.body", "body": event(chunk), "more_body": True})
    except ApiError as error:
        if not started:
            raise
        log.warning("stream_failed", status=error.status, code=error.code)
        failure = json.dumps(error.body()).encode()
        await send({"type": "http.response.body", "body": event(failure)})
        return
    await send({"type": "http.response.body", "body": DONE})


def _only_usage(chunk: bytes) -> bool:
    """Tell the last chunk, which OpenAI sends only when asked for."""
    if b'"usage"' not in chunk:
        return False
    data: dict[str, Any] = json.loads(chunk)
    return not data.get("choices") and "usage" in data
