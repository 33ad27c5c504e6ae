"""The house's mirror in the place of the world: it says what a source consists of, and hands its files over."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlencode

import aiohttp
from pydantic import ValidationError

from hearth_api.wire.mirror import MirrorSource, reader_token
from hearth_api.wire.weights import MirrorAccess, WantedWeights, WeightsCode, WeightsState
from hearth_serve.weights.errors import CutError, WeightsError
from hearth_serve.weights.remote import Listing, RemoteFile, is_safe_name

_SECONDS = aiohttp.ClientTimeout(total=30)
_AGAIN = 3.0
_PATIENCE = 180.0
"""Seconds: the mirror's pod sees new orders a minute or two after the operator wrote them."""
_MOST_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorClient:
    """Asks the mirror. `token` returns the machine's Serve token."""

    url: str
    session: aiohttp.ClientSession
    token: Callable[[], bytes]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def list_source(self, wanted: WantedWeights) -> Listing:
        """Return the files of a source when the mirror knows them. Raises WeightsError: its own, or CutError."""
        waited = 0.0
        while True:
            told, why = await self._ask(wanted)
            if told is not None and told.state is WeightsState.FAILED:
                raise WeightsError(
                    told.code or WeightsCode.DOWNLOAD_CUT,
                    f"The house's mirror: {told.message or 'it does not come.'}",
                    passing=True,
                )
            if told is not None and told.files:
                return self._listing(wanted, told)
            if waited >= _PATIENCE:
                raise CutError(f"The house's mirror {self.url} {why}: it is asked again.")
            waited += _AGAIN
            await self.sleep(_AGAIN)

    async def _ask(self, wanted: WantedWeights) -> tuple[MirrorSource | None, str]:
        """Return what the mirror says; None and the reason where waiting helps."""
        try:
            async with self.session.get(
                f"{self.url}/v1/source?{_query(wanted)}", headers=self._headers(), timeout=_SECONDS
            ) as answer:
                if answer.status == 401:
                    return None, "does not know this machine's token yet"
                if answer.status == 404:
                    return None, f"was not told to bring {wanted.source} yet"
                if answer.status != 200:
                    raise CutError(f"The house's mirror {self.url} answered {answer.status}.")
                body = await answer.content.read(_MOST_BYTES)
                while len(body) < _MOST_BYTES and (more := await answer.content.read(_MOST_BYTES)):
                    body += more
        except aiohttp.ClientConnectorCertificateError as error:
            raise CutError(
                f"The house's mirror {self.url} shows a certificate that this machine does not trust "
                f"({error.certificate_error}): compare the clocks, and mirror.address with the chart's values."
            ) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise CutError(
                f"The house's mirror {self.url} does not answer ({str(error)[:160] or type(error).__name__}): is "
                "mirror.address of the chart's values an address of the cluster that this machine reaches?"
            ) from error
        try:
            return MirrorSource.model_validate_json(body), "has not listed it yet"
        except ValidationError as error:
            raise CutError(f"What answers at {self.url} is no mirror of Hearth's.") from error

    def _listing(self, wanted: WantedWeights, told: MirrorSource) -> Listing:
        if not all(is_safe_name(file.name) for file in told.files):
            raise WeightsError(WeightsCode.SOURCE_INVALID, f"{wanted.source}: a file's name leaves its folder.")
        query, headers = _query(wanted), self._headers()
        files = [
            RemoteFile(
                name=file.name,
                url=f"{self.url}/v1/file?{query}&{urlencode({'name': file.name})}",
                size=file.size,
                sha256=file.sha256,
                git_sha1=file.git_sha1,
                headers=headers,
            )
            for file in told.files
        ]
        return Listing(files=tuple(files), resolved=told.resolved)

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {reader_token(self.token())}"}


def open_mirror_session(access: MirrorAccess) -> aiohttp.ClientSession:
    """Return a session that trusts the cluster's authority and nobody else. Raises ValueError for what is no PEM."""
    try:
        context = ssl.create_default_context(cadata=access.authority)
    except ssl.SSLError as error:
        raise ValueError("mirror.authority is not a certificate in PEM") from error
    connector = aiohttp.TCPConnector(ssl=context)
    return aiohttp.ClientSession(connector=connector, trust_env=False, auto_decompress=False)


def _query(wanted: WantedWeights) -> str:
    asked = {"source": wanted.source}
    if wanted.sha256 is not None:
        asked["sha256"] = wanted.sha256
    return urlencode(asked)
