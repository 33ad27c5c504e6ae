"""The knowledge service as a run needs it: six calls, with bounded patience."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

import aiohttp
import structlog
from pydantic import ValidationError

from hearth_api.wire.documents import BatchResult, ManifestLine
from hearth_api.wire.knowledge import Cursor, RunKey
from hearth_common.errors import TokenFileError
from hearth_common.tokens import ProjectedToken
from hearth_ingest.errors import KnowledgeError

_Model = TypeVar("_Model")
_log = structlog.get_logger(__name__)
_NDJSON = "application/x-ndjson"
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
DELAYS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 30.0, 30.0)
"""Seconds between attempts: about two minutes in all, enough for the service's pod to be replaced."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes


class KnowledgeClient:
    """Calls for one source of one knowledge base. Raises KnowledgeError; `status` is set when the service answered."""

    def __init__(
        self,
        url: str,
        *,
        kb: str,
        source: str,
        token: ProjectedToken,
        delays: Sequence[float] = DELAYS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._kb = f"{url.rstrip('/')}/v1/kbs/{quote(kb, safe='')}"
        self._source = f"{self._kb}/sources/{quote(source, safe='')}"
        self._token = token
        self._delays = tuple(delays)
        self._sleep = sleep
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=300, sock_connect=10)
        self._session = aiohttp.ClientSession(timeout=timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def fetch_key(self) -> bytes:
        """Return the 32 bytes that make the knowledge base's ids."""
        answer = await self._call("GET", f"{self._source}/id-key")
        key = base64.b64decode(_read(RunKey.model_validate_json, answer.body, "the id key").key)
        if len(key) != 32:
            raise KnowledgeError(f"the knowledge service gave an id key of {len(key)} bytes, not 32")
        return key

    async def fetch_manifest(self) -> list[ManifestLine]:
        """Return what is stored of the source."""
        answer = await self._call("GET", f"{self._source}/manifest")
        lines = answer.body.splitlines()
        return [_read(ManifestLine.model_validate_json, line, "the manifest") for line in lines if line.strip()]

    async def fetch_cursor(self) -> str | None:
        """Return the source's cursor, None before the first run."""
        answer = await self._call("GET", f"{self._source}/cursor", allowed=(404,))
        return None if answer.status == 404 else _read(Cursor.model_validate_json, answer.body, "the cursor").value

    async def swap_cursor(self, value: str, *, previous: str | None) -> None:
        """Move the cursor. Raises KnowledgeError where another run has moved it."""
        body = json.dumps({"value": value, "previous": previous}).encode()
        answer = await self._call("PUT", f"{self._source}/cursor", body=body, allowed=(409, 412))
        # A repeated attempt may be refused because the first one did arrive.
        if answer.status in (409, 412) and await self.fetch_cursor() != value:
            raise KnowledgeError("another run of this source is at work: its cursor was moved", status=answer.status)

    async def put_batch(self, lines: Sequence[bytes]) -> list[BatchResult]:
        """Hand over documents and tombstones, each one line of JSON; return one result for each."""
        body = b"\n".join(lines) + b"\n"
        answer = await self._call("POST", f"{self._kb}/documents:batch", body=body, media_type=_NDJSON)
        results = [
            _read(BatchResult.model_validate_json, line, "a batch result")
            for line in answer.body.splitlines()
            if line.strip()
        ]
        if len(results) != len(lines):
            raise KnowledgeError(f"the knowledge service answered {len(results)} of {len(lines)} lines")
        return results

    async def put_original(self, document: str, data: bytes, *, media_type: str, name: str) -> None:
        """Store the bytes that a document was made from."""
        headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name[:200], safe='')}"}
        url = f"{self._kb}/documents/{quote(document, safe='')}/original"
        await self._call("PUT", url, body=data, media_type=media_type, headers=headers)

    async def _call(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        media_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        allowed: tuple[int, ...] = (),
    ) -> _Answer:
        for attempt in range(len(self._delays) + 1):
            answer, problem = await self._attempt(method, url, body, {"Content-Type": media_type, **(headers or {})})
            if answer is not None and (answer.status < 300 or answer.status in allowed):
                return answer
            if answer is not None and answer.status not in _RETRIED:
                raise KnowledgeError(problem, status=answer.status)
            if attempt < len(self._delays):
                _log.warning("knowledge_retry", method=method, attempt=attempt + 1, problem=problem)
                await self._sleep(self._delays[attempt])
        raise KnowledgeError(f"gave up after {len(self._delays) + 1} attempts: {problem}")

    async def _attempt(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[_Answer | None, str]:
        if self._session is None:
            raise KnowledgeError("the client is not open")
        what = f"{method} {url.partition('/v1/')[2]}"
        try:
            sent = {**headers, **self._token.header()}
            async with self._session.request(method, url, data=body, headers=sent) as response:
                answer = _Answer(response.status, await response.read())
        except TokenFileError as error:
            raise KnowledgeError(str(error)) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return None, f"{what}: {type(error).__name__}"
        return answer, f"{what}: the knowledge service answered {answer.status}{_message(answer.body)}"


def _message(body: bytes) -> str:
    """Return ": <message>" from an OpenAI-shaped error body, "" for anything else."""
    try:
        message = json.loads(body)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return ""
    return f": {str(message)[:200]}"


def _read(parse: Callable[[bytes], _Model], body: bytes, what: str) -> _Model:
    try:
        return parse(body)
    except ValidationError as error:
        raise KnowledgeError(f"{what} is not as agreed: {error.error_count()} errors") from error
