"""Safe access to JSON that may have any shape, and the times that exports write."""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hearth_ingest.charset import clean

_TIME = re.compile(
    r"\s*(\d{4})-(\d\d)-(\d\d)[Tt ]?\s*(\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?\s*(?:([Zz])|([+-])(\d\d):?(\d\d))?\s*$"
)
_EPOCH = re.compile(r"\d{12,14}$")


def text_of(value: object) -> str:
    """Return a string field without surrounding space and control characters; numbers as text; else ""."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return ""
    return clean(value if isinstance(value, str) else str(value) if abs(value) < 10**30 else "").strip()


def dict_of(value: object) -> dict[str, Any]:
    """Return the object, or an empty one."""
    return value if isinstance(value, dict) else {}


def list_of(value: object) -> list[Any]:
    """Return the list, or an empty one."""
    return value if isinstance(value, list) else []


def time_of(value: object) -> datetime | None:
    """Return an instant: ISO 8601, also with a missing T or without a zone (UTC), or epoch milliseconds."""
    text = text_of(value)
    try:
        if match := _TIME.match(text):
            year, month, day, hour, minute, second, fraction, _, sign, hours, minutes = match.groups()
            zone: timezone = UTC
            if sign:
                offset = timedelta(hours=int(hours), minutes=int(minutes))
                zone = timezone(-offset if sign == "-" else offset)
            micro = int((fraction or "0")[:6].ljust(6, "0"))
            parts = (int(year), int(month), int(day), int(hour), int(minute), int(second or 0))
            return datetime(*parts, micro, tzinfo=zone).astimezone(UTC)
        if _EPOCH.match(text):
            return datetime.fromtimestamp(int(text) // 1000, tz=UTC) + timedelta(milliseconds=int(text) % 1000)
    except (ValueError, OverflowError, OSError):
        return None
    return None
