"""API keys: what is stored of them, and how one is made and checked."""

import base64
import hashlib
import hmac
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum

from pydantic import Field

from hearth_api.base import LenientModel

KEY_PREFIX = "hearth_"


class Scope(StrEnum):
    """What a key may do."""

    CHAT = "chat"
    EMBED = "embed"
    SEARCH = "search"
    REVEAL = "reveal"
    """See unfiltered texts and release what is quarantined. Every use is audited."""
    ADMIN = "admin"


class Priority(StrEnum):
    """Classes of admission, most urgent first."""

    INTERACTIVE = "interactive"
    NORMAL = "normal"
    BATCH = "batch"
    INDEXING = "indexing"


class KeyLimits(LenientModel):
    """Limits of one key. None: no limit."""

    requests_per_minute: int | None = Field(default=None, ge=1)
    max_priority: Priority = Priority.INTERACTIVE


class ApiKeyRecord(LenientModel):
    """One entry of the Secret `hearth-api-keys`: entry name = public id, value = this as JSON."""

    id: str
    sha256: str
    name: str = ""
    scopes: tuple[Scope, ...] = ()
    knowledge_bases: tuple[str, ...] | None = None
    """Knowledge bases the key may ask; None means all."""
    limits: KeyLimits = KeyLimits()
    expires: datetime | None = None


def hash_key(key: str) -> str:
    """Return the SHA-256 hex digest of a whole key. Keys have 256 random bits, so no slow hash is needed."""
    return hashlib.sha256(key.encode()).hexdigest()


def make_key(random_bytes: Callable[[int], bytes]) -> tuple[str, str]:
    """Return (public id, whole key). `random_bytes` is `secrets.token_bytes`."""
    public = base64.b32encode(random_bytes(7)).decode().lower().rstrip("=")[:10]
    secret = base64.urlsafe_b64encode(random_bytes(32)).decode().rstrip("=")
    return public, f"{KEY_PREFIX}{public}_{secret}"


def public_id(key: str) -> str | None:
    """Return the public id inside a key, or None when the text is not a key's shape."""
    parts = key.split("_", 2)
    if len(parts) != 3 or parts[0] + "_" != KEY_PREFIX or not parts[1] or not parts[2]:
        return None
    return parts[1]


def key_matches(key: str, record: ApiKeyRecord) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(hash_key(key), record.sha256)
