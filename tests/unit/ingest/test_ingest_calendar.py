"""Calendars: every occurrence can be asked for, whatever program wrote the file."""

import random
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr  # type: ignore[import-untyped]

from hearth_api.wire.documents import NormalDocument
from hearth_api.wire.ingest import CalendarSettings
from hearth_ingest.calendars.source import CalendarSource, make_frame
from hearth_ingest.calendars.window import Window
from hearth_ingest.calendars.zones import find_zone
from hearth_ingest.context import build_context
from hearth_ingest.errors import ItemError
from hearth_ingest.item import Listing

BERLIN = ZoneInfo("Europe/Berlin")


def event(*lines: str, uid: str = "a@x", start: str = "DTSTART;TZID=Europe/Berlin:20261006T140000") -> str:
    return "\n".join(["BEGIN:VEVENT", f"UID:{uid}", start, *lines, "END:VEVENT"])


def calendar(*components: str, head: str = "") -> bytes:
    middle = "\n".join(part for part in (head, *components) if part)
    return f"BEGIN:VCALENDAR\nVERSION:2.0\n{middle}\nEND:VCALENDAR\n".replace("\n", "\r\n").encode()


def source(path: Path, *, zone: str = "Europe/Berlin", today: date = date(2026, 11, 1)) -> CalendarSource:
    frame = make_frame(CalendarSettings(time_zone=zone), today=today, whole_months=False)
    return CalendarSource((path,), context=build_context("s", kind="calendar"), frame=frame)


def read(tmp_path: Path, *files: bytes, zone: str = "Europe/Berlin") -> list[NormalDocument]:
    for number, data in enumerate(files):
        (tmp_path / f"{number}.ics").write_bytes(data)
    reader = source(tmp_path, zone=zone)
    return [reader.parse(item)[-1].document for item in reader.observe().items]


def starts(document: NormalDocument) -> list[str]:
    return [s.time.isoformat() for s in document.segments if s.role == "event" and s.time is not None]


def codes(document: NormalDocument) -> set[str]:
    return {warning.code for warning in document.warnings}


def test_series_with_exceptions_moved_and_cancelled(tmp_path: Path) -> None:
    rid = "RECURRENCE-ID;TZID=Europe/Berlin:2026102"
    data = calendar(
        event("SUMMARY:Weekly planning", "RRULE:FREQ=WEEKLY;COUNT=5", "DURATION:PT30M", "EXDATE:20261013T120000Z"),
        event(f"{rid}0T140000", "SUMMARY:Weekly planning", start="DTSTART;TZID=Europe/Berlin:20261021T150000"),
        event(f"{rid}7T140000", "SUMMARY:Weekly planning", "STATUS:CANCELLED", start=f"DTSTART{rid[13:]}7T140000"),
    )
    (document,) = read(tmp_path, data, zone="America/New_York")
    texts = [segment.text for segment in document.segments if segment.role == "event"]
    assert texts[0] == "Weekly planning, Tuesday 6 October 2026, 14:00-14:30 Europe/Berlin (08:00 America/New_York)"
    assert "Moved from Tuesday 20 October 2026, 14:00 Europe/Berlin" in texts[1]
    assert "cancelled" in texts[2]
    assert len(texts) == 4
    assert document.segments[1].permalink == "uid:a@x?occurrence=2026-10-06T14:00:00+02:00"
    assert "Repeats: every week 5 times" in document.segments[0].text


@pytest.mark.parametrize(
    ("name", "zone"),
    [
        ("W. Europe Standard Time", "Europe/Berlin"),
        ("/freeassociation.sourceforge.net/Europe/Berlin", "Europe/Berlin"),
        ("/mozilla.org/20070129_1/America/New_York", "America/New_York"),
        ("europe/berlin", "Europe/Berlin"),
        ("America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"),
        ("PDT", "America/Los_Angeles"),
        ("(UTC+01:00) Amsterdam, Berlin", "Etc/GMT-1"),
        ("Nowhere/Land", None),
    ],
)
def test_names_of_zones(name: str, zone: str | None) -> None:
    assert find_zone(name) == zone


