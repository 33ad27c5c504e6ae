"""A few calls to the Kubernetes API server over aiohttp.

The services need four verbs (get, list, watch, create a TokenReview). The generated client costs some
50 MB of resident memory for them, and its watch hides what a cache must know: resource versions and 410.
"""

import json
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import aiohttp

from hearth_common.errors import KubeStatusError, KubeUnreachableError
from hearth_common.tokens import ProjectedToken

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
NETWORK_ERRORS = (aiohttp.ClientError, TimeoutError, OSError)
MAX_EVENT_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class KubeAccess:
    """Where the API server is and how to prove who we are. `context` is None for plain HTTP (tests)."""

    url: str
    token: ProjectedToken | None
    context: ssl.SSLContext | None

    @classmethod
    def from_pod(cls, environment: Mapping[str, str] | None = None, *, account: Path = SERVICE_ACCOUNT) -> Self:
        """Read what the kubelet gives every pod. KeyError where the pod has no API server."""
        env = os.environ if environment is None else environment
        host, port = env["KUBERNETES_SERVICE_HOST"], env.get("KUBERNETES_SERVICE_PORT", "443")
        literal = f"[{host}]" if ":" in host else host
        return cls(
            url=f"https://{literal}:{port}",
            token=ProjectedToken(account / "token"),
            context=ssl.create_default_context(cafile=str(account / "ca.crt")),
        )


def pod_namespace(environment: Mapping[str, str], *, account: Path = SERVICE_ACCOUNT) -> str:
    """Return HEARTH_NAMESPACE, or the pod's own namespace, or "hearth"."""
    if named := environment.get("HEARTH_NAMESPACE"):
        return named
    file = account / "namespace"
    return file.read_text(encoding="utf-8").strip() if file.exists() else "hearth"


class KubeApi:
    """JSON in, JSON out. Raises KubeUnreachableError or KubeStatusError and nothing else of the network."""

    def __init__(self, access: KubeAccess, *, session: aiohttp.ClientSession) -> None:
        self._access = access
        self._session = session

    async def get(self, path: str, params: Mapping[str, str] | None = None, *, seconds: float = 15) -> dict[str, Any]:
        """GET one object or a list."""
        return await self._call("GET", _with_query(path, params), body=None, seconds=seconds)

    async def create(self, path: str, body: Mapping[str, object], *, seconds: float = 10) -> dict[str, Any]:
        """POST an object and return what the server made of it."""
        return await self._call("POST", path, body=body, seconds=seconds)

    async def watch(
        self, path: str, params: Mapping[str, str], *, idle_seconds: float
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield events until the server closes the stream. Silence beyond `idle_seconds` counts as a dead line."""
        target = _with_query(path, {**params, "watch": "true", "allowWatchBookmarks": "true"})
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=idle_seconds)
        try:
            async with self._session.get(self._url(target), timeout=timeout, **self._options()) as answer:
                await _refuse_error(answer, path=path)
                async for line in _lines(answer.content):
                    yield json.loads(line)
        except NETWORK_ERRORS as error:
            raise KubeUnreachableError(path=path, reason=f"{type(error).__name__} {error}".strip()) from error
        except ValueError as error:
            raise KubeUnreachableError(path=path, reason=f"broken watch stream: {error}") from error

    async def _call(self, verb: str, path: str, *, body: Mapping[str, object] | None, seconds: float) -> dict[str, Any]:
        timeout = aiohttp.ClientTimeout(total=seconds)
        try:
            async with self._session.request(
                verb, self._url(path), json=body, timeout=timeout, **self._options()
            ) as answer:
                await _refuse_error(answer, path=path)
                value = json.loads(await answer.read())
        except NETWORK_ERRORS as error:
            raise KubeUnreachableError(path=path, reason=f"{type(error).__name__} {error}".strip()) from error
        except ValueError as error:
            raise KubeUnreachableError(path=path, reason="the answer is not JSON") from error
        if not isinstance(value, dict):
            raise KubeUnreachableError(path=path, reason="the answer is not an object")
        return value

    def _url(self, path: str) -> str:
        return self._access.url + path

    def _options(self) -> dict[str, Any]:
        headers = {"Accept": "application/json"}
        if self._access.token is not None:
            headers |= self._access.token.header()
        options: dict[str, Any] = {"headers": headers, "allow_redirects": False}
        return options if self._access.context is None else options | {"ssl": self._access.context}


async def _refuse_error(answer: aiohttp.ClientResponse, *, path: str) -> None:
    if answer.status < 300:
        return
    text = (await answer.content.read(4096)).decode(errors="replace")
    try:
        message = str(json.loads(text).get("message", text))
    except (ValueError, AttributeError):
        message = text
    raise KubeStatusError(path=path, status=answer.status, message=message[:300])


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Split a stream at newlines. StreamReader.readline refuses lines beyond 64 KB, and a resource may be longer."""
    buffer = bytearray()
    async for chunk in content.iter_any():
        buffer += chunk
        while (end := buffer.find(b"\n")) >= 0:
            line = bytes(buffer[:end])
            del buffer[: end + 1]
            if line.strip():
                yield line
        if len(buffer) > MAX_EVENT_BYTES:
            raise ValueError("an event is larger than 8 MB")


def _with_query(path: str, params: Mapping[str, str] | None) -> str:
    return f"{path}?{urlencode(params)}" if params else path
