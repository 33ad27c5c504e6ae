"""A text/calendar part as a few lines that a person can read, taken apart as the calendar source does it.

Both therefore agree on UIDs and on the names of zones; the invitation says times, it does not expand what repeats.
"""

import re
from dataclasses import dataclass

from hearth_ingest.calendars.pieces import Line, Piece, read_pieces
from hearth_ingest.calendars.zones import find_zone, located, own_zones
from hearth_ingest.errors import ItemError

_TIMES = frozenset(("DTSTART", "DTEND"))
_LABELS = (
    ("SUMMARY", "Event"),
    ("DTSTART", "Starts"),
    ("DTEND", "Ends"),
    ("DURATION", "Lasts"),
    ("RRULE", "Repeats"),
    ("LOCATION", "Where"),
    ("ORGANIZER", "Organizer"),
    ("STATUS", "Status"),
    ("DESCRIPTION", "Description"),
)
_MAX_EVENTS = 20


@dataclass(frozen=True, slots=True)
class Invitation:
    """The events' text, one paragraph each, and their UIDs."""

    text: str
    uids: tuple[str, ...]


def read_invitation(ics: str) -> Invitation:
    """Return what the VEVENTs say. Never raises; a calendar without events gives empty text."""
    try:
        pieces = read_pieces(ics.encode("utf-8", "replace"), place="")
    except ItemError:
        return Invitation("", ())
    events = [piece for piece in pieces if piece.name == "VEVENT"][:_MAX_EVENTS]
    paragraphs = [_describe(_values(piece), piece.method) for piece in events]
    uids = [piece.uid for piece in events if (line := piece.first("UID")) and line.value.strip()]
    return Invitation("\n\n".join(p for p in paragraphs if p), tuple(dict.fromkeys(uids)))


def _values(piece: Piece) -> dict[str, list[str]]:
    """Return property -> readable values of the component's own lines."""
    out: dict[str, list[str]] = {}
    for line in piece.own():
        value = re.sub(r"\\([,;\\])", r"\1", re.sub(r"\\[nN]", "\n", line.value.strip()))
        if line.name in _TIMES:
            value = f"{_readable_time(value)}{_zone(line, piece)}"
        out.setdefault(line.name, []).append(value)
    return out


def _zone(line: Line, piece: Piece) -> str:
    """Return " Europe/Berlin" for a time that counts in a zone, by the name that the calendar gives it."""
    if line.value.strip().upper().endswith("Z") or "T" not in line.value.upper():
        return ""
    name = line.parameters.get("TZID", "").strip() or piece.zone
    own = own_zones(piece.zones).get(name)
    zone = find_zone(name) or (located(own) if own else None) or name
    return f" {zone}" if zone else ""


def _describe(event: dict[str, list[str]], method: str) -> str:
    lines = [f"Method: {method}"] if method else []
    for name, label in _LABELS:
        value = (event.get(name) or [""])[0]
        if not value:
            continue
        lines.append(f"{label}: {value.removeprefix('mailto:').removeprefix('MAILTO:')}")
    guests = [guest.removeprefix("mailto:").removeprefix("MAILTO:") for guest in event.get("ATTENDEE", [])[:50]]
    if guests:
        lines.append("Attendees: " + ", ".join(guests))
    return "\n".join(lines)


def _readable_time(value: str) -> str:
    match = re.fullmatch(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)\d\d(Z?))?(.*)", value)
    if not match:
        return value
    day = f"{match[1]}-{match[2]}-{match[3]}"
    clock = f" {match[4]}:{match[5]}{' UTC' if match[6] else ''}" if match[4] else ""
    return f"{day}{clock}{match[7]}"
