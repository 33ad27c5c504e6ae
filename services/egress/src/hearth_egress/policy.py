"""Who may go where: a source reaches the one host and port that its IngestionSource names."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from pydantic import ValidationError

from hearth_api.kinds.source import Imap, IngestionSource
from hearth_common.errors import KubeStatusError, KubeUnreachableError
from hearth_common.review import Identity
from hearth_egress.errors import RefusedError
from hearth_egress.head import Target, normalise_host

AUDIENCE = "hearth-egress"
ACCOUNT_PREFIX = "hearth-ingest-"
CACHE_SECONDS = 2.0
_CACHE_ENTRIES = 512
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


class Objects(Protocol):
    """The one call this needs of the API server; `KubeApi` has it."""

    async def get(self, path: str) -> dict[str, Any]:
        """GET an object."""
        ...


def name_source(identity: Identity, *, namespace: str) -> str:
    """Return the source whose account this is. Raises RefusedError."""
    source = identity.account.removeprefix(ACCOUNT_PREFIX)
    ours = identity.namespace == namespace and identity.account.startswith(ACCOUNT_PREFIX)
    if not ours or not _NAME.fullmatch(source):
        raise RefusedError(403, verdict="not-a-source", sentence="only the accounts of sources may go out from here")
    return source


def allowed_target(body: Mapping[str, Any], *, source: str) -> Target:
    """Return the one target of an IngestionSource as the API server gives it. Raises RefusedError."""
    try:
        resource = IngestionSource.model_validate(body)
    except ValidationError as error:
        raise RefusedError(
            403, verdict="no-account", sentence=f"IngestionSource {source} is not valid: apply it again"
        ) from error
    if resource.spec.suspend:
        raise RefusedError(
            403, verdict="suspended", sentence=f"IngestionSource {source} is suspended: set suspend to false first"
        )
    account = resource.spec.account
    if account is None:
        raise RefusedError(
            403, verdict="no-account", sentence=f"IngestionSource {source} names no account: it reads files only"
        )
    if isinstance(account, Imap):
        return Target(host=normalise_host(account.host), port=account.port)
    return _target_of(account.url, source=source)


def _target_of(url: str, *, source: str) -> Target:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise RefusedError(
            403, verdict="no-account", sentence=f"the url of IngestionSource {source} has no host: correct it"
        )
    return Target(host=normalise_host(host), port=port or 443)


@dataclass(frozen=True, slots=True)
class _Held:
    until: float
    outcome: Target | RefusedError


class Policy:
    """Reads sources when they are asked for and believes what it read for two seconds."""

    def __init__(self, api: Objects, *, namespace: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._namespace = namespace
        self._monotonic = monotonic
        self._held: dict[str, _Held] = {}

    async def check(self, source: str, target: Target) -> None:
        """Return when the source may go to the target. Raises RefusedError (403, or 503 when nobody can say)."""
        outcome = await self._read(source)
        if isinstance(outcome, RefusedError):
            raise RefusedError(outcome.status, verdict=outcome.verdict, sentence=outcome.sentence)
        if outcome != target:
            raise RefusedError(
                403,
                verdict="not-allowed",
                sentence=f"IngestionSource {source} may reach {outcome} and not {target}: "
                "change its host, port or url if that is where its account lives",
            )

    async def _read(self, source: str) -> Target | RefusedError:
        held = self._held.get(source)
        if held is not None and held.until > self._monotonic():
            return held.outcome
        path = f"/apis/hearth.banjonet.com/v1alpha1/namespaces/{self._namespace}/ingestionsources/{source}"
        started = self._monotonic()
        outcome: Target | RefusedError
        try:
            outcome = allowed_target(await self._api.get(path), source=source)
        except RefusedError as error:
            outcome = error
        except KubeStatusError as error:
            if error.status != 404:
                raise _unknown() from error
            sentence = f"there is no IngestionSource {source}: its account outlived it"
            outcome = RefusedError(403, verdict="no-source", sentence=sentence)
        except KubeUnreachableError as error:
            raise _unknown() from error
        if len(self._held) >= _CACHE_ENTRIES:
            self._held.clear()
        self._held[source] = _Held(started + CACHE_SECONDS, outcome)
        return outcome


def _unknown() -> RefusedError:
    return RefusedError(
        503, verdict="cluster-silent", sentence="the API server does not say what is allowed: try again shortly"
    )
