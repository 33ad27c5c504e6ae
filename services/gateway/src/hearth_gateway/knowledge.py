"""Calls to the knowledge service, as the gateway's own account."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Protocol
from urllib.parse import quote, urlencode

import aiohttp
from pydantic import ValidationError

from hearth_api.wire.knowledge import KbStatus, SearchRequest, SearchResponse
from hearth_common.errors import TokenFileError
from hearth_common.tokens import ProjectedToken
from hearth_gateway.errors import (
    BadRequestError,
    ConflictError,
    GatewayError,
    KnowledgeUnavailableError,
    NotFoundError,
    WithheldError,
)

AWAY = "The knowledge service does not answer at the moment."
UNREADABLE = "The knowledge service gave an answer that cannot be read."
MAX_ERROR_BYTES = 16 << 10
BACKUP = aiohttp.ClientTimeout(total=3600)
"""A backup is copied and sealed as a whole."""


class Knowledge(Protocol):
    """What the gateway asks of the knowledge service."""

    async def search(self, knowledge_base: str, *, request: SearchRequest) -> SearchResponse:
        """Search one knowledge base."""
        ...

    async def status(self, knowledge_base: str) -> KbStatus:
        """Return counts, queue and consistency as they are now."""
        ...


class KnowledgeClient:
    """Knowledge over HTTP. Raises GatewayErrors that can be shown as they are."""

    def __init__(
        self, session: aiohttp.ClientSession, *, url: str, token: ProjectedToken | None, seconds: float
    ) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._token = token
        connect = min(5.0, seconds)
        self._timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=connect)
        # An original may be large and its reader slow: only silence ends it.
        self._reading = aiohttp.ClientTimeout(total=None, sock_connect=connect, sock_read=seconds)

    async def search(self, knowledge_base: str, *, request: SearchRequest) -> SearchResponse:
        """POST a search."""
        path = f"/v1/kbs/{quote(knowledge_base, safe='')}/search"
        body = request.model_dump_json(exclude_none=True).encode()
        async with self._call("POST", path, body=body, missing=_not_set_up(knowledge_base)) as answer:
            raw = await answer.read()
        try:
            return SearchResponse.model_validate_json(raw)
        except ValidationError as error:
            raise KnowledgeUnavailableError(UNREADABLE) from error

    async def status(self, knowledge_base: str) -> KbStatus:
        """GET a knowledge base's status."""
        path = f"/v1/kbs/{quote(knowledge_base, safe='')}/status"
        async with self._call("GET", path, body=None, missing=_not_set_up(knowledge_base)) as answer:
            raw = await answer.read()
        try:
            return KbStatus.model_validate_json(raw)
        except ValidationError as error:
            raise KnowledgeUnavailableError(UNREADABLE) from error

    @asynccontextmanager
    async def read(
        self, knowledge_base: str, *, document: str, part: str = "", query: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """GET a document, or its `/original` or `/history`, as a response whose body is still to be read."""
        path = f"/v1/kbs/{quote(knowledge_base, safe='')}/documents/{quote(document, safe='')}{part}"
        if query:
            path = f"{path}?{urlencode(query)}"
        missing = NotFoundError(f"The document '{document[:100]}' does not exist in '{knowledge_base[:100]}'.")
        async with self._call("GET", path, body=None, missing=missing) as answer:
            yield answer

    async def list_part(self, knowledge_base: str, *, part: str, query: Mapping[str, str]) -> bytes:
        """GET a list of a knowledge base (`quarantine`, `audit`) as JSON."""
        path = f"/v1/kbs/{quote(knowledge_base, safe='')}/{part}?{urlencode(query)}"
        async with self._call("GET", path, body=None, missing=_not_set_up(knowledge_base)) as answer:
            return await answer.read()

    async def act(self, knowledge_base: str, *, document: str, act: str, body: bytes) -> bytes:
        """POST `release` or `reveal` of a document and return the answer's JSON."""
        path = f"/v1/kbs/{quote(knowledge_base, safe='')}/documents/{quote(document, safe='')}/{act}"
        missing = NotFoundError(f"The document '{document[:100]}' does not exist in '{knowledge_base[:100]}'.")
        async with self._call("POST", path, body=body, missing=missing) as answer:
            return await answer.read()

    async def list_backups(self) -> bytes:
        """GET the finished backups as JSON."""
        async with self._call(
            "GET", "/v1/backups", body=None, missing=NotFoundError("There are no backups.")
        ) as answer:
            return await answer.read()

    async def make_backup(self) -> bytes:
        """POST for a backup; answers when it is on disk. ConflictError."""
        missing = NotFoundError("There are no backups.")
        async with self._call("POST", "/v1/backups", body=b"{}", missing=missing, timeout=BACKUP) as answer:
            return await answer.read()

    @asynccontextmanager
    async def _call(
        self,
        verb: str,
        path: str,
        *,
        body: bytes | None,
        missing: GatewayError,
        timeout: aiohttp.ClientTimeout | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            headers = {} if self._token is None else self._token.header()
            if body is not None:
                headers["Content-Type"] = "application/json"
            async with self._session.request(
                verb,
                self._url + path,
                data=body,
                headers=headers,
                timeout=timeout or (self._reading if body is None else self._timeout),
                allow_redirects=False,
            ) as answer:
                if answer.status >= 300:
                    raise await _shown(answer, missing=missing)
                yield answer
        except (aiohttp.ClientError, TimeoutError, OSError, TokenFileError) as error:
            raise KnowledgeUnavailableError(AWAY, retry_after=5) from error


def _not_set_up(name: str) -> GatewayError:
    # The catalog has it, the service has not: the operator did not get to it yet.
    return KnowledgeUnavailableError(f"The knowledge base '{name}' is not set up yet.", retry_after=5)


async def _shown(answer: aiohttp.ClientResponse, *, missing: GatewayError) -> GatewayError:
    if answer.status == 404:
        return missing
    body = await answer.content.read(MAX_ERROR_BYTES)
    words = _message(body)
    if answer.status == 403 and b'"withheld"' in body:
        return WithheldError(words)
    if answer.status == 409:
        return ConflictError(words or "The knowledge service cannot do this now.")
    if answer.status in (400, 413, 422):
        return BadRequestError(words or "The knowledge service refused the request.")
    retry = answer.headers.get("Retry-After", "")
    wait = float(retry) if retry.isascii() and retry.isdigit() and len(retry) < 5 else 5.0
    if answer.status in (429, 503):
        return KnowledgeUnavailableError(words or AWAY, retry_after=wait)
    return KnowledgeUnavailableError(f"The knowledge service answered with status {answer.status}.", retry_after=wait)


def _message(body: bytes) -> str:
    """Return the words of an error body: ours (`error.message`) or FastAPI's (`detail`), at most 300 characters."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(value, dict):
        return ""
    error = value.get("error")
    words = error.get("message") if isinstance(error, dict) else value.get("detail")
    return words[:300] if isinstance(words, str) else ""
