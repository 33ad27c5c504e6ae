"""The span of days in which recurring events become occurrences."""

from dataclasses import dataclass
from datetime import date, timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Days from `start` to `stop`, both included; `today` is where counting starts when there is too much."""

    start: date
    stop: date
    today: date

    @classmethod
    def exact(cls, today: date, *, past_days: int, future_days: int) -> "Window":
        """Return today and so many days around it."""
        return cls(start=today - timedelta(past_days), stop=today + timedelta(future_days), today=today)

    def whole_months(self) -> "Window":
        """Return the window rounded outward to months: one and the same on every day of a month.

        A run tomorrow then finds the fingerprints of today, and reads recurring events again once a month.
        """
        first, last = self.today.replace(day=1), _month_end(self.today)
        start = (first - (self.today - self.start)).replace(day=1)
        return Window(start=start, stop=_month_end(last + (self.stop - self.today)), today=first)

    @property
    def mark(self) -> str:
        """The window as a part of fingerprints."""
        return f"{self.start.isoformat()}/{self.stop.isoformat()}"

    def days(self) -> list[tuple[date, date]]:
        """Return the window's days one by one, the nearest to today first: for what happens many times a day."""
        number = (self.stop - self.start).days + 1
        spans = [(day, day) for day in (self.start + timedelta(n) for n in range(number))]
        return sorted(spans, key=lambda span: (abs((span[0] - self.today).days), span[0]))

    def months(self) -> list[tuple[date, date]]:
        """Return spans of at most a month that cover the window, the nearest to today first."""
        out: list[tuple[date, date]] = []
        start = self.start
        while start <= self.stop:
            end = min(self.stop, _month_end(start))
            out.append((start, end))
            start = end + timedelta(1)
        return sorted(out, key=lambda span: (abs((span[0] - self.today).days), span[0]))


def _month_end(day: date) -> date:
    return (day.replace(day=28) + timedelta(4)).replace(day=1) - timedelta(1)
