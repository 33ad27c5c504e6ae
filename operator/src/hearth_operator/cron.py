"""When a CronJob's schedule comes next, by the rules of the library that Kubernetes itself uses.

That is robfig/cron v3: a local time that a change of clocks leaves out is left out, one that it repeats comes twice;
day of month and day of week are joined by "or" unless one of them is `*`. Other cron libraries differ in both.
`tests/data/cron` holds what the original answers. Left aside are its errors: on the day of a change of clocks by half
an hour, or at midnight, it can miss a run or hang.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_YEARS = timedelta(days=5 * 366)
_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = {
    name: n
    for n, name in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], start=1
    )
}
_DAYS = {name: n for n, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}


class ScheduleError(ValueError):
    """A schedule or a time zone that has no sense; the text names the part."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    least: int
    most: int
    names: Mapping[str, int]


_FIELDS = (
    _Field("minute", 0, 59, {}),
    _Field("hour", 0, 23, {}),
    _Field("day of month", 1, 31, {}),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 6, _DAYS),
)


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule in its time zone."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool
    """Day of month or day of week suffices: both are restricted."""
    zone: ZoneInfo

    def after(self, moment: datetime) -> datetime | None:
        """Return the first time after `moment` (aware), in UTC, or None if there is none within five years."""
        time = moment.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        end = time + _YEARS
        while time < end:
            local = time.astimezone(self.zone)
            if local.month not in self.months or not self._has_day(local):
                following = (local + timedelta(days=1)).replace(hour=0, minute=0, fold=0)
                # Midnight may come an hour earlier than the wall clock says on the day that clocks go back.
                time = max(following.astimezone(UTC), time + timedelta(minutes=1))
            elif local.hour not in self.hours:
                time += timedelta(minutes=60 - local.minute)
            elif local.minute not in self.minutes:
                time += timedelta(minutes=1)
            else:
                return time
        return None

    def _has_day(self, local: datetime) -> bool:
        month, week = local.day in self.days, local.isoweekday() % 7 in self.weekdays
        return (month or week) if self.either else (month and week)


@lru_cache(maxsize=1024)
def parse_schedule(text: str, zone: str) -> Schedule:
    """Read a cron expression of five fields or a macro. Raises ScheduleError."""
    words = _MACROS.get(text, text).split()
    if len(words) != len(_FIELDS):
        raise ScheduleError(f"schedule {text!r} has not five fields")
    sets = [_read_field(word, field) for word, field in zip(words, _FIELDS, strict=True)]
    try:
        place = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ScheduleError(f"timeZone {zone!r} is not known") from error
    (minutes, _), (hours, _), (days, any_day), (months, _), (weekdays, any_weekday) = sets
    return Schedule(minutes, hours, days, months, weekdays, either=not (any_day or any_weekday), zone=place)


def _read_field(text: str, field: _Field) -> tuple[frozenset[int], bool]:
    """Return a field's values, and whether it was left open with a star."""
    parts = [_read_part(part, field) for part in text.split(",") if part]
    if not parts:
        raise ScheduleError(f"schedule: {field.name} is empty")
    return frozenset(value for values, _ in parts for value in values), any(star for _, star in parts)


def _read_part(text: str, field: _Field) -> tuple[range, bool]:
    span, *steps = text.split("/")
    ends = span.split("-")
    star = ends[0] in {"*", "?"}
    if len(steps) > 1 or (len(ends) > 2 and not star):
        raise ScheduleError(f"schedule: {field.name} {text!r} cannot be read")
    step = _number(steps[0], _PLAIN) if steps else 1
    if star:
        first, last = field.least, field.most
    else:
        first = _number(ends[0], field)
        last = _number(ends[1], field) if len(ends) == 2 else field.most if steps else first
    if first < field.least or last > field.most or first > last or step < 1:
        raise ScheduleError(f"schedule: {field.name} {text!r} is not within {field.least}-{field.most}")
    return range(first, last + 1, step), star and step == 1


_PLAIN = _Field("step", 1, 0, {})


def _number(text: str, field: _Field) -> int:
    value = field.names.get(text.lower())
    if value is not None:
        return value
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ScheduleError(f"schedule: {field.name} {text!r} is not a number")
    return int(text)
