"""The few lines of ASGI that hot routes need."""

import asyncio
import contextlib
import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from hearth_gateway.errors import BadRequestError, TooLargeError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class ClientGoneError(Exception):
    """The client closed the connection before its answer was complete."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """Return the first header with this lower-case name."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None


def request_id(scope: Scope) -> str:
    """Return the client's request id where it is harmless, otherwise a new one."""
    given = header(scope, b"x-request-id")
    if given is not None and REQUEST_ID.fullmatch(given):
        return given.decode("ascii")
    return f"req-{secrets.token_hex(12)}"


async def read_body(scope: Scope, receive: Receive, *, limit: int) -> bytes:
    """Read the body. TooLargeError beyond `limit` bytes, before reading where the length is announced."""
    announced = header(scope, b"content-length")
    if announced is not None and announced.isdigit() and int(announced[:20]) > limit:
        raise TooLargeError(limit=limit)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise TooLargeError(limit=limit)
        parts.append(chunk)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


class Responder:
    """Sends one response and knows how far it got."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status: int | None = None
        self.finished = False
        self.sent_bytes = 0

    async def whole(self, status: int, *, headers: Headers, body: bytes) -> None:
        """Send a complete response."""
        self.status = status
        self.finished = True
        self.sent_bytes = len(body)
        length = (b"content-length", str(len(body)).encode())
        await self._send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
        await self._send({"type": "http.response.body", "body": body})

    async def start(self, status: int, *, headers: Headers) -> None:
        """Begin a streamed response."""
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def chunk(self, body: bytes) -> None:
        """Send bytes of a streamed response."""
        self.sent_bytes += len(body)
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def finish(self, body: bytes = b"") -> None:
        """End a streamed response."""
        self.finished = True
        self.sent_bytes += len(body)
        await self._send({"type": "http.response.body", "body": body})


async def until_client_leaves(receive: Receive, *, responder: Responder, work: Awaitable[None]) -> None:
    """Run `work`; cancel it when the client disconnects before the end of its answer (ClientGoneError)."""
    task = asyncio.current_task()
    if task is None:
        raise BadRequestError("no running task")
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        if not responder.finished:
            gone = True
            task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        await work
    except asyncio.CancelledError:
        if not gone:
            raise
        task.uncancel()
        raise ClientGoneError from None
    finally:
        watcher.cancel()
    if gone:
        # The cancellation was ordered and `work` ended in the same turn of the loop: take it here, not in the server.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        task.uncancel()
        raise ClientGoneError
