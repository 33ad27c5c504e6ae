"""One attempt at one variant: send the body, wait for the first byte, hand over what follows untouched."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from hearth_gateway.catalog.model import Variant
from hearth_gateway.credentials import NodeCredentials
from hearth_gateway.errors import BadRequestError, GatewayError, UnavailableError, UpstreamError, UpstreamTimeoutError
from hearth_gateway.settings import Timeouts
from hearth_gateway.silence import Deadline, PatientReader

# Ray's proxy closes idle connections after 5 s (uvicorn's default): ours must be the side that closes first.
KEEPALIVE_SECONDS = 4.0
DNS_SECONDS = 10
MAX_ERROR_BYTES = 64 << 10
MAX_ANSWER_BYTES = 64 << 20
FAILED_ELSEWHERE = frozenset({502, 503, 504})


class VariantFailedError(Exception):
    """No first byte from a variant; another may answer. `shown` is what the client sees if none does."""

    def __init__(self, reason: str, *, shown: GatewayError, counts: bool = True) -> None:
        self.reason = reason
        self.shown = shown
        self.counts = counts
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, or an error that the model's server explained itself."""

    status: int
    content_type: bytes
    body: bytes
    retry_after: bytes | None = None


class Stream:
    """An answer whose first bytes are here. Iterate `rest` for the others, then `close`."""

    def __init__(
        self, response: aiohttp.ClientResponse, *, first: bytes, deadline: Deadline, between_seconds: float
    ) -> None:
        self._response = response
        self._reader = PatientReader(response.content, deadline=deadline, seconds=between_seconds)
        self.first = first
        self.content_type = response.headers.get("Content-Type", "text/event-stream").encode("latin-1")

    async def rest(self) -> AsyncIterator[bytes]:
        """Yield bytes as they come. UpstreamError or UpstreamTimeoutError where they stop early."""
        read = self._reader.read
        try:
            while chunk := await read():
                yield chunk
        except TimeoutError as error:
            raise UpstreamTimeoutError("The model stopped answering in the middle of its answer.") from error
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamError("The connection to the model broke in the middle of its answer.") from error

    def close(self) -> None:
        """Drop the connection where the answer is not complete, so that the model stops computing."""
        self._reader.stop()
        self._response.close()


