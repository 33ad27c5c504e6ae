"""Who calls and what they may do: API keys, or ServiceAccounts of Hearth's own parts."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from hearth_api.wire.keys import KEY_PREFIX, ApiKeyRecord, Priority, Scope, key_matches, public_id
from hearth_common.errors import KubeUnreachableError, TokenRefusedError
from hearth_common.review import Identity
from hearth_gateway.errors import (
    BadRequestError,
    ForbiddenError,
    RateLimitError,
    UnauthenticatedError,
    UnavailableError,
)

MAX_CREDENTIAL_CHARS = 16384
RANK = {priority: rank for rank, priority in enumerate(Priority)}
INTERNAL_SCOPES: Mapping[str, frozenset[Scope]] = {
    "hearth-knowledge": frozenset({Scope.EMBED}),
    "hearth-operator": frozenset({Scope.EMBED, Scope.CHAT}),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller. `id` is a key's public id or an account's name and may be logged."""

    id: str
    internal: bool
    scopes: frozenset[Scope]
    knowledge_bases: frozenset[str] | None
    max_priority: Priority
    requests_per_minute: int | None

    def require(self, scope: Scope) -> None:
        """Raise ForbiddenError without the scope. `admin` includes every scope."""
        if scope not in self.scopes and Scope.ADMIN not in self.scopes:
            raise ForbiddenError(f"This key lacks the scope '{scope}'.")

    def may_read(self, knowledge_base: str) -> bool:
        """Whether the knowledge base is open to the caller."""
        allowed = self.knowledge_bases is None or knowledge_base in self.knowledge_bases
        return allowed and bool(self.scopes & {Scope.SEARCH, Scope.ADMIN})

    def require_knowledge_base(self, knowledge_base: str) -> None:
        """Raise ForbiddenError; asked before existence, so that names cannot be probed."""
        self.require(Scope.SEARCH)
        if not self.may_read(knowledge_base):
            raise ForbiddenError(f"This key may not read the knowledge base '{knowledge_base[:200]}'.")

    def priority(self, asked: str | None) -> Priority:
        """Return the class of admission: what was asked for, capped; BadRequestError for an unknown word."""
        if asked is None:
            return Priority.INDEXING if self.internal else self._capped(Priority.NORMAL)
        try:
            return self._capped(Priority(asked.strip().lower()))
        except ValueError as error:
            words = ", ".join(Priority)
            raise BadRequestError(
                f"The header x-hearth-priority must be one of {words}.", param="x-hearth-priority"
            ) from error

    def _capped(self, asked: Priority) -> Priority:
        return asked if RANK[asked] >= RANK[self.max_priority] else self.max_priority


class Reviewer(Protocol):
    """TokenReviewer, or a fake."""

    async def review(self, token: str) -> Identity:
        """Return the identity or raise TokenRefusedError, KubeUnreachableError."""
        ...


def read_bearer(header: bytes | None) -> str:
    """Return the credential. This is the only place that reads one, and only from Authorization."""
    if header is None or len(header) > MAX_CREDENTIAL_CHARS:
        raise UnauthenticatedError
    scheme, _, credential = header.partition(b" ")
    if scheme.lower() != b"bearer" or not credential.strip().isascii() or not credential.strip():
        raise UnauthenticatedError
    return credential.strip().decode("ascii")


class Authenticator:
    """Checks credentials in memory: no database, no file, no call for API keys."""

    def __init__(
        self,
        keys: Callable[[], Mapping[str, ApiKeyRecord]],
        *,
        reviewer: Reviewer | None,
        namespace: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._keys = keys
        self._reviewer = reviewer
        self._namespace = namespace
        self._now = now

    async def authenticate(self, header: bytes | None) -> Caller:
        """Return the caller.

        Raises
        ------
        UnauthenticatedError
            Missing, unknown, expired or revoked.
        ForbiddenError
            A valid account that has no business here.
        UnavailableError
            The API server could not be asked about an account.

        """
        credential = read_bearer(header)
        if credential.startswith(KEY_PREFIX):
            return self._check_key(credential)
        return await self._check_account(credential)

    def _check_key(self, key: str) -> Caller:
        record = self._keys().get(public_id(key) or "")
        if record is None or not key_matches(key, record) or self._expired(record):
            raise UnauthenticatedError
        return Caller(
            id=record.id,
            internal=False,
            scopes=frozenset(record.scopes),
            knowledge_bases=None if record.knowledge_bases is None else frozenset(record.knowledge_bases),
            max_priority=record.limits.max_priority,
            requests_per_minute=record.limits.requests_per_minute,
        )

    def _expired(self, record: ApiKeyRecord) -> bool:
        if record.expires is None:
            return False
        expires = record.expires if record.expires.tzinfo else record.expires.replace(tzinfo=UTC)
        return expires <= self._now()

    async def _check_account(self, token: str) -> Caller:
        # Text that cannot be a ServiceAccount's token is refused here: strangers must not make us call the API server.
        if self._reviewer is None or token.count(".") != 2:
            raise UnauthenticatedError
        try:
            identity = await self._reviewer.review(token)
        except TokenRefusedError as error:
            raise UnauthenticatedError from error
        except KubeUnreachableError as error:
            raise UnavailableError("The caller's account cannot be checked at the moment.", retry_after=2) from error
        scopes = INTERNAL_SCOPES.get(identity.account)
        if identity.namespace != self._namespace or scopes is None:
            raise ForbiddenError("This account may not use the gateway.")
        return Caller(
            id=identity.account,
            internal=True,
            scopes=scopes,
            knowledge_bases=frozenset(),
            max_priority=Priority.INTERACTIVE,
            requests_per_minute=None,
        )


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class RateLimiter:
    """A token bucket per key: `requests_per_minute` at once, refilled evenly."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._buckets: dict[str, _Bucket] = {}

    def take(self, caller: Caller) -> None:
        """Count one request. RateLimitError with the time until the next is allowed."""
        limit = caller.requests_per_minute
        if limit is None:
            return
        now = self._monotonic()
        bucket = self._buckets.setdefault(caller.id, _Bucket(tokens=float(limit), at=now))
        bucket.tokens = min(float(limit), bucket.tokens + (now - bucket.at) * limit / 60)
        bucket.at = now
        if bucket.tokens < 1:
            wait = (1 - bucket.tokens) * 60 / limit
            raise RateLimitError(f"This key may make {limit} requests a minute.", retry_after=wait)
        bucket.tokens -= 1

    def keep_only(self, ids: Mapping[str, object]) -> None:
        """Forget keys that no longer exist."""
        self._buckets = {key: bucket for key, bucket in self._buckets.items() if key in ids}
