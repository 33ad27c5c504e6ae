"""Components to series: one for each UID, whatever files its parts stand in."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from hearth_ingest.calendars.pieces import EVENTS, Line, Piece
from hearth_ingest.calendars.zones import find_zone, located, own_zones, private_name

_MAX_PIECES = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Everything that is known of one UID: the master, if there is one, before its overrides."""

    uid: str
    named: bool
    """False when the events carry no UID of their own."""
    pieces: tuple[Piece, ...]
    dropped: int = 0

    @property
    def master(self) -> Piece | None:
        """The component that the series goes by."""
        return next((piece for piece in self.pieces if piece.first("RECURRENCE-ID") is None), None)

    @property
    def recurring(self) -> bool:
        """True when occurrences follow from a rule or a list."""
        return any(piece.recurring for piece in self.pieces)

    @property
    def original(self) -> bytes:
        """A calendar of just this series, as it was written."""
        return _calendar(self.pieces, settings=True, lines=[line for piece in self.pieces for line in piece.lines])

    @property
    def digest(self) -> str:
        """A hash of all that shapes the series' document."""
        return hashlib.sha256(self.original).hexdigest()[:40]


@dataclass(frozen=True, slots=True, kw_only=True)
class Readable:
    """A series as text that a parser of iCalendar takes, with zones by IANA names."""

    text: str
    unknown_zones: tuple[str, ...]


def merge(pieces: Iterable[Piece]) -> dict[str, Series]:
    """Return UID -> series, in the order of first appearance. Of two versions of a part the newer one stays."""
    parts: dict[str, dict[tuple[str, str], Piece]] = defaultdict(dict)
    dropped: dict[str, int] = defaultdict(int)
    for piece in pieces:
        if piece.name not in EVENTS:
            continue
        held = parts[piece.uid]
        key = (piece.name, _instant(piece.first("RECURRENCE-ID")))
        other = held.get(key)
        if other is None and len(held) >= _MAX_PIECES:
            dropped[piece.uid] += 1
            continue
        held[key] = piece if other is None else _newer(other, piece)
    return {uid: _series(uid, held, dropped[uid]) for uid, held in parts.items()}


def _series(uid: str, held: dict[tuple[str, str], Piece], dropped: int) -> Series:
    ordered = [piece for key, piece in sorted(held.items(), key=lambda entry: (entry[0][1] != "", entry[0]))]
    named = ordered[0].first("UID") is not None and bool(_value(ordered[0], "UID"))
    pieces = tuple(_cancelled(piece) if piece.method == "CANCEL" else piece for piece in ordered)
    return Series(uid=uid, named=named, pieces=pieces, dropped=dropped)


def _newer(one: Piece, other: Piece) -> Piece:
    newer, older = (one, other) if _rank(one) > _rank(other) else (other, one)
    if newer.method == "CANCEL" and older.method != "CANCEL" and newer.first("RRULE") is None:
        # A cancellation says little more than the UID: what it cancels stays readable.
        return replace(older, method="CANCEL")
    return newer


def _rank(piece: Piece) -> tuple[int, int, str, str]:
    sequence = _value(piece, "SEQUENCE")
    number = int(sequence) if sequence.isascii() and sequence.isdigit() and len(sequence) < 12 else 0
    stamp = _value(piece, "LAST-MODIFIED") or _value(piece, "DTSTAMP")
    # What is equally new must not depend on the order of files.
    return number, int(piece.method == "CANCEL"), stamp, "\n".join(piece.lines)


def _cancelled(piece: Piece) -> Piece:
    lines = [text for text in piece.lines if not text.upper().startswith("STATUS")]
    return replace(piece, lines=(*lines[:1], "STATUS:CANCELLED", *lines[1:]))


def _value(piece: Piece, name: str) -> str:
    line = piece.first(name)
    return line.value.strip() if line else ""


def _instant(line: Line | None) -> str:
    if line is None:
        return ""
    zone = line.parameters.get("TZID", "")
    return f"{line.value.strip()} {find_zone(zone) or zone}".strip()


def make_readable(series: Series) -> Readable:
    """Return the text for a parser: zones by IANA names, own ones under names of their own, unknown ones floating."""
    unknown: dict[str, None] = {}
    used: dict[str, tuple[str, ...]] = {}
    lines: list[str] = []
    for piece in series.pieces:
        own = own_zones(piece.zones)
        lines.extend(_rezone(text, own=own, used=used, unknown=unknown) for text in piece.lines)
    body = [line for name, zone in used.items() for line in _renamed(zone, name)] + lines
    data = _calendar(series.pieces, settings=False, lines=body)
    return Readable(text=data.decode(), unknown_zones=tuple(unknown))


def _rezone(
    text: str, *, own: dict[str, tuple[str, ...]], used: dict[str, tuple[str, ...]], unknown: dict[str, None]
) -> str:
    head, colon, value = _split(text)
    if ";TZID=" not in head.upper():
        return text
    start = head.upper().index(";TZID=")
    rest = head[start + 6 :]
    if rest.startswith('"') and '"' in rest[1:]:
        end = rest.index('"', 1)
        zone, after = rest[1:end], rest[end + 1 :]
    else:
        zone, semicolon, more = rest.partition(";")
        after = semicolon + more
    name = find_zone(zone)
    if name is None and zone.strip() in own:
        lines = own[zone.strip()]
        name = located(lines) or private_name(lines)
        if name.startswith("own-"):
            used.setdefault(name, lines)
    if name is None:
        unknown.setdefault(zone.strip())
    parameter = f";TZID={name}" if name else ""
    return f"{head[:start]}{parameter}{after}{colon}{value}"


def _split(text: str) -> tuple[str, str, str]:
    """Return name with parameters, the colon and the value; zones may hold a colon in quotes or, wrongly, without."""
    quoted = False
    for position, character in enumerate(text):
        if character == '"':
            quoted = not quoted
        elif character == ":" and not quoted:
            if (
                text[position + 1 : position + 3].isdigit()
                and "TZID=" in text[:position].upper()
                and ")" in text[position:]
            ):
                continue
            return text[:position], ":", text[position + 1 :]
    return text, "", ""


def _renamed(lines: tuple[str, ...], name: str) -> list[str]:
    return [f"TZID:{name}" if text.upper().startswith("TZID") else text for text in lines]


def _calendar(pieces: tuple[Piece, ...], *, settings: bool, lines: list[str]) -> bytes:
    head = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Hearth//Calendar//EN"]
    method = next((piece.method for piece in pieces if piece.method), "")
    zone = next((piece.zone for piece in pieces if piece.zone), "")
    if method and settings:
        head.append(f"METHOD:{method}")
    name = zone if settings else find_zone(zone)
    if zone and name:
        head.append(f"X-WR-TIMEZONE:{name}")
    if settings:
        head.extend(line for zone_lines in dict.fromkeys(z for p in pieces for z in p.zones) for line in zone_lines)
    return "\r\n".join([*head, *lines, "END:VCALENDAR", ""]).encode("utf-8", "replace")
