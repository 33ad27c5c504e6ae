"""What a parser must know besides the bytes, and the hash that names the parser's version and settings."""

import hashlib
import json
from dataclasses import dataclass, field
from importlib.metadata import version

from hearth_api.wire.documents import ZERO_KEY, Trust
from hearth_api.wire.ingest import RunLimits

PARSER_VERSION = 4
"""Raise it when the same bytes give other documents: everything is then parsed again."""

_LIBRARIES = (
    "charset-normalizer",
    "icalendar",
    "lxml",
    "markdown-it-py",
    "phonenumbers",
    "pypdfium2",
    "recurring-ical-events",
    "selectolax",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParseContext:
    """Settings of one run as the parsers see them. `key` (32 bytes) makes the ids of one knowledge base."""

    source: str
    key: bytes = field(default=ZERO_KEY, repr=False)
    trust: Trust = Trust.EXTERNAL
    limits: RunLimits = field(default_factory=RunLimits)
    at_source: bool = False
    pipeline: str = ""


def compute_pipeline(kind: str, *, trust: Trust, limits: RunLimits, at_source: bool) -> str:
    """Return "sha256:<hex>" over the parser's version, its libraries' versions and every setting that shapes output."""
    settings = {
        "parser": PARSER_VERSION,
        "libraries": {name: version(name) for name in _LIBRARIES},
        "kind": kind,
        "trust": trust.value,
        "limits": limits.to_json_object(),
        "atSource": at_source,
    }
    return "sha256:" + hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def build_context(
    source: str,
    *,
    kind: str,
    key: bytes = ZERO_KEY,
    trust: Trust = Trust.EXTERNAL,
    limits: RunLimits | None = None,
    at_source: bool = False,
) -> ParseContext:
    """Return the context of a run with its pipeline hash filled in."""
    bounds = limits or RunLimits()
    pipeline = compute_pipeline(kind, trust=trust, limits=bounds, at_source=at_source)
    return ParseContext(source=source, key=key, trust=trust, limits=bounds, at_source=at_source, pipeline=pipeline)
