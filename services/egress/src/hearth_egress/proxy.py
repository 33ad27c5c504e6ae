"""One connection after the other: read the head, ask who and where, connect, relay, say so in one line."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

import structlog

from hearth_common.errors import HearthCommonError, TokenRefusedError
from hearth_common.review import Identity
from hearth_egress.address import Guard, connect, resolve
from hearth_egress.errors import RefusedError
from hearth_egress.head import Target, parse_head
from hearth_egress.metrics import Metrics
from hearth_egress.policy import AUDIENCE, Policy, name_source
from hearth_egress.relay import Flow, relay
from hearth_egress.settings import Settings

_LINGER_SECONDS = 1.0
_LINGER_BYTES = 65_536
_log = structlog.get_logger(__name__)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Reviewer(Protocol):
    """Who a token belongs to; `TokenReviewer` is one."""

    async def review(self, token: str) -> Identity:
        """Return the identity. Raises TokenRefusedError, KubeUnreachableError, KubeStatusError."""
        ...


@dataclass(slots=True)
class _Facts:
    """What is known of a connection, for its line in the log. Nothing of what passes through."""

    source: str = ""
    target: Target | None = None
    verdict: str = "broken"


class Proxy:
    """The proxy. `guard` decides on addresses, after names are resolved."""

    def __init__(
        self,
        settings: Settings,
        *,
        reviewer: Reviewer,
        policy: Policy,
        guard: Guard,
        metrics: Metrics,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._limits = settings.limits
        self._reviewer = reviewer
        self._policy = policy
        self._guard = guard
        self._metrics = metrics
        self._monotonic = monotonic
        self._open: Counter[str] = Counter()
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> asyncio.Server:
        """Listen. The caller closes the server."""
        return await asyncio.start_server(
            self._accept, self._settings.host, self._settings.port, limit=self._limits.head_bytes
        )

    async def stop(self, *, seconds: float = 5.0) -> None:
        """Give open tunnels a moment, then end them."""
        if self._connections:
            await asyncio.wait(self._connections, timeout=seconds)
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        self._connections.add(task)
        started = self._monotonic()
        facts, flow = _Facts(), Flow(started)
        try:
            await self._serve((reader, writer), facts=facts, flow=flow)
        except RefusedError as error:
            facts.verdict = error.verdict
            await _answer((reader, writer), error)
        except OSError as error:
            facts.verdict = "broken"
            _log.debug("connection_broken", reason=type(error).__name__)
        finally:
            self._connections.discard(task)
            writer.close()
            self._report(facts, flow, seconds=self._monotonic() - started)

    async def _serve(self, client: Streams, *, facts: _Facts, flow: Flow) -> None:
        head = await self._read_head(client[0])
        request = parse_head(head)
        facts.target = request.target
        facts.source = await self._identify(request.token)
        await self._policy.check(facts.source, request.target)
        if self._open[facts.source] >= self._limits.tunnels_per_source:
            raise RefusedError(
                503,
                verdict="too-many",
                sentence=f"{facts.source} has {self._limits.tunnels_per_source} tunnels open already: try again later",
            )
        self._open[facts.source] += 1
        self._metrics.open.inc()
        try:
            await self._tunnel(client, request.target, facts=facts, flow=flow)
        finally:
            self._metrics.open.dec()
            self._open[facts.source] -= 1
            if not self._open[facts.source]:
                del self._open[facts.source]

    async def _read_head(self, reader: asyncio.StreamReader) -> bytes:
        if len(self._connections) > self._limits.connections:
            raise RefusedError(503, verdict="too-many", sentence="too many connections: try again later")
        try:
            async with asyncio.timeout(self._limits.head_seconds):
                return await reader.readuntil(b"\r\n\r\n")
        except TimeoutError:
            raise RefusedError(408, verdict="malformed", sentence="the request did not come in time") from None
        except asyncio.LimitOverrunError:
            sentence = f"the request's head is larger than {self._limits.head_bytes} bytes"
            raise RefusedError(400, verdict="malformed", sentence=sentence) from None
        except asyncio.IncompleteReadError:
            raise RefusedError(400, verdict="malformed", sentence="the request ends before its head does") from None

    async def _identify(self, token: str | None) -> str:
        sentence = f"send Proxy-Authorization: Bearer with a ServiceAccount token for audience {AUDIENCE}"
        if token is None:
            raise RefusedError(407, verdict="no-token", sentence=f"who asks is not known: {sentence}")
        try:
            identity = await self._reviewer.review(token)
        except TokenRefusedError as error:
            raise RefusedError(407, verdict="bad-token", sentence=f"the token is not valid: {sentence}") from error
        except HearthCommonError as error:
            raise RefusedError(
                503, verdict="cluster-silent", sentence="the API server does not say who asks: try again shortly"
            ) from error
        return name_source(identity, namespace=self._settings.namespace)

    async def _tunnel(self, client: Streams, target: Target, *, facts: _Facts, flow: Flow) -> None:
        limits = self._limits
        try:
            async with asyncio.timeout(limits.connect_seconds):
                addresses = await resolve(target)
        except TimeoutError:
            sentence = f"the name {target.host} was not resolved in time: is the house's DNS well?"
            raise RefusedError(504, verdict="unknown-name", sentence=sentence) from None
        server = await connect(target, addresses, guard=self._guard, seconds=limits.connect_seconds)
        try:
            client[1].write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await client[1].drain()
            end = await relay(
                client, server, flow=flow, idle_seconds=limits.idle_seconds, total_seconds=limits.total_seconds
            )
            facts.verdict = "passed" if end == "done" else f"ended-{end}"
        finally:
            server[1].close()

    def _report(self, facts: _Facts, flow: Flow, *, seconds: float) -> None:
        self._metrics.tunnels.labels(facts.verdict).inc()
        if flow.sent or flow.received:
            self._metrics.seconds.observe(seconds)
            self._metrics.bytes.labels(facts.source, "sent").inc(flow.sent)
            self._metrics.bytes.labels(facts.source, "received").inc(flow.received)
        _log.info(
            "tunnel",
            source=facts.source,
            host=facts.target.host if facts.target else "",
            port=facts.target.port if facts.target else 0,
            sent=flow.sent,
            received=flow.received,
            seconds=round(seconds, 3),
            verdict=facts.verdict,
        )


async def _answer(client: Streams, error: RefusedError) -> None:
    """Say why, and wait a moment for the caller to read it: closing at once would throw the answer away."""
    body = f"{error.sentence}\n".encode()
    phrase = HTTPStatus(error.status).phrase
    head = f"HTTP/1.1 {error.status} {phrase}\r\nContent-Type: text/plain; charset=utf-8\r\n"
    head += f"Content-Length: {len(body)}\r\nConnection: close\r\n"
    head += "Proxy-Authenticate: Bearer\r\n" if error.status == 407 else ""
    head += "Allow: CONNECT\r\n" if error.status == 405 else ""
    reader, writer = client
    with suppress(OSError, TimeoutError, RuntimeError):
        async with asyncio.timeout(_LINGER_SECONDS):
            writer.write(head.encode("ascii") + b"\r\n" + body)
            await writer.drain()
            writer.write_eof()
            read = 0
            while read < _LINGER_BYTES and (chunk := await reader.read(_LINGER_BYTES)):
                read += len(chunk)
