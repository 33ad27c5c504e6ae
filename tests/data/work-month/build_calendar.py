"""Write the calendars of the sample month: `sources/calendar/*.ics` with the line ends and folds of RFC 5545."""

from __future__ import annotations

from pathlib import Path

WIDTH = 75  # octets of a line, without its end


def build_calendars(sources: Path) -> dict[str, bytes]:
    """Return the files of `calendar/` by their names."""
    found = {}
    for path in sorted(sources.glob("*.ics")):
        lines = path.read_text(encoding="utf-8").splitlines()
        found[path.name] = b"".join(fold(line) + b"\r\n" for line in lines)
    return found


def fold(line: str) -> bytes:
    """Break after at most 75 octets, never inside a character."""
    rows, row = [], b""
    for character in line:
        raw = character.encode()
        if len(row) + len(raw) > WIDTH:
            rows.append(row)
            row = b" "
        row += raw
    return b"\r\n".join([*rows, row])
