"""One way to call JSON services: bounded in time and size, and with our own errors."""

import json
import ssl
from typing import Any

import aiohttp

from hearth_operator.errors import OperatorError, UnreachableError

_MOST_BYTES = 32 * 1024 * 1024


class HttpStatusError(OperatorError):
    """The other side answered, and refused."""

    def __init__(self, *, method: str, url: str, status: int, text: str) -> None:
        self.status = status
        self.text = text
        super().__init__(f"Http{status}", f"{method} {url}: {status} {text[:300]}".rstrip())


async def call_json(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    *,
    token: str | None = None,
    body: object | None = None,
    timeout: float,
    verify: ssl.SSLContext | None = None,
) -> Any:
    """Return the JSON answer (None when empty). Raises UnreachableError or HttpStatusError."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with session.request(
            method,
            url,
            json=body,
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=timeout),
            ssl=verify if verify is not None else True,
            allow_redirects=False,
        ) as answer:
            raw = await answer.content.read(_MOST_BYTES)
            while not answer.content.at_eof() and len(raw) < _MOST_BYTES:
                raw += await answer.content.read(_MOST_BYTES)
            status = answer.status
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise UnreachableError("Unreachable", f"{method} {url}: {_say(error)}") from error
    text = raw.decode(errors="replace")
    if not 200 <= status < 300:
        raise HttpStatusError(method=method, url=url, status=status, text=text)
    if not text.strip():
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise HttpStatusError(method=method, url=url, status=status, text="the answer is not JSON") from error


def _say(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect: {error.os_error.strerror or type(error.os_error).__name__}"
    return type(error).__name__
