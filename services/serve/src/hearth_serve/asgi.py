"""The little of HTTP that is needed on top of ASGI: bodies in, JSON and events out, callers that go away."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any

from hearth_serve.errors import ApiError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MAX_BODY = 16 * 2**20
"""Bytes of a request: 2,048 texts of 2,000 tokens fit."""
JSON_TYPE = (b"content-type", b"application/json")
EVENT_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class CallerGoneError(Exception):
    """The caller closed the connection before it had sent its request."""


def path_of(scope: Scope) -> str:
    """Return the path below the application's prefix."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path") or "") or "/"


def header(scope: Scope, name: bytes) -> bytes | None:
    """Return the last value of a header; `name` in lower case."""
    return dict(scope["headers"]).get(name)


async def read_body(receive: Receive) -> bytes:
    """Return the whole body. Raises ApiError 413 and CallerGoneError."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise CallerGoneError
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise ApiError(413, f"A request may have {MAX_BODY} bytes.", code="request_too_large")
        if not message.get("more_body"):
            return bytes(body)


async def send_json(
    send: Send, status: int, content: object, *, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    """Answer at once."""
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [JSON_TYPE, length, *(headers or [])]})
    await send({"type": "http.response.body", "body": body})


async def send_error(send: Send, error: ApiError) -> None:
    """Answer with an OpenAI-shaped error."""
    headers = [] if error.retry_after is None else [(b"retry-after", str(error.retry_after).encode())]
    await send_json(send, error.status, error.body(), headers=headers)


async def until_gone(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Run `work`, and cancel it when the caller goes away or this task is cancelled. Returns after it has ended."""
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        finished = task.done()
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)
    if finished:
        task.result()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def answer_lifespan(receive: Receive, send: Send, *, shutdown: Callable[[], Awaitable[None]]) -> None:
    """Take part in the server's start and end."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await shutdown()
            await send({"type": "lifespan.shutdown.complete"})
            return
