"""Times and rules in words, so that a search for them finds them."""

from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from hearth_ingest.calendars.occurrences import Occurrence, days_of
from hearth_ingest.calendars.zones import zone_name

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_CODES = {"MO": 0, "TU": 1, "WE": 2, "TH": 3, "FR": 4, "SA": 5, "SU": 6}
_UNITS = {
    "SECONDLY": "second",
    "MINUTELY": "minute",
    "HOURLY": "hour",
    "DAILY": "day",
    "WEEKLY": "week",
    "MONTHLY": "month",
    "YEARLY": "year",
}
_ORDINALS = {1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth", -1: "last", -2: "second to last"}
_MAX_LIST = 40


def say_day(day: date) -> str:
    """Return as "Tuesday 6 October 2026"."""
    return f"{_DAYS[day.weekday()]} {day.day} {_MONTHS[day.month - 1]} {day.year}"


def say_clock(moment: datetime) -> str:
    """Return as "14:00"."""
    return f"{moment.hour:02}:{moment.minute:02}"


def say_zone(moment: datetime) -> str:
    """Return a moment's zone by name, or by its offset where it has none."""
    name = zone_name(moment.tzinfo)
    if name:
        return name
    offset = moment.strftime("%z")
    return f"UTC{offset[:3]}:{offset[3:5]}" if offset else "UTC"


def say_time(one: Occurrence, *, zone: ZoneInfo) -> str:
    """Return when an occurrence is: "Tuesday 6 October 2026, 14:00-14:30 Europe/Berlin (08:00 America/New_York)"."""
    days = list(days_of(one))
    if one.all_day:
        span = " to ".join(say_day(day) for day in days)
        return f"{span}, all day"
    clock = say_clock(one.start)
    if len(days) > 1:
        times = f"{say_day(days[0])}, {clock} to {say_day(days[1])}, {say_clock(one.end.astimezone(one.start.tzinfo))}"
    elif one.end > one.start:
        times = f"{say_day(days[0])}, {clock}-{say_clock(one.end.astimezone(one.start.tzinfo))}"
    else:
        times = f"{say_day(days[0])}, {clock}"
    return f"{times} {say_zone(one.start)}{_elsewhere(one.start, zone)}"


def say_moment(moment: datetime, *, all_day: bool) -> str:
    """Return a start alone."""
    return say_day(moment.date()) if all_day else f"{say_day(moment.date())}, {say_clock(moment)} {say_zone(moment)}"


def _elsewhere(moment: datetime, zone: ZoneInfo) -> str:
    there = moment.astimezone(zone)
    if there.utcoffset() == moment.utcoffset():
        return ""
    day = f"{say_day(there.date())}, " if there.date() != moment.date() else ""
    return f" ({day}{say_clock(there)} {zone_name(zone) or 'UTC'})"


def say_rule(rule: Any) -> str:
    """Return a recurrence rule in words; what has no words stays as it was written."""
    unit = _UNITS.get(str(_one(rule, "FREQ", "")).upper())
    if unit is None:
        return "by a rule"
    interval = _one(rule, "INTERVAL", 1)
    words = [f"every {unit}" if interval == 1 else f"every {interval} {unit}s"]
    days = [_say_weekday(str(code)) for code in rule.get("BYDAY", [])[:_MAX_LIST]]
    if days:
        words.append("on " + ", ".join(days))
    numbers = [str(number) for number in rule.get("BYMONTHDAY", [])[:_MAX_LIST]]
    if numbers:
        words.append("on day " + ", ".join(numbers))
    months = [int(month) for month in rule.get("BYMONTH", [])[:_MAX_LIST]]
    if months:
        words.append("in " + ", ".join(_MONTHS[month - 1] for month in months if 1 <= month <= len(_MONTHS)))
    count, until = _one(rule, "COUNT", None), _one(rule, "UNTIL", None)
    if count is not None:
        words.append(f"{count} times")
    if isinstance(until, date):
        day = until.astimezone(UTC).date() if isinstance(until, datetime) and until.tzinfo else until
        words.append(f"until {say_day(day)}")
    return " ".join(words)


def _one(rule: Any, name: str, default: Any) -> Any:
    value = rule.get(name)
    return value[0] if isinstance(value, list) and value else (default if value is None or value == [] else value)


def _say_weekday(code: str) -> str:
    number, letters = code[:-2], code[-2:].upper()
    if letters not in _CODES:
        return code
    name = _DAYS[_CODES[letters]]
    if not number.lstrip("+-").isdigit():
        return name
    order = int(number)
    return f"the {_ORDINALS.get(order, str(order))} {name}"
