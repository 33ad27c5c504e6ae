"""Chat, completions, embeddings and ranking: raw bodies in, raw bytes out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from hearth_api.wire.keys import Scope as KeyScope
from hearth_gateway.admission import Lease
from hearth_gateway.asgi import (
    ClientGoneError,
    Receive,
    Responder,
    Scope,
    Send,
    header,
    read_body,
    request_id,
    until_client_leaves,
)
from hearth_gateway.auth import Caller
from hearth_gateway.catalog.model import CHAT, EMBED, RERANK, Model
from hearth_gateway.dispatch import Job
from hearth_gateway.errors import BadRequestError, GatewayError, MethodError, UpstreamError
from hearth_gateway.links import base_of
from hearth_gateway.rag.answer import Grounded, ground
from hearth_gateway.rag.sse import SseTap, encode_event
from hearth_gateway.record import CLIENT_GONE, Record
from hearth_gateway.request import OWN_FIELDS, Ask, parse_ask
from hearth_gateway.state import State
from hearth_gateway.upstream import Answer, Stream

log = structlog.get_logger()

STREAM_HEADERS = [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
DONE_EVENT = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Route:
    """One hot route."""

    path: str
    task: str
    scope: KeyScope
    knowledge: bool = False


ROUTES: Mapping[str, Route] = {
    route.path: route
    for route in (
        Route("/v1/chat/completions", task=CHAT, scope=KeyScope.CHAT, knowledge=True),
        Route("/v1/completions", task=CHAT, scope=KeyScope.CHAT),
        Route("/v1/embeddings", task=EMBED, scope=KeyScope.EMBED),
        Route("/v1/rerank", task=RERANK, scope=KeyScope.EMBED),
    )
}


@dataclass(frozen=True, slots=True)
class _Exchange:
    """One request on its way."""

    scope: Scope
    route: Route
    record: Record
    responder: Responder


class HotRoutes:
    """Serves them all. One instance for the whole process."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def serve(self, route: Route, *, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, write one log line."""
        record = Record(route=route.path, request_id=request_id(scope))
        responder = Responder(send)
        exchange = _Exchange(scope=scope, route=route, record=record, responder=responder)
        status = CLIENT_GONE
        with self._state.metrics.in_flight.track_inprogress():
            try:
                await self._guarded(exchange, receive=receive)
                status = responder.status or CLIENT_GONE
            except ClientGoneError:
                record.error = "client_gone"
            finally:
                record.close(status, metrics=self._state.metrics)

    async def _guarded(self, exchange: _Exchange, *, receive: Receive) -> None:
        try:
            caller = await self._admit(exchange)
            body = await read_body(exchange.scope, receive, limit=self._state.settings.limits.body_bytes)
            work = self._work(exchange, caller=caller, body=body)
            await until_client_leaves(receive, responder=exchange.responder, work=work)
        except GatewayError as error:
            await _refuse(exchange, error=error)
        except ClientGoneError:
            raise
        except Exception:
            log.exception("request.failed", route=exchange.route.path, request_id=exchange.record.request_id)
            await _refuse(exchange, error=GatewayError("The gateway failed; its log tells why."))

    async def _admit(self, exchange: _Exchange) -> Caller:
        if exchange.scope["method"] != "POST":
            raise MethodError("This path takes POST only.")
        caller = await self._state.admit(header(exchange.scope, b"authorization"))
        exchange.record.caller = caller.id
        caller.require(exchange.route.scope)
        return caller

    async def _work(self, exchange: _Exchange, *, caller: Caller, body: bytes) -> None:
        ask = parse_ask(body)
        record = exchange.record
        priority = caller.priority(_text(header(exchange.scope, b"x-hearth-priority")))
        record.priority, record.stream = priority.value, ask.stream and exchange.route.task == CHAT
        model, bases = self._target(ask, caller=caller, route=exchange.route)
        record.model, record.knowledge_bases = model.name, len(bases)
        grounded = await self._ground(ask, bases=bases, model=model, record=record) if bases else None
        job = Job(
            model=model,
            path=exchange.route.path,
            body=grounded.body if grounded else plain_body(ask, model=model),
            stream=record.stream,
            priority=priority,
        )
        answer, lease = await self._state.dispatcher.send(job, record=record)
        try:
            await self._deliver(exchange, answer=answer, lease=lease, grounded=grounded)
        finally:
            if isinstance(answer, Stream):
                answer.close()
            lease.release()

    def _target(self, ask: Ask, *, caller: Caller, route: Route) -> tuple[Model, tuple[str, ...]]:
        """Resolve `model@kb` and `knowledge_bases`; permission is asked before existence."""
        name, bases = ask.model, ask.knowledge.knowledge_bases
        if self._state.catalog.find(name) is None and "@" in name:
            name, _, base = name.rpartition("@")
            bases = (base, *bases)
        if bases and not route.knowledge:
            raise BadRequestError("Knowledge bases can be asked through /v1/chat/completions only.", param="model")
        bases = tuple(dict.fromkeys(bases))
        for base in bases:
            self._state.require_knowledge_base(base, caller=caller)
        return self._state.model(name, task=route.task), bases

    async def _ground(self, ask: Ask, *, bases: tuple[str, ...], model: Model, record: Record) -> Grounded:
        started = record.clock()
        try:
            grounded = await ground(
                ask,
                knowledge_bases=bases,
                model=model,
                knowledge=self._state.knowledge,
                default_top_k=self._state.settings.retrieval_top_k,
            )
        finally:
            record.retrieval = record.clock() - started
            self._state.metrics.retrieval.observe(record.retrieval)
        record.passages = len(grounded.passages)
        return grounded

    async def _deliver(
        self, exchange: _Exchange, *, answer: Answer | Stream, lease: Lease, grounded: Grounded | None
    ) -> None:
        if isinstance(answer, Stream):
            await self._deliver_stream(exchange, stream=answer, lease=lease, grounded=grounded)
            return
        record, body = exchange.record, answer.body
        if answer.status == 200:
            record.read_usage(body[-1024:])
        if grounded is not None and answer.status == 200:
            body = _attach(grounded, body=body, exchange=exchange, lease=lease, settings_base=self._base(exchange))
        record.answered()
        headers = [(b"content-type", answer.content_type), *record.headers()]
        if answer.retry_after is not None:
            headers.append((b"retry-after", answer.retry_after))
        # The model is done: the slot must not wait for a slow reader.
        lease.release()
        await exchange.responder.whole(answer.status, headers=headers, body=body)

    async def _deliver_stream(
        self, exchange: _Exchange, *, stream: Stream, lease: Lease, grounded: Grounded | None
    ) -> None:
        record, responder = exchange.record, exchange.responder
        record.answered()
        headers = [(b"content-type", stream.content_type), *STREAM_HEADERS, *record.headers()]
        await responder.start(200, headers=headers)
        try:
            if grounded is None:
                await _pass_through(stream, responder=responder, record=record)
            else:
                tap = await _pass_listening(stream, responder=responder, record=record)
                last = grounded.last_chunk(
                    tap.texts(),
                    head=tap.head,
                    base=self._base(exchange),
                    variant=lease.variant.name,
                    degraded=record.degraded,
                )
                await responder.finish(encode_event(last) + DONE_EVENT)
        except GatewayError as error:
            # The status is sent already: the error travels as an event, as OpenAI's clients expect it.
            record.error = error.code
            await responder.finish(b"\n\n" + encode_event({"error": error.detail()}))

    def _base(self, exchange: _Exchange) -> str:
        return base_of(exchange.scope, configured=self._state.settings.public_url)


