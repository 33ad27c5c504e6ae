"""A serving application, end to end: `/info` and `/probe`; and `/status` of a machine's downloads."""

import ssl
from dataclasses import dataclass
from typing import Protocol, TypeVar

import aiohttp
from pydantic import BaseModel, ValidationError

from hearth_api.wire.serve import ProbeResult, ServeInfo
from hearth_api.wire.weights import WeightsReport
from hearth_operator.clients.http import HttpStatusError, call_json, trust
from hearth_operator.errors import UnreachableError

_INFO_SECONDS = 5
_PROBE_SECONDS = 30
Answer = TypeVar("Answer", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a node's Serve port: bearer token, and the CA that signed its certificate (PEM)."""

    token: str
    ca: str | None


class ModelApi(Protocol):
    """One variant. Every call raises UnreachableError when it does not answer as it should."""

    async def info(self, url: str, access: Access) -> ServeInfo:
        """Return what the replica says of itself."""

    async def probe(self, url: str, access: Access) -> ProbeResult:
        """Compute one token or one vector."""

    async def weights(self, url: str, access: Access) -> WeightsReport:
        """Return how far a machine's downloads are; `url` is of that application."""


class ModelClient:
    """ModelApi over HTTPS."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def info(self, url: str, access: Access) -> ServeInfo:
        """Return what the replica says of itself."""
        return _read(ServeInfo, await self._call("GET", f"{url}/info", access, timeout=_INFO_SECONDS))

    async def probe(self, url: str, access: Access) -> ProbeResult:
        """Compute one token or one vector."""
        return _read(ProbeResult, await self._call("POST", f"{url}/probe", access, timeout=_PROBE_SECONDS))

    async def weights(self, url: str, access: Access) -> WeightsReport:
        """Return how far a machine's downloads are."""
        return _read(WeightsReport, await self._call("GET", f"{url}/status", access, timeout=_INFO_SECONDS))

    async def _call(self, method: str, url: str, access: Access, *, timeout: float) -> object:
        try:
            return await call_json(
                self._session, method, url, token=access.token, timeout=timeout, verify=self._verify(access)
            )
        except HttpStatusError as error:
            raise UnreachableError("ProbeFailed", error.message) from error

    def _verify(self, access: Access) -> ssl.SSLContext | None:
        return trust(access.ca) if access.ca is not None else None


def _read(model: type[Answer], answer: object) -> Answer:
    try:
        return model.model_validate(answer)
    except ValidationError as error:
        raise UnreachableError("ProbeFailed", f"not an answer of this release: {error.errors()[0]['msg']}") from error
