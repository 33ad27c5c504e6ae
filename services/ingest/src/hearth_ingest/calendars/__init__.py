"""Calendars: iCalendar files and CalDAV accounts."""