async def _pass_through(stream: Stream, *, responder: Responder, record: Record) -> None:
    tail = stream.first
    await responder.chunk(stream.first)
    async for chunk in stream.rest():
        await responder.chunk(chunk)
        tail = chunk if len(chunk) >= 512 else (tail + chunk)[-1024:]
    record.read_usage(tail)
    await responder.finish()


async def _pass_listening(stream: Stream, *, responder: Responder, record: Record) -> SseTap:
    """Forward events up to `[DONE]`. UpstreamError where the stream ends without it."""
    tap = SseTap()
    tail = b""
    if out := tap.feed(stream.first):
        await responder.chunk(out)
        tail = out
    async for chunk in stream.rest():
        if out := tap.feed(chunk):
            await responder.chunk(out)
            tail = (tail + out)[-1024:]
    record.read_usage(tail)
    if not tap.done:
        raise UpstreamError("The model's answer ended too early.")
    return tap


def _attach(grounded: Grounded, *, body: bytes, exchange: _Exchange, lease: Lease, settings_base: str) -> bytes:
    try:
        answer = json.loads(body)
        return grounded.attach(
            answer, base=settings_base, variant=lease.variant.name, degraded=exchange.record.degraded
        )
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UpstreamError("The model's answer cannot be read.") from error


async def _refuse(exchange: _Exchange, *, error: GatewayError) -> None:
    exchange.record.error = error.code
    if exchange.responder.status is not None:
        return
    headers = [*error.headers(), (b"x-request-id", exchange.record.request_id.encode())]
    await exchange.responder.whole(error.status, headers=headers, body=error.body())


def plain_body(ask: Ask, *, model: Model) -> bytes:
    """Return the body for the model: the client's own bytes wherever nothing of it is ours."""
    if ask.untouched and ask.model == model.name:
        return ask.raw
    payload = {name: value for name, value in ask.payload.items() if name not in OWN_FIELDS}
    return json.dumps(payload | {"model": model.name}).encode()


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
