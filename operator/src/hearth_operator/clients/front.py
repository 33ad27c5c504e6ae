"""The front of a joined machine: what it tells of itself, whom it wakes, and its certificate: shown and taken."""

from datetime import UTC, datetime
from email.utils import format_datetime
from ipaddress import IPv4Address
from typing import Any, Protocol

import aiohttp
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from hearth_api.wire.machine import MachineFacts, WakeRequest
from hearth_operator.clients.http import call_json, trust
from hearth_operator.clients.model import Access
from hearth_operator.errors import UnreachableError

_SECONDS = 10
_MOST_BYTES = 64 * 1024


class CertificateState(BaseModel):
    """What a machine shows. `invited`: its key came in a file."""

    model_config = ConfigDict(extra="ignore", frozen=True, alias_generator=to_camel, validate_by_name=True)

    not_before: AwareDatetime
    not_after: AwareDatetime
    invited: bool = False
    clock: AwareDatetime | None = None
    """Of the machine."""


class FrontApi(Protocol):
    """A machine. Every call raises UnreachableError, or HttpStatusError where the machine refuses."""

    async def certificate(self, now: datetime) -> CertificateState:
        """Return what it shows, and tell it what time it is."""

    async def machine(self) -> MachineFacts:
        """Return what it tells of itself now."""

    async def wake(self, mac: str, broadcast: str) -> None:
        """Have it send the magic packet for another machine of its network."""

    async def request(self) -> bytes:
        """Have it make a key; return the request (PEM)."""

    async def install(self, certificate: bytes) -> CertificateState:
        """Give it the certificate (PEM) for its last request."""


class FrontClient:
    """FrontApi over HTTPS."""

    def __init__(self, session: aiohttp.ClientSession, *, url: str, access: Access) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._access = access

    async def certificate(self, now: datetime) -> CertificateState:
        """Return what it shows, and tell it what time it is."""
        date = format_datetime(now.astimezone(UTC), usegmt=True)
        return _state(await self._call("GET", "/hearth/certificate", headers={"Date": date}))

    async def machine(self) -> MachineFacts:
        """Return what it tells of itself now."""
        answer = await self._call("GET", "/hearth/machine")
        try:
            return MachineFacts.model_validate(answer)
        except ValidationError as error:
            raise UnreachableError("UnexpectedAnswer", "the answer is not that of a joined machine") from error

    async def wake(self, mac: str, broadcast: str) -> None:
        """Have it send the magic packet for another machine of its network."""
        asked = WakeRequest(mac=mac, broadcast=IPv4Address(broadcast))
        await self._call("POST", "/hearth/wake", body=asked.to_json_object())

    async def request(self) -> bytes:
        """Have it make a key; return the request (PEM)."""
        answer = await self._call("POST", "/hearth/certificate/request")
        found = answer.get("request") if isinstance(answer, dict) else None
        if not isinstance(found, str):
            raise UnreachableError("UnexpectedAnswer", f"{self._url}: the answer holds no certificate request")
        return found.encode()

    async def install(self, certificate: bytes) -> CertificateState:
        """Give it the certificate (PEM) for its last request."""
        return _state(await self._call("PUT", "/hearth/certificate", body={"certificate": certificate.decode()}))

    async def _call(
        self, method: str, path: str, *, body: object | None = None, headers: dict[str, str] | None = None
    ) -> Any:
        return await call_json(
            self._session,
            method,
            self._url + path,
            token=self._access.token,
            body=body,
            timeout=_SECONDS,
            verify=trust(self._access.ca) if self._access.ca is not None else None,
            most_bytes=_MOST_BYTES,
            headers=headers,
        )


def _state(answer: Any) -> CertificateState:
    try:
        return CertificateState.model_validate(answer)
    except ValidationError as error:
        raise UnreachableError("UnexpectedAnswer", "the answer is not that of a joined machine") from error