class Upstream:
    """Sends requests to variants. One session, one connection pool for all nodes."""

    def __init__(self, session: aiohttp.ClientSession, *, credentials: NodeCredentials, timeouts: Timeouts) -> None:
        self._session = session
        self._credentials = credentials
        self._timeouts = timeouts

    async def send(
        self, variant: Variant, *, path: str, body: bytes, request_id: str, stream: bool, deadline: Deadline
    ) -> Answer | Stream:
        """POST `body` and return a whole Answer, or a Stream once its first byte is here.

        Raises
        ------
        VariantFailedError
            Nothing was received that is worth showing: try another variant.
        UpstreamTimeoutError
            The first byte did not come in time.

        """
        limit = self._timeouts.first_byte if stream else self._timeouts.total
        try:
            async with asyncio.timeout_at(deadline.at(limit)):
                response = await self._open(variant, path=path, body=body, request_id=request_id)
                try:
                    return await self._receive(response, stream=stream, deadline=deadline)
                except BaseException:
                    response.close()
                    raise
        except aiohttp.ConnectionTimeoutError as error:
            # A TimeoutError too, but of the connection: the machine sleeps or is cut off. Another may answer.
            raise _failed("connect timeout", cause=error) from error
        except TimeoutError as error:
            raise UpstreamTimeoutError("The model did not begin its answer in time.") from error
        except aiohttp.ClientError as error:
            raise _failed(f"{type(error).__name__}", cause=error) from error
        except OSError as error:
            raise _failed(f"{type(error).__name__}", cause=error) from error

    async def _open(self, variant: Variant, *, path: str, body: bytes, request_id: str) -> aiohttp.ClientResponse:
        """Send, once more with fresh Secrets after a 401 or a refused certificate, once more on a stale connection."""
        stale_allowed = True
        while True:
            try:
                response = await self._post(variant, path=path, body=body, request_id=request_id)
            except aiohttp.ClientConnectorCertificateError as error:
                if self._credentials.forget(variant):
                    continue
                raise VariantFailedError("certificate refused", shown=_trust_error(variant)) from error
            except aiohttp.ServerDisconnectedError:
                if not stale_allowed:
                    raise
                stale_allowed = False
                continue
            if response.status in (401, 403):
                response.close()
                if self._credentials.forget(variant):
                    continue
                raise VariantFailedError(f"status {response.status}", shown=_trust_error(variant))
            return response

    async def _post(self, variant: Variant, *, path: str, body: bytes, request_id: str) -> aiohttp.ClientResponse:
        try:
            authorization = await self._credentials.header(variant)
            context = await self._credentials.context(variant)
        except UnavailableError as error:
            raise VariantFailedError("credentials", shown=error) from error
        # An allow-list, not a filter: nothing that the client sent travels on but the body.
        headers = {"Content-Type": "application/json", "X-Request-Id": request_id}
        if authorization is not None:
            headers["Authorization"] = authorization
        options: dict[str, Any] = {} if context is None else {"ssl": context}
        return await self._session.post(
            variant.url + path, data=body, headers=headers, allow_redirects=False, **options
        )

    async def _receive(self, response: aiohttp.ClientResponse, *, stream: bool, deadline: Deadline) -> Answer | Stream:
        status = response.status
        content_type = response.headers.get("Content-Type", "application/json").encode("latin-1")
        if status >= 300:
            body = await response.content.read(MAX_ERROR_BYTES)
            response.close()
            return self._explained(response, body=body)
        if stream:
            first = await response.content.readany()
            if not first:
                raise _failed("empty answer")
            return Stream(response, first=first, deadline=deadline, between_seconds=self._timeouts.between_tokens)
        body = await _read_bounded(response)
        return Answer(status=status, content_type=content_type, body=body)

    def _explained(self, response: aiohttp.ClientResponse, *, body: bytes) -> Answer:
        """Return what the caller should see of an error; VariantFailedError where another variant may do better."""
        status, retry = response.status, response.headers.get("Retry-After")
        spoken = has_error_object(body)
        if status in (429, 503) and spoken:
            # Its own words: alive, but with a full queue or an unreadable token.
            shown = UnavailableError("The model is busy.", retry_after=_seconds(retry))
            raise VariantFailedError("busy", shown=shown, counts=False)
        if status in FAILED_ELSEWHERE or (status == 404 and not spoken):
            # Ray's proxy, not the model: the application is not (or no longer) on this node.
            shown = UnavailableError("The model is not loaded on its node yet.", retry_after=_seconds(retry))
            raise VariantFailedError(f"status {status}", shown=shown)
        if status >= 500 or status < 400:
            shown_error = UpstreamError(f"The model's server answered with status {status}.")
            raise VariantFailedError(f"status {status}", shown=shown_error, counts=False)
        if not spoken:
            refused = BadRequestError(f"The model refused the request with status {status}.")
            return Answer(status=status, content_type=b"application/json", body=refused.body())
        passed = retry.encode("latin-1") if retry else None
        return Answer(status=status, content_type=b"application/json", body=body, retry_after=passed)


async def _read_bounded(response: aiohttp.ClientResponse) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            raise VariantFailedError(
                "answer too large", shown=UpstreamError("The model's answer is too large."), counts=False
            )
        parts.append(chunk)
    return b"".join(parts)


def has_error_object(body: bytes) -> bool:
    """Whether an error body has OpenAI's shape already and can be passed on untouched."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return (
        isinstance(value, dict)
        and isinstance(value.get("error"), dict)
        and isinstance(value["error"].get("message"), str)
    )


def _failed(reason: str, *, cause: Exception | None = None) -> VariantFailedError:
    refused = isinstance(cause, aiohttp.ClientConnectorError | OSError)
    sentence = "The model's node does not answer." if refused else "The model's server broke the connection."
    return VariantFailedError(reason, shown=UnavailableError(sentence, retry_after=5))


def _trust_error(variant: Variant) -> GatewayError:
    return UnavailableError(f"The node '{variant.node}' and the gateway do not trust each other yet.", retry_after=5)


def _seconds(value: str | None) -> float:
    return float(value) if value is not None and value.isascii() and value.isdigit() and len(value) < 5 else 5.0


def make_session(timeouts: Timeouts) -> aiohttp.ClientSession:
    """Build the session for models and knowledge: no cookies, no proxies, no limits but ours, bytes as they come."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_SECONDS, ttl_dns_cache=DNS_SECONDS)
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        skip_auto_headers=("User-Agent", "Accept-Encoding"),
        headers={"Accept-Encoding": "identity"},
    )


def host_of(url: str) -> str:
    """Return the host for log lines: never a path or a query."""
    return urlsplit(url).hostname or ""
