"""The house's mirror: one place in the cluster that brings weights from outside, for all machines that want them.

The operator writes its orders; machines ask it instead of the world.
"""

import hashlib
import hmac

from pydantic import Field

from hearth_api.base import LenientModel, StrictModel
from hearth_api.wire.weights import WantedWeights, WeightsCode, WeightsState

MIRROR_PORT = 8443
"""Where the mirror's pod listens."""
ORDERS_ENTRY = "orders.json"
"""Entry of the Secret `hearth-mirror`, beside `tls.crt` and `tls.key`."""
_READER = b"hearth mirror reader"


class MirrorOrders(StrictModel):
    """What the mirror is to bring, and who may read it."""

    wanted: tuple[WantedWeights, ...] = ()
    readers: tuple[str, ...] = ()
    """SHA-256 (hex) of each machine's reader token."""


class MirrorFile(LenientModel):
    """One file of a source."""

    name: str
    size: int | None = Field(default=None, ge=0)
    """Bytes; None: its server does not say."""
    sha256: str | None = None
    git_sha1: str | None = None


class MirrorSource(LenientModel):
    """Answer of `GET /v1/source?source=...&sha256=...`: what it consists of, as soon as that is known."""

    state: WeightsState
    resolved: str | None = None
    files: tuple[MirrorFile, ...] = ()
    code: WeightsCode | None = None
    message: str | None = None


def reader_token(serve_token: str | bytes) -> str:
    """Return what a machine shows to the mirror. It follows from its Serve token, which itself stays where it is."""
    key = serve_token.encode() if isinstance(serve_token, str) else serve_token
    return hmac.digest(key, _READER, "sha256").hex()


def reader_mark(token: str) -> str:
    """Return what the mirror knows of a reader's token."""
    return hashlib.sha256(token.encode()).hexdigest()
