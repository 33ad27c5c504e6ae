"""The calendars that the icalendar package brings along for its own tests: all are read, or listed here with a reason."""

from datetime import date
from pathlib import Path

import icalendar
import recurring_ical_events

from hearth_api.wire.ingest import CalendarSettings
from hearth_ingest.calendars.source import CalendarSource, make_frame
from hearth_ingest.context import build_context

FOLDER = Path(icalendar.__file__).parent / "tests"
FILES = sorted(FOLDER.rglob("*.ics"))
NO_CALENDAR = "a single component or property without a VCALENDAR or an event"
REFUSED = {
    "alarms/example.ics": NO_CALENDAR,
    "alarms/rfc_5545_absolute_alarm_example.ics": NO_CALENDAR,
    "alarms/rfc_5545_end.ics": NO_CALENDAR,
    "alarms/start_date.ics": NO_CALENDAR,
    "availabilities/rfc_7953_1.ics": NO_CALENDAR,
    "availabilities/rfc_7953_2.ics": NO_CALENDAR,
    "calendars/fuzz_testcase_0_char_in_component_name.ics": NO_CALENDAR,
    "calendars/fuzz_testcase_invalid_month.ics": NO_CALENDAR,
    "calendars/fuzz_testcase_vtimezone_lone_cr.ics": NO_CALENDAR,
    "calendars/issue_178_component_with_invalid_name_represented.ics": NO_CALENDAR,
    "calendars/issue_178_custom_component_contains_other.ics": NO_CALENDAR,
    "freebusy/example.ics": NO_CALENDAR,
    "timezones/issue_237_brazilia_standard.ics": NO_CALENDAR,
    "timezones/issue_53_tzid_parsed_properly.ics": NO_CALENDAR,
    "timezones/issue_55_parse_error_on_utc_offset_with_seconds.ics": NO_CALENDAR,
    "timezones/pacific_fiji.ics": NO_CALENDAR,
}


def test_every_file_of_the_package_is_read_or_listed_with_a_reason() -> None:
    frame = make_frame(CalendarSettings(), today=date(2026, 11, 1), whole_months=False)
    refused: dict[str, str] = {}
    for path in FILES:
        source = CalendarSource((path,), context=build_context("s", kind="calendar"), frame=frame)
        listing = source.observe()
        for refusal in listing.refusals:
            refused[path.relative_to(FOLDER).as_posix()] = refusal.code
        for item in listing.items:
            assert source.parse(item)[-1].document.segments
    assert sorted(refused) == sorted(REFUSED)


def test_the_package_still_brings_its_files() -> None:
    assert len(FILES) > 100


def test_every_calendar_of_the_expanding_package_is_read() -> None:
    folder = Path(recurring_ical_events.__file__).parent / "test" / "calendars"
    frame = make_frame(CalendarSettings(), today=date(2019, 12, 1), whole_months=False)
    source = CalendarSource((folder,), context=build_context("s", kind="calendar"), frame=frame)
    listing = source.observe()
    assert listing.refusals == ()
    assert len(listing.items) > 100
    for item in listing.items:
        assert source.parse(item)[-1].document.segments
