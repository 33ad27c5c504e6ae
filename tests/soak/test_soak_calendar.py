"""Long comparisons of calendars: rules against dateutil, and broken bytes. HEARTH_SOAK_SECONDS bounds the whole."""

import os
import random
import time
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path

from dateutil.rrule import rrulestr  # type: ignore[import-untyped]

from hearth_api.wire.ingest import CalendarSettings
from hearth_ingest.calendars.source import CalendarSource, make_frame
from hearth_ingest.context import build_context
from hearth_ingest.errors import ItemError
from support.calendar_compare import FOLDER

SECONDS = float(os.environ.get("HEARTH_SOAK_SECONDS", "600"))
SEED = int(os.environ.get("HEARTH_SOAK_SEED", "0")) or random.SystemRandom().getrandbits(40)
FRAME = make_frame(CalendarSettings(time_zone="Etc/UTC"), today=date(2026, 11, 1), whole_months=False)


def _source(path: Path) -> CalendarSource:
    return CalendarSource((path,), context=build_context("s", kind="calendar"), frame=FRAME)


def _rule(choice: random.Random) -> str:
    rule = f"FREQ={choice.choice(['DAILY', 'WEEKLY', 'MONTHLY', 'YEARLY'])};INTERVAL={choice.randint(1, 5)}"
    rule += choice.choice(["", f";COUNT={choice.randint(1, 60)}", ";UNTIL=20261231T000000Z"])
    return rule + choice.choice(["", "", ";BYDAY=MO,TH", ";BYMONTH=2,10", ";BYMONTHDAY=1,-1", ";WKST=SU"])


def test_expansion_equals_dateutil(tmp_path: Path) -> None:
    choice, end, number = random.Random(f"{SEED}-rules"), time.monotonic() + SECONDS / 2, 0
    low, high = datetime(2025, 11, 1, tzinfo=UTC), datetime(2027, 11, 2, tzinfo=UTC)
    path = tmp_path / "a.ics"
    while time.monotonic() < end:
        number += 1
        rule, start = _rule(choice), datetime(2026, choice.randint(1, 12), choice.randint(1, 28), 9, tzinfo=UTC)
        body = f"BEGIN:VEVENT\r\nUID:a\r\nDTSTART:{start:%Y%m%dT%H%M%SZ}\r\nRRULE:{rule}\r\nEND:VEVENT\r\n"
        path.write_text(f"BEGIN:VCALENDAR\r\n{body}END:VCALENDAR\r\n")
        source = _source(path)
        document = source.parse(source.observe().items[0])[-1].document
        found = {s.time for s in document.segments if s.role == "event"}
        # An event's own start is an occurrence even where its rule does not match it.
        expected = {*rrulestr(rule, dtstart=start).between(low, high, inc=True), start}
        assert {*found, start} == expected, (SEED, number, rule, start)
    print(f"\nrules: seed {SEED}, {number}")


def test_broken_bytes_give_items_or_item_errors(tmp_path: Path) -> None:
    choice, end, number = random.Random(f"{SEED}-bytes"), time.monotonic() + SECONDS / 2, 0
    seeds = [path.read_bytes() for path in sorted(FOLDER.glob("*.ics"))]
    seeds = [data for data in seeds if len(data) < 20_000]
    path = tmp_path / "a.ics"
    while time.monotonic() < end:
        number += 1
        data = bytearray(choice.choice(seeds))
        for _ in range(choice.randint(1, 12)):
            data[choice.randrange(len(data))] = choice.randrange(256)
        path.write_bytes(bytes(data[: choice.randint(1, len(data))]))
        source = _source(path)
        for item in source.observe().items:
            with suppress(ItemError):
                source.parse(item)
    print(f"\nbytes: seed {SEED}, {number}")
