"""Dates of mails: what the Date header says, what stands in for it, and what is wrong with it."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_tz

_YEAR = re.compile(r"\b(?:19|20)\d\d\b|\b\d{1,2}[ -][A-Za-z]{3}[ -]\d\d\b(?!:)")
_EARLIEST = 1970
_LATEST = 2100


@dataclass(frozen=True, slots=True)
class MailDate:
    """The time of a mail with its own offset, or None; `warnings` are (code, detail)."""

    value: datetime | None
    warnings: tuple[tuple[str, str], ...] = ()


def parse_date(text: str) -> tuple[datetime | None, str | None]:
    """Return (time, warning code) for one header value. No zone is read as UTC and said. Never raises."""
    if not text.strip():
        return None, "date-missing"
    if not _YEAR.search(text):
        return None, "date-without-year"
    try:
        fields = parsedate_tz(text)
    except (ValueError, IndexError, TypeError, OverflowError):
        fields = None
    if fields is None:
        return None, "date-unreadable"
    offset = fields[9]
    try:
        zone = UTC if not offset else timezone(timedelta(seconds=offset))
        value = datetime(*fields[:6], tzinfo=zone)
        value.astimezone(UTC)
    except (ValueError, OverflowError):
        return None, "date-unreadable"
    if not _EARLIEST <= value.year < _LATEST:
        return None, "date-out-of-range"
    return value, None if _has_zone(text) else "date-without-zone"


def _has_zone(text: str) -> bool:
    bare = re.sub(r"\(.*?\)", "", text).strip()
    return bool(re.search(r"(?:[+-]\d{4}|\b(?:GMT|UTC?|Z|[ECMP][SD]T|[A-IK-Z]))$", bare))


def observe_date(date: str, *, received: str = "", envelope: str = "") -> MailDate:
    """Return a mail's date from its Date header, else from the newest Received header, else from the mbox line."""
    value, code = parse_date(date)
    if value is not None:
        return MailDate(value, ((code, ""),) if code else ())
    warnings = [(code or "date-unreadable", "")]
    for source, text in (("date-from-received", received.rpartition(";")[2]), ("date-from-envelope", envelope)):
        other, _ = parse_date(text)
        if other is not None:
            warnings.append((source, ""))
            return MailDate(other, tuple(warnings))
    return MailDate(None, tuple(warnings))
