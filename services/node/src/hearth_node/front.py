"""The only ports of Hearth that the house can reach on this machine: TLS, and a token for each.

Serve's port takes the Serve token, Ray's port takes Ray's. A request is judged before its body is read.
Neither a body nor a token nor a query is ever logged.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import structlog
from aiohttp import web
from pydantic import ValidationError
from yarl import URL

from hearth_api.wire.machine import MachineFacts, WakeRequest
from hearth_node import rayapi
from hearth_node.config import NodeConfig, Paths, write_file
from hearth_node.errors import RefusedError
from hearth_node.proxy import forward, too_large
from hearth_node.tls import CertificateError, CertificateFacts, CertificateStore
from hearth_node.tokens import PortToken
from hearth_node.wake_on_lan import PACKETS, NotSentError, Waker

log = structlog.get_logger(__name__)
MOST_SERVE_BYTES = 17 * 1024 * 1024
"""Serve itself takes 16 MiB and says so in OpenAI's shape."""
MOST_RAY_BYTES = 8 * 1024 * 1024
_MOST_CERTIFICATE_BYTES = 64 * 1024
_MOST_WAKE_BYTES = 1024
_LIMITS: dict[str, Any] = {"max_line_size": 8190, "max_field_size": 8190, "max_headers": 64, "lingering_time": 1.0}
_HANDSHAKE_SECONDS = 10.0
_RELOAD_SECONDS = 2.0
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Traffic:
    """What the front sees of work."""

    computing: int = 0
    """Requests for tokens or vectors that are under way."""
    draining: bool = False
    """Nothing new is begun: it ends, or another release starts."""
    last_end: float = field(default=float("-inf"))
    """When (monotonic clock) the last one ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """Both ports. `facts` tells what the machine is, `state` what runs."""

    config: NodeConfig
    paths: Paths
    store: CertificateStore
    session: aiohttp.ClientSession
    facts: Callable[[], MachineFacts]
    state: Callable[[], dict[str, object]]
    traffic: Traffic = field(default_factory=Traffic)
    waker: Waker = field(default_factory=Waker)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    clock: Callable[[], float] = time.monotonic
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    def serve_handler(self) -> Handler:
        """Return what answers on Serve's port."""
        token = PortToken(self.paths.serve_token, port="Serve")

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            token.check(request)
            path = request.rel_url.raw_path
            if path.startswith("/hearth/"):
                return await self._own(request, path, ray=False)
            check_size(request, MOST_SERVE_BYTES)
            return await self._compute(request, path)

        return _guarded(handle, port="serve")

    def ray_handler(self) -> Handler:
        """Return what answers on Ray's port."""
        token = PortToken(self.paths.ray_token, port="Ray")

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            token.check(request)
            path = request.rel_url.raw_path
            if path.startswith("/hearth/"):
                return await self._own(request, path, ray=True)
            rayapi.check_call(request.method, path)
            body = None
            if request.method == "PUT":
                body = rayapi.confine(await read_body(request, MOST_RAY_BYTES), serve_port=self.config.inside.serve)
            target = URL.build(
                scheme="http", host="127.0.0.1", port=self.config.inside.dashboard, path=path, encoded=True
            ).with_query(request.rel_url.raw_query_string or None)
            return await forward(request, session=self.session, target=target, most_bytes=0, body=body)

        return _guarded(handle, port="ray")

    async def _compute(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        query = request.rel_url.raw_query_string
        raw = f"http://127.0.0.1:{self.config.inside.serve}{path}{'?' + query if query else ''}"
        target = URL(raw, encoded=True)
        counts = request.method == "POST" and "/v1/" in path
        if counts and self.traffic.draining:
            raise RefusedError(503, "This machine stops serving: another one is to be asked.", code="draining")
        self.traffic.computing += counts
        try:
            return await forward(request, session=self.session, target=target, most_bytes=MOST_SERVE_BYTES)
        finally:
            self.traffic.computing -= counts
            if counts:
                self.traffic.last_end = self.clock()

    async def _own(self, request: web.BaseRequest, path: str, *, ray: bool) -> web.Response:
        """Answer what the front knows itself."""
        call = (request.method, path)
        if call == ("GET", "/hearth/machine"):
            return await self._machine()
        if call == ("GET", "/hearth/state"):
            return web.json_response(self.state())
        if ray and call == ("GET", "/hearth/certificate"):
            self._note_clock(request.headers.get("Date"))
            return web.json_response(certificate_body(self.store.facts(), now=self.now()))
        if ray and call == ("POST", "/hearth/certificate/request"):
            return web.json_response({"request": self.store.request().decode()})
        if ray and call == ("PUT", "/hearth/certificate"):
            return await self._install(request)
        if ray and call == ("POST", "/hearth/wake"):
            return await self._wake(request)
        raise RefusedError(404, "There is no such path.", code="not_found")

    async def _install(self, request: web.BaseRequest) -> web.Response:
        try:
            chain = str(json.loads(await read_body(request, _MOST_CERTIFICATE_BYTES))["certificate"]).encode()
        except (ValueError, RecursionError, TypeError, KeyError) as error:
            raise RefusedError(400, "The body is not JSON with a certificate.", code="invalid_document") from error
        try:
            facts = self.store.install(chain, now=self.now())
        except CertificateError as error:
            raise RefusedError(409, f"The certificate is not taken: {error}.", code="certificate_refused") from error
        log.info("certificate_replaced", not_after=facts.not_after.isoformat(), serial=facts.serial)
        return web.json_response(certificate_body(facts, now=self.now()))

    async def _wake(self, request: web.BaseRequest) -> web.Response:
        try:
            asked = WakeRequest.model_validate_json(await read_body(request, _MOST_WAKE_BYTES))
        except ValidationError as error:
            message = "The body is not JSON with mac, as aa:bb:cc:dd:ee:ff, and broadcast, an IPv4 address."
            raise RefusedError(400, message, code="invalid_document") from error
        try:
            self.waker.check(asked.broadcast)
            await self.waker.wake(asked.mac, asked.broadcast)
        except ValueError as error:
            raise RefusedError(400, str(error), code="not_a_broadcast_address") from error
        except NotSentError as error:
            raise RefusedError(503, f"The packet was not sent: {error}.", code="not_sent") from error
        log.info("magic_packet_sent", mac=asked.mac, broadcast=str(asked.broadcast))
        return web.json_response({"sent": PACKETS})

    async def _machine(self) -> web.Response:
        async with self.reading:  # the reader is for one at a time
            facts = await asyncio.to_thread(self.facts)
        return web.json_response(facts.to_json_object())

    def _note_clock(self, date: str | None) -> None:
        """Keep how far this clock is from the cluster's, for `doctor`. Whoever calls has Ray's token."""
        try:
            told = parsedate_to_datetime(date or "")
        except ValueError:
            return
        now = self.now()
        body = {"at": now.isoformat(), "ahead": round((now - told.astimezone(UTC)).total_seconds())}
        write_file(self.paths.clock, json.dumps(body).encode(), mode=0o644)


def certificate_body(facts: CertificateFacts, *, now: datetime) -> dict[str, object]:
    """Return what the operator is told of the certificate, and of this machine's clock."""
    return {
        "notBefore": facts.not_before.isoformat(),
        "notAfter": facts.not_after.isoformat(),
        "serial": facts.serial,
        "invited": facts.invited,
        "clock": now.isoformat(),
    }


def check_size(request: web.BaseRequest, most_bytes: int) -> None:
    """Raise RefusedError 413 where the request says itself that it is too large."""
    length = request.content_length
    if length is not None and length > most_bytes:
        raise too_large(most_bytes)


async def read_body(request: web.BaseRequest, most_bytes: int) -> bytes:
    """Return the whole body. Raises RefusedError 413."""
    check_size(request, most_bytes)
    parts: list[bytes] = []
    size = 0
    async for chunk in request.content.iter_any():
        size += len(chunk)
        if size > most_bytes:
            raise too_large(most_bytes)
        parts.append(chunk)
    return b"".join(parts)


def _guarded(handle: Handler, *, port: str) -> Handler:
    async def guarded(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await handle(request)
        except RefusedError as error:
            if error.status in {401, 403}:
                log.warning("refused", port=port, code=error.code, method=request.method[:16], peer=request.remote)
            kind = "authentication_error" if error.status in {401, 403} else "server_error"
            if error.status in {400, 404, 409, 413}:
                kind = "invalid_request_error"
            body = {"error": {"message": error.message, "type": kind, "param": None, "code": error.code}}
            answer = web.json_response(body, status=error.status)
            if error.status == 503:
                answer.headers["Retry-After"] = "5"
            answer.force_close()  # the body that was not read is not waited for
            return answer

    return guarded


async def serve_front(front: Front, *, ready: asyncio.Event | None = None) -> None:
    """Listen on both ports until cancelled. An address that is not there yet is tried again."""
    runners: list[web.ServerRunner] = []
    try:
        front.store.load()
        for handler, port in (
            (front.serve_handler(), front.config.serve_port),
            (front.ray_handler(), front.config.ray_port),
        ):
            server = web.Server(handler, handler_cancellation=True, auto_decompress=False, access_log=None, **_LIMITS)
            runner = web.ServerRunner(server, shutdown_timeout=5.0)
            await runner.setup()
            runners.append(runner)
            await _listen(front, runner, port)
        if ready is not None:
            ready.set()
        await _reload(front.store)
    finally:
        for runner in runners:
            await runner.cleanup()


async def _listen(front: Front, runner: web.ServerRunner, port: int) -> None:
    wait = 1.0
    while True:
        try:
            await web.TCPSite(runner, front.config.listen, port, ssl_context=front.store.context).start()
        except OSError as error:
            log.warning("port_not_open", address=front.config.listen, port=port, error=error.strerror or str(error))
            await asyncio.sleep(wait)
            wait = min(wait * 2, 30.0)
        else:
            log.info("listening", address=front.config.listen, port=port)
            return


async def _reload(store: CertificateStore) -> None:
    """Show a certificate that was replaced from outside, too."""
    while True:
        await asyncio.sleep(_RELOAD_SECONDS)
        try:
            if store.load():
                log.info("certificate_loaded")
        except OSError as error:  # an ssl.SSLError too
            log.warning("certificate_not_loaded", error=error.strerror or type(error).__name__)
