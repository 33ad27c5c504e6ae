"""A pytest plugin for the tests of recurring-ical-events: what they expect of the library is expected of a run, too.

Each calendar that their fixture hands out remembers its bytes; whatever a query of it returns to a test that then
passes must be among the occurrences that the ingestion finds. Counts and differences go to $CALENDAR_EXPECTED as JSON.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from recurring_ical_events.query import CalendarQuery

from support import calendar_compare

KINDS = frozenset(("VEVENT", "VTODO", "VJOURNAL"))
WIDE = timedelta(40)
_asked: dict[int, bytes] = {}
_now: list[tuple[bytes, list[calendar_compare.Row]]] = []
_seen: dict[str, int] = {}
_missing: list[str] = []


@lru_cache(maxsize=4000)
def _ours(data: bytes, month: date) -> frozenset[calendar_compare.Row]:
    return frozenset(calendar_compare.ours(data, month - WIDE, month + WIDE))


def _listen(name: str) -> None:
    original: Callable[..., Any] = getattr(CalendarQuery, name)

    def method(self: CalendarQuery, *arguments: Any, **options: Any) -> Any:
        found = original(self, *arguments, **options)
        data = _asked.get(id(self))
        if isinstance(found, list) and data is not None:
            # At once: a test may change what it was given.
            _now.append((data, [_row(part, data) for part in found if getattr(part, "name", "") in KINDS]))
        return found

    setattr(CalendarQuery, name, method)


for _name in ("between", "at"):
    _listen(_name)


@pytest.fixture(autouse=True)
def _remember(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Note which bytes a query was made of."""
    conftest = next(m for m in list(sys.modules.values()) if hasattr(m, "ICSCalendars") and hasattr(m, "Calendars"))
    kept: list[Any] = []
    for kind in (conftest.Calendars, conftest.ReversedCalendars):
        original = kind.get_calendar

        def get(self: Any, content: bytes, original: Callable[..., Any] = original) -> Any:
            query = original(self, content)
            kept.append(query)
            _asked[id(query)] = content
            return query

        monkeypatch.setattr(kind, "get_calendar", get)
    _now.clear()
    yield
    _asked.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Compare after a test that passed."""
    yield
    test = f"{Path(str(item.path)).stem}::{item.name.partition('[')[0]}"
    for data, rows in _now:
        for row in rows:
            start = datetime.fromtimestamp(row[2], UTC)
            _seen[test] = _seen.get(test, 0) + 1
            if row not in _ours(data, start.date().replace(day=15)):
                _missing.append(f"{test}: {row[0]} {row[1]!r} {start.isoformat()}")


def _row(part: Any, data: bytes) -> calendar_compare.Row:
    zone = calendar_compare.zone_of_calendar(data)
    return calendar_compare.row_of(part, zone)[0]


def pytest_sessionfinish() -> None:
    """Write what was seen."""
    result = {"seen": _seen, "missing": sorted(set(_missing))}
    Path(os.environ["CALENDAR_EXPECTED"]).write_text(json.dumps(result, indent=1))
