"""A series to its occurrences inside the window."""

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import recurring_ical_events

from hearth_ingest.calendars.window import Window
from hearth_ingest.documents.parsers import time_limit
from hearth_ingest.errors import RefusedError

MAX_OCCURRENCES = 2000
Component = Any
"""An icalendar component; what it holds was written by anybody."""
BROKEN = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    NotImplementedError,
    RecursionError,
)
"""What the libraries raise for values that they do not expect."""
_DAY = timedelta(1)
_OFTEN = re.compile("HOURLY|MINUTELY|SECONDLY")


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """One time at which an event happens. `start` and `end` are aware; all-day ones begin at midnight of the zone."""

    component: Component
    start: datetime
    end: datetime
    all_day: bool = False
    floating: bool = False
    moved_from: datetime | None = None
    cancelled: bool = False
    swapped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """Occurrences by time, and a warning's code and detail for each thing that kept some of them away."""

    occurrences: tuple[Occurrence, ...]
    warnings: tuple[tuple[str, str], ...] = ()


def expand(calendar: Component, *, window: Window, zone: ZoneInfo, seconds: int) -> Expansion:
    """Return the occurrences of a calendar with one series.

    Events without a rule are there whenever they happen; recurring ones inside the window, at most MAX_OCCURRENCES of
    them, the nearest to today first. Never raises for what is in the calendar.
    """
    components = [part for part in calendar.subcomponents if part.name in {"VEVENT", "VTODO", "VJOURNAL"}]
    found: dict[tuple[str, str, str], Occurrence] = {}
    problems: list[tuple[str, str]] = []
    if not any("RRULE" in part or "RDATE" in part for part in components):
        for part in components:
            _keep(found, read_occurrence(part, zone=zone))
    else:
        try:
            problems.extend(("recurrence-mended", detail) for part in components for detail in _mend(part))
            with time_limit(seconds):
                _recur(calendar, found, window=window, zone=zone)
        except RefusedError:
            problems.append(("occurrences-too-slow", f"not expanded within {seconds} seconds"))
        except BROKEN as error:
            problems.append(("recurrence-broken", type(error).__name__))
            for part in components:
                _keep(found, read_occurrence(part, zone=zone))
        if len(found) >= MAX_OCCURRENCES:
            problems.append(("occurrences-cut", f"the {MAX_OCCURRENCES} nearest to today are kept"))
    occurrences = sorted(found.values(), key=lambda one: (one.start, one.end))
    # The library swaps both in the occurrences that it makes of a rule: only the component still tells.
    own = [read_occurrence(part, zone=zone) for part in components]
    if any(one is not None and one.swapped for one in own):
        problems.append(("end-before-start", "the end is taken as the start, and the start as the end"))
    return Expansion(occurrences=tuple(occurrences), warnings=tuple(problems))


def _mend(part: Component) -> list[str]:
    """Make a component's dates such that the library takes them; return a sentence for each change."""
    done: list[str] = []
    days: list[Any] = []
    for name in ("RDATE", "EXDATE"):
        held = part.get(name)
        lists = held if isinstance(held, list) else [] if held is None else [held]
        good = [one for one in lists if _days_in(one)]
        if len(good) < len(lists):
            done.append(f"{name} holds what is no day")
            del part[name]
            if good:
                part[name] = good
        if name == "RDATE":
            days = [day for one in good for day in _days_in(one)]
    if "DTSTART" not in part and "RECURRENCE-ID" not in part and part.name == "VEVENT" and days:
        part.add("DTSTART", min(days, key=lambda day: to_moment(day, UTC)))
        done.append("no start: the first RDATE is taken")
    return done


def _days_in(dates: Any) -> list[date]:
    """Return the days, times of days and starts of periods in a list of dates; [] where one of them is none."""
    try:
        values = [value.dt[0] if isinstance(value.dt, tuple) else value.dt for value in dates.dts]
    except BROKEN:
        return []
    return values if all(isinstance(value, date) for value in values) else []


