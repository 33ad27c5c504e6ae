"""The knowledge service, called as ourselves with a projected token."""

from collections.abc import Callable
from typing import Protocol
from urllib.parse import quote

import aiohttp
from pydantic import ValidationError

from hearth_api.wire.knowledge import ErasedSource, KbConfig, KbStatus
from hearth_operator.clients.http import HttpStatusError, call_json
from hearth_operator.errors import InvalidSpecError, UnreachableError

_SECONDS = 15
_DELETE_SECONDS = 120


class KnowledgeApi(Protocol):
    """Raises UnreachableError when nothing is known, InvalidSpecError when the service refuses."""

    async def configure(self, kb: str, config: KbConfig) -> None:
        """Create or change a knowledge base; the same again changes nothing."""

    async def status(self, kb: str) -> KbStatus | None:
        """Return what is stored, or None when the service does not know the knowledge base."""

    async def delete(self, kb: str) -> None:
        """Delete everything of a knowledge base; one that is not there is fine."""

    async def erase_source(self, kb: str, source: str) -> int:
        """Erase documents of a source for some seconds; return how many are left: none of an unknown base."""


class KnowledgeClient:
    """KnowledgeApi over HTTP. The token file is read for every call: the kubelet renews it."""

    def __init__(self, session: aiohttp.ClientSession, *, url: str, token: Callable[[], str]) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._token = token

    async def configure(self, kb: str, config: KbConfig) -> None:
        """Create or change a knowledge base; the same again changes nothing."""
        await self._call("PUT", kb, "", body=config.to_json_object())

    async def status(self, kb: str) -> KbStatus | None:
        """Return what is stored, or None when the service does not know the knowledge base."""
        answer = await self._call("GET", kb, "/status", missing_ok=True)
        if answer is None:
            return None
        try:
            return KbStatus.model_validate(answer)
        except ValidationError as error:
            raise UnreachableError("KnowledgeUnreachable", f"status of {kb}: {error.errors()[0]['msg']}") from error

    async def delete(self, kb: str) -> None:
        """Delete everything of a knowledge base; one that is not there is fine."""
        await self._call("DELETE", kb, "", missing_ok=True, timeout=_DELETE_SECONDS)

    async def erase_source(self, kb: str, source: str) -> int:
        """Erase documents of a source for some seconds; return how many are left: none of an unknown base."""
        path = f"/sources/{quote(source)}"
        answer = await self._call("DELETE", kb, path, missing_ok=True, timeout=_DELETE_SECONDS)
        if answer is None:
            return 0
        try:
            return ErasedSource.model_validate(answer).left
        except ValidationError as error:
            raise UnreachableError("KnowledgeUnreachable", f"erasing {source}: {error.errors()[0]['msg']}") from error

    async def _call(
        self,
        method: str,
        kb: str,
        path: str,
        *,
        body: object | None = None,
        missing_ok: bool = False,
        timeout: float = _SECONDS,
    ) -> object:
        url = f"{self._url}/v1/kbs/{quote(kb)}{path}"
        try:
            return await call_json(self._session, method, url, token=self._read_token(), body=body, timeout=timeout)
        except HttpStatusError as error:
            if error.status == 404 and missing_ok:
                return None
            if error.status in {400, 409, 422}:
                raise InvalidSpecError("RefusedByKnowledge", error.message) from error
            raise UnreachableError("KnowledgeUnreachable", error.message) from error

    def _read_token(self) -> str:
        try:
            return self._token()
        except OSError as error:
            raise UnreachableError("TokenMissing", f"the projected token cannot be read: {error.strerror}") from error
