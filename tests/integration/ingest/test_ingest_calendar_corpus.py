"""Calendars that icalendar and recurring-ical-events bring along: all are read, or listed here with a reason."""

from datetime import date
from pathlib import Path

import icalendar

from hearth_api.wire.ingest import CalendarSettings
from hearth_ingest.calendars.source import CalendarSource, make_frame
from hearth_ingest.context import build_context
from support.calendar_compare import DIFFERENT, FOLDER, WINDOWS, ours, theirs

TESTS = Path(icalendar.__file__).parent / "tests"
FILES = sorted(TESTS.rglob("*.ics"))
REFUSED = {
    "alarms/example.ics": "a VALARM alone: it belongs to no event",
    "alarms/rfc_5545_absolute_alarm_example.ics": "a VALARM alone",
    "alarms/rfc_5545_end.ics": "a VALARM alone",
    "alarms/start_date.ics": "a VALARM alone",
    "availabilities/rfc_7953_1.ics": "a VAVAILABILITY alone: hours of work, no event",
    "availabilities/rfc_7953_2.ics": "a VAVAILABILITY alone",
    "calendars/fuzz_testcase_0_char_in_component_name.ics": "eight bytes: BEGIN of a component named NUL",
    "calendars/fuzz_testcase_invalid_month.ics": "a component named V that is never ended",
    "calendars/fuzz_testcase_vtimezone_lone_cr.ics": "a VTIMEZONE alone",
    "calendars/issue_178_component_with_invalid_name_represented.ics": "an empty component of an unknown name",
    "calendars/issue_178_custom_component_contains_other.ics": "an event inside a component of an unknown name",
    "freebusy/example.ics": "a VFREEBUSY alone: spans without titles, no event",
    "timezones/issue_237_brazilia_standard.ics": "a VTIMEZONE alone",
    "timezones/issue_53_tzid_parsed_properly.ics": "a VTIMEZONE alone",
    "timezones/issue_55_parse_error_on_utc_offset_with_seconds.ics": "a VTIMEZONE alone",
    "timezones/pacific_fiji.ics": "a VTIMEZONE alone",
}


def test_every_file_of_the_package_is_read_or_listed_with_a_reason() -> None:
    assert len(FILES) > 100
    frame = make_frame(CalendarSettings(), today=date(2026, 11, 1), whole_months=False)
    refused: list[str] = []
    for path in FILES:
        source = CalendarSource((path,), context=build_context("s", kind="calendar"), frame=frame)
        listing = source.observe()
        if listing.refusals:
            refused.append(path.relative_to(TESTS).as_posix())
            assert b"BEGIN:VCALENDAR" not in path.read_bytes().upper()
        for item in listing.items:
            document = source.parse(item)[-1].document
            assert document.segments
            assert "recurrence-broken" not in {warning.code for warning in document.warnings}
    assert refused == sorted(REFUSED)


def test_occurrences_are_those_of_the_library_around_a_change_of_the_clocks() -> None:
    files = sorted(FOLDER.glob("*.ics"))
    assert len(files) >= 95
    low, high = WINDOWS[-1]
    different = [
        path.name for path in files if ours(path.read_bytes(), low, high) != theirs(path.read_bytes(), low, high)
    ]
    assert set(different) <= DIFFERENT.keys()