def _recur(
    calendar: Component, found: dict[tuple[str, str, str], Occurrence], *, window: Window, zone: ZoneInfo
) -> None:
    kinds = ("VEVENT", "VTODO", "VJOURNAL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        query = recurring_ical_events.of(calendar, components=kinds, skip_bad_series=True)
        often = any(_OFTEN.search(str(rule)) for part in calendar.subcomponents for rule in all_rules(part))
        for first, last in window.days() if often else window.months():
            # A day more on both sides: the query takes days in no zone, or in the event's own.
            for part in query.between(first - _DAY, last + 2 * _DAY):
                one = read_occurrence(part, zone=zone)
                if one is not None and _touches(one, window, zone):
                    _keep(found, one)
                if len(found) >= MAX_OCCURRENCES:
                    return


def _keep(found: dict[tuple[str, str, str], Occurrence], one: Occurrence | None) -> None:
    if one is not None:
        recurrence = one.moved_from.isoformat() if one.moved_from else ""
        found.setdefault((one.component.name, one.start.isoformat(), recurrence), one)


def _touches(one: Occurrence, window: Window, zone: ZoneInfo) -> bool:
    last = one.end - timedelta(microseconds=1) if one.end > one.start else one.start
    return one.start.astimezone(zone).date() <= window.stop and last.astimezone(zone).date() >= window.start


def read_occurrence(part: Component, *, zone: ZoneInfo) -> Occurrence | None:
    """Return when a component happens, or None where it says nothing of that (a task without dates)."""
    begin = value_of(part, "DTSTART") or value_of(part, "DUE")
    if begin is None:
        return None
    try:
        start = to_moment(begin, zone)
        end = _end(part, begin, start, zone)
        before = value_of(part, "RECURRENCE-ID")
        origin = to_moment(before, zone) if before is not None else None
    except BROKEN:
        return None
    all_day = not isinstance(begin, datetime)
    if origin is not None and all_day != (not isinstance(before, datetime)):
        origin = None if origin.date() == start.date() else origin
    return Occurrence(
        component=part,
        start=min(start, end),
        end=max(start, end),
        all_day=all_day,
        floating=isinstance(begin, datetime) and begin.tzinfo is None,
        moved_from=origin if origin is not None and origin != start else None,
        cancelled=str(first_of(part, "STATUS") or "").upper() == "CANCELLED",
        swapped=end < start,
    )


def _end(part: Component, begin: date, start: datetime, zone: ZoneInfo) -> datetime:
    end = value_of(part, "DTEND") or value_of(part, "DUE")
    length = value_of(part, "DURATION")
    if end is not None:
        if not isinstance(begin, datetime) and isinstance(end, datetime):
            end = end.date()
        moment = to_moment(end, zone)
        # A day that ends on itself is meant as that day.
        return to_moment(begin + _DAY, zone) if not isinstance(begin, datetime) and moment == start else moment
    if isinstance(length, timedelta):
        if isinstance(begin, datetime):
            return (start.astimezone(UTC) + length).astimezone(start.tzinfo)
        return to_moment(begin + max(length, _DAY), zone)
    return start if isinstance(begin, datetime) else to_moment(begin + _DAY, zone)


def all_rules(part: Component) -> list[Any]:
    """Return the recurrence rules of a component."""
    value = part.get("RRULE")
    return value if isinstance(value, list) else [value]


def first_of(part: Component, name: str) -> Any:
    """Return the first value of a property that may be there more than once, or None."""
    value = part.get(name)
    return value[0] if isinstance(value, list) and value else (None if isinstance(value, list) else value)


def value_of(part: Component, name: str) -> Any:
    """Return the Python value of a time property, or None where it is missing or cannot be read."""
    try:
        value = getattr(first_of(part, name), "dt", None)
    except BROKEN:
        return None
    return value if isinstance(value, (date, timedelta)) else None


def to_moment(value: date, zone: tzinfo) -> datetime:
    """Return an aware time. Days begin at midnight and floating times count in `zone`; gaps are skipped forward."""
    moment = value if isinstance(value, datetime) else datetime.combine(value, time())
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    return moment.astimezone(UTC).astimezone(moment.tzinfo)


def days_of(one: Occurrence) -> Iterator[date]:
    """Yield the first and, where it differs, the last day of an occurrence."""
    last = one.end - timedelta(microseconds=1) if one.all_day and one.end > one.start else one.end
    yield one.start.date()
    if last.date() != one.start.date():
        yield last.date()