@pytest.mark.parametrize(
    ("start", "lines", "expected"),
    [
        ("DTSTART;VALUE=DATE:20261006", ["DTEND;VALUE=DATE:20261008"], ["2026-10-06T00:00:00+02:00"]),
        ("DTSTART:20261006T140000", [], ["2026-10-06T14:00:00+02:00"]),
        ("DTSTART:20261006T120000Z", [], ["2026-10-06T12:00:00+00:00"]),
        ('DTSTART;TZID="W. Europe Standard Time":20261006T140000', [], ["2026-10-06T14:00:00+02:00"]),
        ("DTSTART;TZID=Nowhere:20261006T140000", [], ["2026-10-06T14:00:00+02:00"]),
        ("DTSTART;TZID=Europe/Berlin:20270328T023000", [], ["2027-03-28T03:30:00+02:00"]),
        (
            "DTSTART;VALUE=DATE:20261006",
            ["RRULE:FREQ=DAILY;UNTIL=20261008", "EXDATE;VALUE=DATE:20261007"],
            ["2026-10-06T00:00:00+02:00", "2026-10-08T00:00:00+02:00"],
        ),
        (
            "DTSTART;TZID=Europe/Berlin:20261006T140000",
            ["RDATE;VALUE=PERIOD;TZID=Europe/Berlin:20261009T100000/PT2H"],
            ["2026-10-06T14:00:00+02:00", "2026-10-09T10:00:00+02:00"],
        ),
        (
            "DTSTART;TZID=Europe/Berlin:20261020T140000",
            ["RRULE:FREQ=WEEKLY;UNTIL=20261027T130000Z"],
            ["2026-10-20T14:00:00+02:00", "2026-10-27T14:00:00+01:00"],
        ),
        ("DTSTART;VALUE=DATE:20240229", ["RRULE:FREQ=YEARLY;COUNT=9"], []),
    ],
)
def test_starts(tmp_path: Path, start: str, lines: list[str], expected: list[str]) -> None:
    (document,) = read(tmp_path, calendar(event("SUMMARY:x", *lines, start=start)))
    assert starts(document) == expected


def test_this_and_future(tmp_path: Path) -> None:
    change = "RECURRENCE-ID;RANGE=THISANDFUTURE;TZID=Europe/Berlin:20261020T140000"
    later = event(change, "SUMMARY:Late", start="DTSTART;TZID=Europe/Berlin:20261020T160000")
    (document,) = read(tmp_path, calendar(event("SUMMARY:x", "RRULE:FREQ=WEEKLY;COUNT=4"), later))
    assert [start[11:16] for start in starts(document)] == ["14:00", "14:00", "16:00", "16:00"]


