"""What a node demands of us: its Serve token and the certificate authority it is known by."""

import hashlib
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hearth_gateway.catalog.model import SecretRef, Variant
from hearth_gateway.catalog.source import CatalogSource
from hearth_gateway.errors import UnavailableError

FRESH_SECONDS = 300.0
RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Cached:
    at: float
    entries: Mapping[str, bytes]


class NodeCredentials:
    """Reads node Secrets by name, on demand; kept 5 min, read again after a 401 or a TLS failure."""

    def __init__(self, source: CatalogSource, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._monotonic = monotonic
        self._cache: dict[str, _Cached] = {}
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def header(self, variant: Variant) -> str | None:
        """Return the Authorization value for a variant; None where it asks for none."""
        if variant.token is None:
            return None
        try:
            text = (await self._entry(variant.token)).decode("ascii").strip()
        except UnicodeDecodeError as error:
            raise UnavailableError(f"The Secret {variant.token.name} holds a broken token.", retry_after=5) from error
        return f"Bearer {text}"

    async def context(self, variant: Variant) -> ssl.SSLContext | None:
        """Return how to trust a variant's node; None for plain HTTP."""
        if not variant.url.startswith("https://") or variant.ca is None:
            return None
        pem = await self._entry(variant.ca)
        digest = hashlib.sha256(pem).hexdigest()
        # One context per authority: aiohttp pools connections by context, and making one reads no file but takes 1 ms.
        if digest not in self._contexts:
            try:
                self._contexts[digest] = ssl.create_default_context(cadata=pem.decode("ascii"))
            except (ssl.SSLError, ValueError) as error:
                raise UnavailableError(f"The Secret {variant.ca.name} holds no certificate.", retry_after=5) from error
        return self._contexts[digest]

    def forget(self, variant: Variant) -> bool:
        """Drop a variant's Secrets, unless they were read a moment ago. Return whether anything was dropped."""
        dropped = False
        for ref in (variant.token, variant.ca):
            cached = self._cache.get(ref.name) if ref is not None else None
            if ref is not None and cached is not None and self._monotonic() - cached.at > RETRY_SECONDS:
                del self._cache[ref.name]
                dropped = True
        return dropped

    async def _entry(self, ref: SecretRef) -> bytes:
        cached = self._cache.get(ref.name)
        if cached is None or self._monotonic() - cached.at > FRESH_SECONDS:
            cached = await self._read(ref.name, old=cached)
        value = cached.entries.get(ref.key)
        if value is None:
            raise UnavailableError(f"The Secret {ref.name} has no entry '{ref.key}'.", retry_after=5)
        return value

    async def _read(self, name: str, *, old: _Cached | None) -> _Cached:
        try:
            entries = await self._source.secret(name)
        except UnavailableError:
            if old is None:
                raise
            # The API server is away: what worked until now still does.
            entries = old.entries
        cached = _Cached(at=self._monotonic(), entries=entries)
        self._cache[name] = cached
        return cached
