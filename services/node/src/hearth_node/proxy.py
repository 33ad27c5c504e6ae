"""Passing one request on to the loopback: bytes as they come, nothing kept, and an end at either side ends both."""

from collections.abc import AsyncIterator, Mapping

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from hearth_node.errors import RefusedError

_HOP = frozenset(
    {
        "connection",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-ray-authorization",  # a second way to present Ray's token
    }
)


async def forward(
    request: web.BaseRequest,
    *,
    session: aiohttp.ClientSession,
    target: URL,
    most_bytes: int,
    body: bytes | None = None,
) -> web.StreamResponse:
    """Return the answer of `target`, passed through chunk by chunk. Raises RefusedError 413 or 503.

    `body` replaces the request's. Cancelled when the client goes away: the upstream request ends with it.
    """
    data: bytes | AsyncIterator[bytes] | None = body
    if body is None and request.can_read_body:
        data = _read(request, most_bytes)
    headers = _passed(request.headers, dropped=_HOP if body is None else _HOP | {"content-length"})
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    try:
        upstream = await session.request(
            request.method, target, data=data, headers=headers, allow_redirects=False, skip_auto_headers=("User-Agent",)
        )
    except aiohttp.ClientConnectorError as error:
        raise RefusedError(503, "Ray does not answer on this machine: it starts, or ended.", code="starting") from error
    except aiohttp.ClientError as error:
        if isinstance(error.__cause__, RefusedError):
            raise error.__cause__ from error
        raise RefusedError(503, "Ray ended the connection without an answer.", code="upstream_ended") from error
    try:
        return await _pass_back(request, upstream)
    finally:
        upstream.close()  # a no-op once the answer was read to its end


async def _pass_back(request: web.BaseRequest, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
    answer = web.StreamResponse(
        status=upstream.status, reason=upstream.reason, headers=_passed(upstream.headers, dropped=_HOP)
    )
    await answer.prepare(request)
    try:
        async for chunk in upstream.content.iter_any():
            await answer.write(chunk)
    except aiohttp.ClientError:
        # Cut in the middle: the client must see a cut, not an end.
        if request.transport is not None:
            request.transport.abort()
        return answer
    await answer.write_eof()
    return answer


def _passed(headers: Mapping[str, str], *, dropped: frozenset[str]) -> CIMultiDict[str]:
    found = CIMultiDict(headers)
    named = {name.strip().lower() for name in found.get("Connection", "").split(",")}
    for name in list(found):
        if name.lower() in dropped or name.lower() in named:
            found.popall(name, None)
    return found


async def _read(request: web.BaseRequest, most_bytes: int) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in request.content.iter_any():
        size += len(chunk)
        if size > most_bytes:
            raise too_large(most_bytes)
        yield chunk


def too_large(most_bytes: int) -> RefusedError:
    """Return the refusal of a body that is larger than this machine takes."""
    return RefusedError(413, f"The body is larger than {most_bytes >> 20} MiB.", code="too_large")