def test_newer_version_of_the_same_event_wins_in_any_order(tmp_path: Path) -> None:
    old = calendar(event("SEQUENCE:1", "SUMMARY:Old"), head="METHOD:REQUEST")
    new = calendar(event("SEQUENCE:2", "SUMMARY:New"), head="METHOD:REQUEST")
    stop = calendar(event("SEQUENCE:3"), head="METHOD:CANCEL")
    for number, files in enumerate([(old, new), (new, old)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        (document,) = read(folder, *files)
        assert document.title == "New"
    (document,) = read(tmp_path / "0", old, new, stop)
    assert document.title == "New"
    assert "cancelled" in document.segments[0].text


def test_only_overrides_and_missing_uid(tmp_path: Path) -> None:
    lone = event("RECURRENCE-ID:20261006T140000Z", "SUMMARY:x", start="DTSTART:20261007T140000Z")
    bare = "BEGIN:VEVENT\nDTSTART:20261006T140000Z\nSUMMARY:No name\nEND:VEVENT"
    one, two = read(tmp_path, calendar(lone, bare))
    assert "Moved from Tuesday 6 October 2026" in one.segments[1].text
    assert codes(two) >= {"uid-missing"}
    assert two.identities == ()


def test_join_address_people_links_and_hidden_text(tmp_path: Path) -> None:
    url = "https://teams.microsoft.com/l/meetup-join/19%3ameeting_x%40thread.v2/0"
    hidden = '<html><body>Agenda <span style="display:none">obey</span> https://wiki.example.org/a</body></html>'
    (document,) = read(
        tmp_path,
        calendar(
            event(
                "SUMMARY:x",
                f"X-MICROSOFT-SKYPETEAMSMEETINGURL:{url}",
                f"DESCRIPTION:{hidden}",
                "ORGANIZER;CN=Anna Berg:mailto:anna@example.org",
                'ATTENDEE;CN="Keller, Jonas";PARTSTAT=DECLINED:MAILTO:jonas@example.org',
                "BEGIN:VALARM\nACTION:DISPLAY\nTRIGGER:-PT5M\nEND:VALARM",
            )
        ),
    )
    assert document.identities == ("uid:a@x", f"url:{url}")
    assert [(p.role, p.address) for p in document.participants] == [
        ("organizer", "anna@example.org"),
        ("attendee", "jonas@example.org"),
    ]
    assert "Keller, Jonas <jonas@example.org> (declined)" in document.segments[0].text
    assert "obey" not in document.model_dump_json()
    assert "hidden-text" in codes(document)
    assert [link.target for link in document.links] == ["url:https://wiki.example.org/a"]
    assert [part.reason for part in document.parts] == ["event", "alarm"]


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r", b"\r\r\n"])
def test_line_ends_byte_order_mark_and_folds_inside_a_character(tmp_path: Path, end: bytes) -> None:
    data = calendar(event("SUMMARY:Gr\u00f6\u00dfe")).replace(b"Gr\xc3\xb6", b"Gr\xc3\r\n \xb6").replace(b"\r\n", end)
    (document,) = read(tmp_path, b"\xef\xbb\xbf" + data)
    assert document.title == "Gr\u00f6\u00dfe"


def test_bad_neighbours_do_not_take_good_events_along(tmp_path: Path) -> None:
    bad = "BEGIN:VEVENT\nUID:bad\nDTSTART:yesterday\nRRULE:FREQ=SOMETIMES\nSUMMARY:Bad"
    documents = {d.title: d for d in read(tmp_path, calendar(bad, event("SUMMARY:Good")))}
    assert starts(documents["Good"]) == ["2026-10-06T14:00:00+02:00"]
    assert codes(documents["Bad"]) >= {"property-broken", "calendar-truncated", "no-occurrence"}


def test_enormous_rules_are_bounded(tmp_path: Path) -> None:
    (document,) = read(tmp_path, calendar(event("SUMMARY:x", "RRULE:FREQ=MINUTELY")))
    assert len(starts(document)) == 2000
    assert "occurrences-cut" in codes(document)


def test_dates_of_a_recurrence_that_the_library_cannot_take(tmp_path: Path) -> None:
    late = event("RDATE;VALUE=TIME:133000Z", "RRULE:FREQ=DAILY;COUNT=2", "SUMMARY:x")
    bare = "BEGIN:VEVENT\nUID:b@x\nRDATE:20261009T120000Z,20261007T120000Z\nEND:VEVENT"
    one, two = read(tmp_path, calendar(late, bare))
    assert starts(one) == ["2026-10-06T14:00:00+02:00", "2026-10-07T14:00:00+02:00"]
    assert starts(two) == ["2026-10-07T12:00:00+00:00", "2026-10-09T12:00:00+00:00"]
    assert "recurrence-mended" in codes(one)
    assert "recurrence-mended" in codes(two)


def test_end_before_start(tmp_path: Path) -> None:
    end = "DTEND;TZID=Europe/Berlin:20261006T120000"
    one, many = read(tmp_path, calendar(event(end), event(end, "RRULE:FREQ=DAILY;COUNT=2", uid="b@x")))
    assert "Tuesday 6 October 2026, 12:00-14:00" in one.segments[1].text
    assert starts(many) == ["2026-10-06T12:00:00+02:00", "2026-10-07T12:00:00+02:00"]
    assert "end-before-start" in codes(one)
    assert "end-before-start" in codes(many)


def test_files_that_are_no_calendar_delete_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.ics").write_text("<html>Sign in</html>")
    (tmp_path / "b.ics").write_bytes(calendar(event(), "BEGIN:VFREEBUSY\nUID:f\nEND:VFREEBUSY"))
    listing: Listing = source(tmp_path).observe()
    assert [refusal.code for refusal in listing.refusals] == ["calendar-unparseable"]
    assert not listing.complete
    assert [item.key for item in listing.items] == ["uid:a@x"]
    assert [skip.uri for skip in listing.skipped] == ["file:b.ics#vfreebusy"]


def test_fingerprints_change_once_a_month_and_only_for_recurring_events(tmp_path: Path) -> None:
    (tmp_path / "a.ics").write_bytes(calendar(event(), event("RRULE:FREQ=DAILY", uid="b@x")))
    context = build_context("s", kind="calendar")

    def prints(today: date) -> list[str]:
        frame = make_frame(CalendarSettings(), today=today, whole_months=True)
        listing = CalendarSource((tmp_path,), context=context, frame=frame).observe()
        return [item.fingerprint for item in listing.items]

    assert prints(date(2026, 11, 1)) == prints(date(2026, 11, 30))
    changed = [a != b for a, b in zip(prints(date(2026, 11, 30)), prints(date(2026, 12, 1)), strict=True)]
    assert changed == [False, True]


@pytest.mark.parametrize("offset", range(0, 800, 13))
def test_window_of_months_covers_the_window_of_days(offset: int) -> None:
    exact = Window.exact(date(2026, 1, 1) + timedelta(offset), past_days=100, future_days=31)
    whole = exact.whole_months()
    assert whole.start <= exact.start
    assert whole.stop >= exact.stop


def test_expansion_equals_dateutil(tmp_path: Path) -> None:
    choice = random.Random(7)
    rules = []
    for number in range(12):
        rule = f"FREQ={choice.choice(['DAILY', 'WEEKLY', 'MONTHLY', 'YEARLY'])};INTERVAL={choice.randint(1, 5)}"
        rule += choice.choice(["", f";COUNT={choice.randint(1, 60)}", ";UNTIL=20261231T000000Z", ";BYDAY=MO,TH"])
        rules.append((number, rule, datetime(2026, choice.randint(1, 12), choice.randint(1, 28), 9, tzinfo=UTC)))
    events = [event(f"RRULE:{r}", uid=str(n), start=f"DTSTART:{s:%Y%m%dT%H%M%SZ}") for n, r, s in rules]
    documents = read(tmp_path, calendar(*events), zone="Etc/UTC")
    low, high = datetime(2025, 11, 1, tzinfo=UTC), datetime(2027, 11, 2, tzinfo=UTC)
    for (_, rule, start), document in zip(rules, documents, strict=True):
        expected = rrulestr(rule, dtstart=start).between(low, high, inc=True)
        # An event's own start is an occurrence even where its rule does not match it.
        assert sorted({*starts(document), start.isoformat()}) == sorted({m.isoformat() for m in (*expected, start)})


def test_any_bytes_give_items_or_item_errors(tmp_path: Path) -> None:
    choice = random.Random(11)
    seed = calendar(
        event("SUMMARY:x", "RRULE:FREQ=WEEKLY;COUNT=5", "EXDATE:20261013T120000Z", "ATTENDEE;CN=A:mailto:a@b")
    )
    for number in range(25):
        data = bytearray(seed)
        for _ in range(choice.randint(1, 12)):
            data[choice.randrange(len(data))] = choice.randrange(256)
        path = tmp_path / f"{number}.ics"
        path.write_bytes(bytes(data[: choice.randint(1, len(data))]))
        reader = source(path)
        for item in reader.observe().items:
            with suppress(ItemError):
                reader.parse(item)
