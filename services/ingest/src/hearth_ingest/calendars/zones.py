"""Names of time zones as programs write them to names of the IANA database."""

import hashlib
import re
from collections.abc import Iterable
from datetime import tzinfo
from functools import lru_cache
from zoneinfo import available_timezones

from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

from hearth_ingest.calendars.pieces import read_line

_WINDOWS = {name.lower(): zone for name, zone in WINDOWS_TO_OLSON.items()}
_SHORT = {
    "edt": "America/New_York",
    "cst": "America/Chicago",
    "cdt": "America/Chicago",
    "mdt": "America/Denver",
    "pst": "America/Los_Angeles",
    "pdt": "America/Los_Angeles",
    "cest": "Europe/Berlin",
    "mesz": "Europe/Berlin",
    "mez": "Europe/Berlin",
    "bst": "Europe/London",
    "z": "Etc/UTC",
    "utc": "Etc/UTC",
    "gmt": "Etc/UTC",
}
_OFFSET = re.compile(r"\(?(?:UTC|GMT)\s*([+-])(\d{1,2}):?(\d\d)?\)?", re.IGNORECASE)
_MAX_WHOLE_HOURS = 12


@lru_cache(maxsize=1)
def _known() -> dict[str, str]:
    return {name.lower(): name for name in available_timezones()}


@lru_cache(maxsize=1024)
def find_zone(name: str) -> str | None:
    """Return the IANA name for a zone's name: its own, of Windows, behind a prefix, an abbreviation or an offset."""
    bare = name.strip().strip('"').strip()
    known = _known()
    parts = [part for part in bare.split("/") if part]
    candidates = [bare, *("/".join(parts[start:]) for start in range(len(parts))), bare.replace(" ", "_")]
    for candidate in candidates:
        key = candidate.lower()
        found = _SHORT.get(key) or known.get(key) or _WINDOWS.get(key)
        if found and not (len(parts) > 1 and candidate == parts[-1] and "/" not in found):
            return found
    match = _OFFSET.match(bare)
    return _fixed(match) if match else None


def _fixed(match: re.Match[str]) -> str | None:
    hours, minutes = int(match[2]), int(match[3] or 0)
    if minutes or hours > _MAX_WHOLE_HOURS:
        return None
    # In names of this area the sign is that of the sea clock: west is positive.
    return f"Etc/GMT{'-' if match[1] == '+' else '+'}{hours}" if hours else "Etc/UTC"


def own_zones(zones: Iterable[tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Return TZID -> lines of the VTIMEZONEs that a calendar brings along; the first of a name counts."""
    out: dict[str, tuple[str, ...]] = {}
    for lines in zones:
        for text in lines:
            line = read_line(text)
            if line is not None and line.name == "TZID":
                out.setdefault(line.value.strip().strip('"'), lines)
                break
    return out


def located(lines: tuple[str, ...]) -> str | None:
    """Return the IANA name that a VTIMEZONE gives itself in X-LIC-LOCATION."""
    for text in lines:
        line = read_line(text)
        if line is not None and line.name == "X-LIC-LOCATION":
            return find_zone(line.value)
    return None


def private_name(lines: tuple[str, ...]) -> str:
    """Return a name for a VTIMEZONE by its content: parsers keep zones by name across calendars."""
    return "own-" + hashlib.sha256("\n".join(lines).encode()).hexdigest()[:24]


def zone_name(zone: tzinfo | None) -> str:
    """Return a zone's name for a reader; "" for one that has none."""
    name = getattr(zone, "key", "") or str(zone or "")
    if name in {"UTC", "Etc/UTC", "UTC+00:00"}:
        return "UTC"
    return name if "/" in name and not name.startswith("own-") else ""
