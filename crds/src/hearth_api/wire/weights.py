"""Weights on their way to a machine: what is wanted there, and what the machine says of it."""

from enum import StrEnum

from pydantic import Field

from hearth_api.base import LenientModel, StrictModel


class WeightsState(StrEnum):
    """How far a source is."""

    WAITING = "Waiting"
    DOWNLOADING = "Downloading"
    READY = "Ready"
    FAILED = "Failed"


class WeightsCode(StrEnum):
    """Why a source is not there."""

    SOURCE_INVALID = "SourceInvalid"
    SOURCE_NOT_FOUND = "SourceNotFound"
    GATED = "Gated"
    DIGEST_MISMATCH = "DigestMismatch"
    NOT_A_MODEL = "NotAModel"
    TOO_LARGE = "TooLarge"
    DISK_FULL = "DiskFull"
    DOWNLOAD_CUT = "DownloadCut"
    OFFLINE = "Offline"


class WantedWeights(StrictModel):
    """One source that a variant on the machine uses or is about to use."""

    source: str
    """With its revision in it: hf://<owner>/<repository>@<revision>/<file>."""
    sha256: str | None = None


class SourceStatus(LenientModel):
    """One wanted source."""

    source: str
    sha256: str | None = None
    """As it was asked for."""
    resolved: str | None = None
    """The commit that a moving name (a branch, a tag) meant when it was first downloaded."""
    state: WeightsState
    done: int = Field(default=0, ge=0)
    """Bytes on disk."""
    total: int | None = None
    """Bytes in all, as soon as the server has said so."""
    rate: float = 0
    """Bytes per second, over the last seconds."""
    code: WeightsCode | None = None
    message: str | None = None
    """What is wrong, in a sentence."""


class StoreStatus(LenientModel):
    """The folder that holds them."""

    path: str
    used: int
    free: int
    quota: int | None = None


class MirrorAccess(StrictModel):
    """Where the house's mirror is, and who signed its certificate (PEM)."""

    url: str
    authority: str


class WeightsArgs(StrictModel):
    """What a machine's own application is started with: it brings weights there."""

    node: str
    """Value of the Ray node label `hearth-node` that it is pinned to."""
    token_path: str = "/var/run/secrets/hearth/serve/token"
    """File on the machine that holds the bearer token of the Serve port."""
    mirror: MirrorAccess | None = None
    """Ask there, and nobody outside."""


class WeightsOrders(StrictModel):
    """What is wanted on the machine. Applied in place through `user_config`: nothing that runs is started anew."""

    wanted: tuple[WantedWeights, ...] = ()
    owner: str | None = None
    """Which operator wrote the application: the machine does nothing with it."""


class WeightsReport(LenientModel):
    """Answer of `GET <prefix>/status` of that application."""

    node: str
    sources: tuple[SourceStatus, ...] = ()
    store: StoreStatus | None = None
