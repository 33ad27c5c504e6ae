"""A text/calendar part as a few lines that a person can read. Full calendars are a source of their own, later."""

import re
from dataclasses import dataclass

_FOLD = re.compile(r"\n[ \t]")
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
    lines = _FOLD.sub("", ics.replace("\r\n", "\n")).split("\n")
    method = next((line.partition(":")[2].strip() for line in lines if line.upper().startswith("METHOD:")), "")
    paragraphs: list[str] = []
    uids: list[str] = []
    event: dict[str, list[str]] | None = None
    nested = 0
    for line in lines:
        name, value = _property(line)
        if name == "BEGIN" and value.upper() == "VEVENT":
            event, nested = {}, 0
        elif event is not None and name == "BEGIN":
            nested += 1
        elif name == "END" and value.upper() == "VEVENT" and event is not None:
            paragraphs.append(_describe(event, method))
            uids.extend(event.get("UID", [])[:1])
            event = None
            if len(paragraphs) >= _MAX_EVENTS:
                break
        elif event is not None and name == "END":
            nested -= 1
        elif event is not None and not nested and name:
            event.setdefault(name, []).append(value)
    return Invitation("\n\n".join(p for p in paragraphs if p), tuple(dict.fromkeys(uids)))


def _property(line: str) -> tuple[str, str]:
    head, colon, value = _split_value(line)
    name, _, parameters = head.partition(";")
    zone = re.search(r"TZID=\"?([^\";:]+)", parameters)
    text = re.sub(r"\\([,;\\])", r"\1", re.sub(r"\\[nN]", "\n", value.strip()))
    return (name.strip().upper(), f"{text} {zone[1]}" if zone else text) if colon else ("", "")


def _split_value(line: str) -> tuple[str, str, str]:
    match = re.match(r"((?:[^\":]|\"[^\"]*\")*):(.*)", line, re.DOTALL)
    return (match[1], ":", match[2]) if match else (line, "", "")


def _describe(event: dict[str, list[str]], method: str) -> str:
    lines = [f"Method: {method}"] if method else []
    for name, label in _LABELS:
        value = (event.get(name) or [""])[0]
        if not value:
            continue
        if name in {"DTSTART", "DTEND"}:
            value = _readable_time(value)
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
