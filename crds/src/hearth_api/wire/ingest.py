"""RunSpec and RunReport: what an ingestion pod is given and what it says at the end."""

import json
from datetime import datetime
from typing import Literal

from pydantic import Field

from hearth_api.base import StrictModel
from hearth_api.wire.documents import Trust

TERMINATION_LIMIT_BYTES = 3500
"""Kubernetes keeps the last 4,096 bytes of a termination message; a report that is longer loses its head."""


class RunLimits(StrictModel):
    """Bounds of one item; beyond them the item is refused and the run goes on."""

    item_bytes: int = Field(default=50_000_000, ge=1)
    attachment_depth: int = Field(default=5, ge=1)
    pages: int = Field(default=2000, ge=1)
    seconds_per_item: int = Field(default=60, ge=1)
    entries: int = Field(default=10_000, ge=1)
    """Most entries of one archive, all its nested archives counted."""
    expanded_bytes: int = Field(default=256_000_000, ge=1)
    """Most bytes that one item may unpack to."""
    ratio: int = Field(default=200, ge=2)
    """Most times that an entry may grow when it is unpacked."""


class ProxySpec(StrictModel):
    """The way to the internet: a CONNECT proxy that checks the pod's projected token (Proxy-Authorization: Bearer)."""

    url: str
    """As http://hearth-egress:3128."""
    token_path: str


class ImapSpec(StrictModel):
    """A mailbox account. User name, password and an optional ca.crt are files in `credentials_path`."""

    host: str
    port: int = Field(default=993, ge=1, le=65535)
    security: Literal["tls", "starttls"] = "tls"
    include: tuple[str, ...] = ()
    """Globs of mailbox names as the server shows them, with "/" between levels; empty takes all."""
    exclude: tuple[str, ...] = ()


class CalDavSpec(StrictModel):
    """A calendar account. User name, password and an optional ca.crt are files in `credentials_path`."""

    url: str
    """Of a server (found by /.well-known/caldav), a principal, a home or one calendar."""
    include: tuple[str, ...] = ()
    """Globs of calendar names; empty takes all."""
    exclude: tuple[str, ...] = ()


class CalendarSettings(StrictModel):
    """How recurring events become occurrences: those within [today - past_days, today + future_days]."""

    past_days: int = Field(default=365, ge=0, le=3660)
    future_days: int = Field(default=365, ge=0, le=3660)
    time_zone: str = "Etc/UTC"
    """IANA name: the zone of floating times and the borders of days."""


class RunSpec(StrictModel):
    """One run of one IngestionSource (the file run.json in the pod)."""

    source: str
    knowledge_base: str
    type: Literal["email", "documents", "calendar", "teams"]
    path: str | None = None
    """Absolute path inside the pod: the claim's mount joined with the source's path. None for live accounts."""
    imap: ImapSpec | None = None
    caldav: CalDavSpec | None = None
    credentials_path: str | None = None
    """Folder with the account's Secret as files: username, password, perhaps ca.crt."""
    calendar: CalendarSettings = CalendarSettings()
    proxy: ProxySpec | None = None
    """How a live account is reached; None connects directly."""
    format: Literal["auto", "mbox", "maildir", "eml"] = "auto"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    trust: Trust = Trust.EXTERNAL
    limits: RunLimits = RunLimits()
    at_source: bool = False
    knowledge_url: str
    token_path: str


class RunCounts(StrictModel):
    """Documents by what happened to them."""

    added: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0
    quarantined: int = 0
    failed: int = 0


class RunReport(StrictModel):
    """What a run did. Goes into the termination message and from there into status."""

    started: datetime
    finished: datetime
    outcome: Literal["Succeeded", "PartiallyFailed", "Failed"]
    counts: RunCounts = RunCounts()
    bytes: int = 0
    privacy: dict[str, int] = Field(default_factory=dict)
    """The privacy report: findings by type in what this run added or updated."""
    withheld: dict[str, int] = Field(default_factory=dict)
    """Segments and parts that were quarantined or stripped, by reason."""
    first_error: str | None = None
    errors: tuple[str, ...] = ()

    def to_termination_message(self) -> str:
        """Return JSON of at most `TERMINATION_LIMIT_BYTES`: counters stay, errors are dropped from the end."""
        body = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        first = body.get("firstError")
        if isinstance(first, str):
            body["firstError"] = first[:500]
        # Not as ASCII: escapes take up to three times the bytes of the characters they stand for.
        while len((text := json.dumps(body, ensure_ascii=False)).encode()) > TERMINATION_LIMIT_BYTES and body.get(
            "errors"
        ):
            body["errors"] = body["errors"][:-1]
        return text
