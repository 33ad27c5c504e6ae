"""A series to its NormalDocument."""

import re
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import icalendar

from hearth_api.wire.documents import DocumentWarning, Kind, Link, NormalDocument, Origin, Part, Segment, document_id
from hearth_ingest.calendars.merging import Series, make_readable
from hearth_ingest.calendars.occurrences import BROKEN, Expansion, Occurrence, expand, first_of, read_occurrence
from hearth_ingest.calendars.occurrences import value_of as time_of
from hearth_ingest.calendars.people import all_of, join_addresses, participants, say_person, urls
from hearth_ingest.calendars.window import Window
from hearth_ingest.calendars.words import say_moment, say_rule, say_time
from hearth_ingest.calendars.zones import find_zone
from hearth_ingest.context import ParseContext
from hearth_ingest.documents.parsers import time_limit
from hearth_ingest.errors import ItemError
from hearth_ingest.findings.apply import with_findings
from hearth_ingest.item import Item, Parsed
from hearth_ingest.markup import read_html

MEDIA_TYPE = "text/calendar"
_KINDS = ("VEVENT", "VTODO", "VJOURNAL")
_HTML = re.compile(r"<(?:html|body|div|p|br|span|a|b|i|u|ul|ol|table|h[1-6])\b[^>]*>", re.IGNORECASE)
_MAX_LINKS = 50
_MAX_GUESTS = 200
_MAX_TEXT = 200_000
_EXPANSION_SECONDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The window of a run and the zone of its reader."""

    window: Window
    zone: ZoneInfo


def build_event(series: Series, *, item: Item, frame: Frame, context: ParseContext) -> list[Parsed]:
    """Return the document of a series. Raises ItemError."""
    try:
        return _build(series, item=item, frame=frame, context=context)
    except BROKEN as error:
        # Values that the library took and then cannot show.
        raise ItemError("calendar-unparseable", f"{type(error).__name__} in a value") from error


def _build(series: Series, *, item: Item, frame: Frame, context: ParseContext) -> list[Parsed]:
    readable = make_readable(series)
    with time_limit(context.limits.seconds_per_item):
        calendar = _read(readable.text)
    parts = [part for part in calendar.subcomponents if part.name in _KINDS]
    if not parts:
        raise ItemError("calendar-unparseable", "no event in it can be read")
    main = next((part for part in parts if "RECURRENCE-ID" not in part), parts[0])
    zone = _floating_zone(series, frame.zone)
    seconds = min(_EXPANSION_SECONDS, context.limits.seconds_per_item)
    expansion = expand(calendar, window=frame.window, zone=zone, seconds=seconds)
    notes = _notes(series, readable.unknown_zones, parts, expansion)
    body, hidden = _body(main, parts, zone=frame.zone, floating=zone)
    if hidden:
        notes.append(DocumentWarning(code="hidden-text", detail=hidden))
    document = NormalDocument(
        id=document_id(Kind.CALENDAR, context.source, item.key, key=context.key),
        source=context.source,
        kind=Kind.CALENDAR,
        title=_text(main, "SUMMARY")[:500],
        origin=Origin(key=item.key, uri=item.uri, fingerprint=item.fingerprint, bytes=len(series.original)),
        pipeline=context.pipeline,
        created=_stamp(parts, "CREATED", last=False) or _stamp(parts, "DTSTAMP", last=False),
        modified=_stamp(parts, "LAST-MODIFIED", last=True) or _stamp(parts, "DTSTAMP", last=True),
        authors=tuple(p for p in participants([main], context) if p.role == "organizer")[:1],
        participants=participants(parts, context),
        permalink=_permalink(series),
        identities=_identities(series, parts),
        trust=context.trust,
        segments=(body, *_events(series, expansion, main=main, frame=frame)),
        links=_links(series, parts),
        parts=tuple(_parts(parts)),
        warnings=tuple(notes),
    )
    sealed = with_findings(document, mask=context.at_source).sealed()
    return [Parsed(document=sealed, original=series.original, media_type=MEDIA_TYPE)]


def _read(text: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return icalendar.Calendar.from_ical(text)
    except BROKEN as error:
        raise ItemError("calendar-unparseable", f"{type(error).__name__} in the parser") from error


def _floating_zone(series: Series, zone: ZoneInfo) -> ZoneInfo:
    for piece in series.pieces:
        name = find_zone(piece.zone) if piece.zone else None
        if name:
            return ZoneInfo(name)
    return zone


def _notes(series: Series, unknown: tuple[str, ...], parts: list[Any], expansion: Expansion) -> list[DocumentWarning]:
    notes = [DocumentWarning(code=code, detail=detail) for code, detail in expansion.warnings]
    if unknown:
        detail = f"{len(unknown)} zones are not known; their times count in the zone of the source"
        notes.append(DocumentWarning(code="zone-unknown", detail=detail))
    broken = sorted({str(name) for part in parts for name, _ in getattr(part, "errors", ())})
    if broken:
        notes.append(DocumentWarning(code="property-broken", detail=", ".join(broken)[:300]))
    if any(piece.broken for piece in series.pieces):
        notes.append(DocumentWarning(code="calendar-truncated", detail="an event has no end"))
    if not series.named:
        notes.append(DocumentWarning(code="uid-missing"))
    if series.dropped:
        notes.append(DocumentWarning(code="too-many-parts", detail=f"{series.dropped} overrides are left out"))
    if not expansion.occurrences and any(part.name == "VEVENT" for part in parts):
        notes.append(DocumentWarning(code="no-occurrence", detail="none inside the window, or no start can be read"))
    return notes


def _body(main: Any, parts: list[Any], *, zone: ZoneInfo, floating: ZoneInfo) -> tuple[Segment, str]:
    lines = [_text(main, "SUMMARY")]
    first = read_occurrence(main, zone=floating)
    if first is not None:
        lines.append(f"When: {say_time(first, zone=zone)}")
    lines.extend(f"Repeats: {_rule(rule)}" for rule in all_of(main, "RRULE")[:3])
    described, hidden = _description(main)
    joins = list(dict.fromkeys(url for part in parts for url in join_addresses(part)))
    lines.extend(
        f"{label}: {value}"
        for label, value in (
            ("Where", _text(main, "LOCATION")),
            ("Organizer", "; ".join(say_person(value) for value in all_of(main, "ORGANIZER")[:1])),
            ("Attendees", "; ".join(say_person(value) for value in all_of(main, "ATTENDEE")[:_MAX_GUESTS])),
            ("Status", _text(main, "STATUS").lower()),
            ("Join", " ".join(joins[:5])),
            ("Comment", _text(main, "COMMENT")),
        )
        if value
    )
    if described:
        lines += ["", described]
    author_time = first.start if first else None
    return Segment(text="\n".join(line for line in lines if line is not None).strip(), time=author_time), hidden


def _rule(rule: Any) -> str:
    try:
        return say_rule(rule)
    except BROKEN:
        return "by a rule that cannot be read"


def _description(part: Any) -> tuple[str, str]:
    text = "\n\n".join(str(value) for value in all_of(part, "DESCRIPTION"))[:_MAX_TEXT].replace("\r\n", "\n")
    if not _HTML.search(text):
        return text.strip(), ""
    page = read_html(text)
    return page.text.strip(), page.hidden_detail()


def _events(series: Series, expansion: Expansion, *, main: Any, frame: Frame) -> list[Segment]:
    return [
        Segment(
            text=_event_text(one, main=main, zone=frame.zone),
            role="event",
            time=one.start,
            permalink=f"{_permalink(series)}?occurrence={quote(one.start.isoformat(), safe=':+-')}",
        )
        for one in expansion.occurrences
    ]


def _event_text(one: Occurrence, *, main: Any, zone: ZoneInfo) -> str:
    part = one.component
    title = _text(part, "SUMMARY") or _text(main, "SUMMARY") or "Event"
    lines = [f"{title}, {say_time(one, zone=zone)}"]
    if one.cancelled:
        lines.append("This occurrence is cancelled." if part is not main else "Cancelled.")
    if one.moved_from is not None:
        lines.append(f"Moved from {say_moment(one.moved_from, all_day=one.all_day)}")
    place = _text(part, "LOCATION")
    if place:
        lines.append(f"Where: {place}")
    if _text(part, "COMMENT") and _text(part, "COMMENT") != _text(main, "COMMENT"):
        lines.append(f"Comment: {_text(part, 'COMMENT')}")
    described, _ = _description(part)
    if described and described != _description(main)[0]:
        lines += ["", described]
    return "\n".join(lines)


def _text(part: Any, name: str) -> str:
    value = first_of(part, name)
    return " ".join(str(value).split())[:2000] if value is not None else ""


def _permalink(series: Series) -> str:
    return f"uid:{series.uid}"


def _identities(series: Series, parts: list[Any]) -> tuple[str, ...]:
    joins = dict.fromkeys(f"url:{url}" for part in parts for url in join_addresses(part))
    return ((f"uid:{series.uid}",) if series.named else ()) + tuple(joins)[:_MAX_LINKS]


def _links(series: Series, parts: list[Any]) -> tuple[Link, ...]:
    own = set(_identities(series, parts))
    found: dict[tuple[str, str], Link] = {}
    for part in parts:
        for value in all_of(part, "RELATED-TO"):
            target = f"uid:{str(value).strip()}"
            found.setdefault(("meeting", target), Link(rel="meeting", target=target))
        texts = [str(value) for name in ("DESCRIPTION", "LOCATION", "URL") for value in all_of(part, name)]
        for url in (url for text in texts for url in urls(text[:_MAX_TEXT])):
            found.setdefault(("mention", url), Link(rel="mention", target=f"url:{url}"))
        for value in all_of(part, "ATTACH"):
            for url in urls(str(value)[:2000]):
                found.setdefault(("file", url), Link(rel="file", target=f"url:{url}"))
    return tuple(link for link in found.values() if link.target not in own)[:_MAX_LINKS]


def _parts(parts: list[Any]) -> list[Part]:
    out: list[Part] = []
    for part in parts:
        reason = {"VEVENT": "event", "VTODO": "task", "VJOURNAL": "journal"}[part.name]
        out.append(Part(media_type=MEDIA_TYPE, used=True, reason=reason, name=part.name))
        for inner in part.subcomponents:
            reason = "alarm" if inner.name == "VALARM" else "unknown-component"
            out.append(Part(media_type=MEDIA_TYPE, used=False, reason=reason, name=str(inner.name)[:60]))
        for value in all_of(part, "ATTACH"):
            elsewhere = bool(urls(str(value)[:2000]))
            reason = "elsewhere" if elsewhere else "binary-inline"
            out.append(Part(media_type="application/octet-stream", used=False, reason=reason))
    return out[:2000]


def _stamp(parts: list[Any], name: str, *, last: bool) -> datetime | None:
    found: list[datetime] = []
    for part in parts:
        value = time_of(part, name)
        if isinstance(value, datetime):
            try:
                found.append((value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC))
            except (OverflowError, ValueError):
                continue
    return (max(found) if last else min(found)) if found else None
