"""Who calls: projected ServiceAccount tokens of other parts, proven by the API server's TokenReview."""

import asyncio
import base64
import binascii
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from hearth_common.errors import KubeStatusError, KubeUnreachableError, TokenRefusedError

TOKEN_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
POSITIVE_SECONDS = 60.0
NEGATIVE_SECONDS = 5.0
MAX_ENTRIES = 1024
MAX_TOKEN_CHARS = 16384
ACCOUNT_PREFIX = "system:serviceaccount:"


class TokenReviews(Protocol):
    """The one call this needs of the API server; `KubeApi` has it."""

    async def create(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        """POST an object."""
        ...


@dataclass(frozen=True, slots=True)
class Identity:
    """A ServiceAccount that the API server vouched for."""

    username: str
    namespace: str
    account: str


@dataclass(frozen=True, slots=True)
class _Entry:
    until: float
    outcome: Identity | TokenRefusedError


class TokenReviewer:
    """Asks once per token and minute; equal questions at the same time are one call.

    Tokens are kept only as SHA-256. A token revoked at the API server is believed for at most `POSITIVE_SECONDS`.
    """

    def __init__(
        self,
        api: TokenReviews,
        *,
        audience: str,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._api = api
        self._audience = audience
        self._monotonic = monotonic
        self._now = now
        self._entries: dict[bytes, _Entry] = {}
        self._pending: dict[bytes, asyncio.Task[Identity]] = {}

    async def review(self, token: str) -> Identity:
        """Return the token's identity.

        Raises
        ------
        TokenRefusedError
            Not a ServiceAccount's token for this audience.
        KubeUnreachableError
            The API server could not be asked; nothing is known about the token.

        """
        if not token or len(token) > MAX_TOKEN_CHARS or not token.isascii():
            raise TokenRefusedError(audience=self._audience, reason="not a token")
        key = hashlib.sha256(token.encode()).digest()
        entry = self._entries.get(key)
        if entry is not None and entry.until > self._monotonic():
            if isinstance(entry.outcome, TokenRefusedError):
                raise TokenRefusedError(audience=self._audience, reason=entry.outcome.reason)
            return entry.outcome
        task = self._pending.get(key)
        if task is None:
            task = asyncio.create_task(self._ask(token, key=key))
            self._pending[key] = task
            task.add_done_callback(lambda done: self._forget_pending(key, done))
        # Shielded: one impatient caller must not cancel the answer for the others.
        return await asyncio.shield(task)

    def _forget_pending(self, key: bytes, task: asyncio.Task[Identity]) -> None:
        self._pending.pop(key, None)
        if not task.cancelled():
            task.exception()  # marks it as seen where every caller has gone away

    async def _ask(self, token: str, *, key: bytes) -> Identity:
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [self._audience]},
        }
        try:
            answer = await self._api.create(TOKEN_REVIEWS, body)
        except KubeStatusError as error:
            # Our own account may not create reviews, or the server is overloaded: says nothing about the token.
            raise KubeUnreachableError(path=TOKEN_REVIEWS, reason=f"status {error.status}") from error
        try:
            identity = parse_review(answer, audience=self._audience)
        except TokenRefusedError as error:
            self._remember(key, outcome=error, seconds=NEGATIVE_SECONDS)
            raise
        self._remember(key, outcome=identity, seconds=min(POSITIVE_SECONDS, seconds_left(token, now=self._now())))
        return identity

    def _remember(self, key: bytes, *, outcome: Identity | TokenRefusedError, seconds: float) -> None:
        if len(self._entries) >= MAX_ENTRIES:
            current = self._monotonic()
            self._entries = {name: entry for name, entry in self._entries.items() if entry.until > current}
            while len(self._entries) >= MAX_ENTRIES:
                self._entries.pop(next(iter(self._entries)))
        self._entries[key] = _Entry(until=self._monotonic() + seconds, outcome=outcome)


def parse_review(answer: Mapping[str, Any], *, audience: str) -> Identity:
    """Read a TokenReview's status. The audience must be confirmed: a server that ignores audiences is not believed."""
    status = answer.get("status") or {}
    if not status.get("authenticated"):
        raise TokenRefusedError(audience=audience, reason="not authenticated")
    if audience not in (status.get("audiences") or ()):
        raise TokenRefusedError(audience=audience, reason="the audience was not confirmed")
    username = str((status.get("user") or {}).get("username", ""))
    namespace, separator, account = username.removeprefix(ACCOUNT_PREFIX).partition(":")
    if not username.startswith(ACCOUNT_PREFIX) or not separator or not namespace or not account or ":" in account:
        raise TokenRefusedError(audience=audience, reason="not a ServiceAccount")
    return Identity(username=username, namespace=namespace, account=account)


def seconds_left(token: str, *, now: float) -> float:
    """Return how long a JSON web token is still valid by its `exp`; POSITIVE_SECONDS where it has none."""
    try:
        payload = token.split(".")[1]
        expires = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"]
        return max(0.0, float(expires) - now)
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return POSITIVE_SECONDS
