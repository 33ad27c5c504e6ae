"""Occurrences of a calendar by the ingestion and by recurring-ical-events alone, in one shape."""

import warnings
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import icalendar
import recurring_ical_events

from hearth_ingest.calendars.build import _floating_zone, _read
from hearth_ingest.calendars.merging import make_readable, merge
from hearth_ingest.calendars.occurrences import expand, to_moment
from hearth_ingest.calendars.pieces import read_pieces
from hearth_ingest.calendars.window import Window
from hearth_ingest.calendars.zones import find_zone

FOLDER = Path(recurring_ical_events.__file__).parent / "test" / "calendars"
ZONE = ZoneInfo("Europe/Berlin")
Row = tuple[str, str, float, float, bool, bool]
"""Component, title, start and end in seconds, all day, cancelled."""
DIFFERENT = {
    "issue_201_mixed_datetime_and_date.ics": "starts on a day and ends at a time of UTC: ours stays a span of whole days"
    " in the zone of the reader, the library makes both times of UTC",
}
"""Fixture -> why its occurrences differ. Days of all others begin at midnight of X-WR-TIMEZONE or of the reader."""
WINDOWS = (
    (date(2019, 1, 1), date(2020, 12, 31)),
    (date(2021, 6, 1), date(2024, 3, 31)),
    (date(2014, 1, 1), date(2018, 12, 31)),
    (date(2020, 3, 20), date(2020, 4, 5)),
)


def ours(data: bytes, low: date, high: date) -> set[Row]:
    """What a run finds inside the window."""
    out: set[Row] = set()
    for series in merge(read_pieces(data, place="x")).values():
        zone = _floating_zone(series, ZONE)
        window = Window(start=low, stop=high, today=low)
        expansion = expand(_read(make_readable(series).text), window=window, zone=zone, seconds=60)
        for one in expansion.occurrences:
            title = str(one.component.get("SUMMARY", ""))
            row = (one.component.name, title, one.start.timestamp(), one.end.timestamp(), one.all_day, one.cancelled)
            if _inside(one.start, one.end, zone, low, high):
                out.add(row)
    return out


def theirs(data: bytes, low: date, high: date) -> set[Row]:
    """What the library finds there; days and floating times count in the calendar's zone, as in a run."""
    out: set[Row] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for calendar in icalendar.Calendar.from_ical(data, multiple=True):
            zone = ZoneInfo(find_zone(str(calendar.get("X-WR-TIMEZONE", ""))) or ZONE.key)
            kinds = ["VEVENT", "VTODO", "VJOURNAL"]
            query = recurring_ical_events.of(calendar, components=kinds, skip_bad_series=True)
            for part in query.between(low - timedelta(2), high + timedelta(3)):
                row, start, end = row_of(part, zone)
                if _inside(start, end, zone, low, high):
                    out.add(row)
    return out


def zone_of_calendar(data: bytes) -> ZoneInfo:
    """Return the zone in which a calendar's days and floating times count."""
    name = next((piece.zone for piece in read_pieces(data, place="x") if piece.zone), "")
    return ZoneInfo(find_zone(name) or ZONE.key)


def row_of(part: Any, zone: ZoneInfo) -> tuple[Row, datetime, datetime]:
    begin = (part.get("DTSTART") or part["DUE"]).dt
    last = part.get("DTEND") or part.get("DUE")
    stop = last.dt if last is not None else begin + part["DURATION"].dt if "DURATION" in part else begin
    all_day = not isinstance(begin, datetime)
    start, end = to_moment(begin, zone), to_moment(stop, zone)
    if all_day and end <= start:
        end = to_moment(begin + timedelta(1), zone)
    cancelled = str(part.get("STATUS", "")).upper() == "CANCELLED"
    title = str(part.get("SUMMARY", ""))
    return (part.name, title, start.timestamp(), end.timestamp(), all_day, cancelled), start, end


def _inside(start: datetime, end: datetime, zone: ZoneInfo, low: date, high: date) -> bool:
    last = max(start, end - timedelta(microseconds=1))
    return start.astimezone(zone).date() <= high and last.astimezone(zone).date() >= low
