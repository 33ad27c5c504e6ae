"""One way to call JSON services: bounded in time and size, and with our own errors."""

import functools
import json
import ssl
from collections.abc import Mapping
from typing import Any

import aiohttp

from hearth_operator.errors import OperatorError, UnreachableError

_MOST_BYTES = 32 * 1024 * 1024
_CHUNK = 64 * 1024


class HttpStatusError(OperatorError):
    """The other side answered, and refused."""

    def __init__(self, *, method: str, url: str, status: int, text: str) -> None:
        self.status = status
        self.text = text
        said = "".join(c if c.isprintable() else " " for c in text[:300])
        super().__init__(f"Http{status}", f"{method} {url}: {status} {' '.join(said.split())}".rstrip())


async def call_json(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    *,
    token: str | None = None,
    body: object | None = None,
    timeout: float,
    verify: ssl.SSLContext | None = None,
    most_bytes: int = _MOST_BYTES,
    headers: Mapping[str, str] | None = None,
) -> Any:
    """Return the JSON answer (None when empty). Raises UnreachableError or HttpStatusError."""
    sent = {**(headers or {}), **({"Authorization": f"Bearer {token}"} if token else {})}
    try:
        async with session.request(
            method,
            url,
            json=body,
            headers=sent,
            timeout=aiohttp.ClientTimeout(total=timeout),
            ssl=verify if verify is not None else True,
            allow_redirects=False,
        ) as answer:
            raw = await _read(answer, most_bytes)
            status = answer.status
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise UnreachableError("Unreachable", f"{method} {url}: {_say(error)}") from error
    if raw is None:
        raise UnreachableError("UnexpectedAnswer", f"{method} {url}: the answer is larger than {most_bytes >> 20} MiB")
    text = raw.decode(errors="replace")
    if not 200 <= status < 300:
        raise HttpStatusError(method=method, url=url, status=status, text=text)
    if not text.strip():
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise HttpStatusError(method=method, url=url, status=status, text="the answer is not JSON") from error


async def _read(answer: aiohttp.ClientResponse, most_bytes: int) -> bytes | None:
    """Return the body; None: it is larger than allowed, and the rest is not read."""
    parts: list[bytes] = []
    size = 0
    async for part in answer.content.iter_chunked(_CHUNK):
        size += len(part)
        if size > most_bytes:
            answer.close()
            return None
        parts.append(part)
    return b"".join(parts)


@functools.lru_cache(maxsize=64)
def trust(ca: str) -> ssl.SSLContext:
    """Return what trusts this authority (PEM) and no other; the same one each time, so that connections are reused."""
    return ssl.create_default_context(cadata=ca)


def _say(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not trusted: {_certificate_trouble(error.certificate_error)}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect: {error.os_error.strerror or type(error.os_error).__name__}"
    return type(error).__name__


_CERTIFICATE_TROUBLE = {
    9: "it is not valid yet: compare the clocks of both machines",
    10: "it has expired: join the machine again",
    18: "it signed itself: join the machine again",
    19: "another authority signed it: join the machine again",
    20: "another authority signed it: join the machine again",
    62: "it is for another name: join the machine again with the --address of the URL",
    64: "it is for another address: join the machine again with the --address of the URL",
}
"""By OpenSSL's verify codes."""


def _certificate_trouble(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _CERTIFICATE_TROUBLE.get(error.verify_code, error.verify_message)
    return type(error).__name__
