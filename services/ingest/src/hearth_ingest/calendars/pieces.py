"""The bytes of a calendar to its components, each as its own lines: one broken event must not take the rest along."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from hearth_ingest.charset import decode_text
from hearth_ingest.errors import ItemError

EVENTS = frozenset(("VEVENT", "VTODO", "VJOURNAL"))
_OTHERS = frozenset(("VFREEBUSY", "VAVAILABILITY", "VPOLL"))
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")
_LINE_END = re.compile(rb"\r*\n|\r")
_FOLD = re.compile(rb"\n[ \t]")
_WIDE_FOLD = re.compile(r"\n[ \t]")
_PROPERTY = re.compile(r"([A-Za-z0-9-]+)((?:;(?:[^\":;]|\"[^\"]*\")*)*):(.*)", re.DOTALL)
_PARAMETER = re.compile(r";([A-Za-z0-9-]+)=((?:\"[^\"]*\"|[^\";])*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One content line, taken apart. Parameters' values are without quotes."""

    name: str
    parameters: dict[str, str]
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One component with the calendar's settings around it. `lines` are unfolded, BEGIN and END included."""

    name: str
    lines: tuple[str, ...]
    method: str = ""
    zone: str = ""
    """X-WR-TIMEZONE of its calendar."""
    zones: tuple[tuple[str, ...], ...] = ()
    """The VTIMEZONEs of its calendar."""
    broken: bool = False
    """True when its END is missing."""
    place: str = ""
    """Where it stands: a file or an address."""

    def first(self, name: str) -> Line | None:
        """Return the component's own first property of a name; those of alarms inside do not count."""
        return next((line for line in self.own() if line.name == name), None)

    def own(self) -> Iterator[Line]:
        """Yield the component's own properties."""
        depth = 0
        for text in self.lines[1:]:
            line = read_line(text)
            if line is None:
                continue
            if line.name == "BEGIN":
                depth += 1
            elif line.name == "END":
                depth -= 1
            elif depth == 0:
                yield line

    @property
    def uid(self) -> str:
        """The UID, or for one without it a name made of its content."""
        line = self.first("UID")
        value = line.value.strip() if line else ""
        if value:
            return value
        lines = [text for text in self.lines if not text.upper().startswith("DTSTAMP")]
        return "sha256-" + hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]

    @property
    def recurring(self) -> bool:
        """True when it stands for more than one occurrence."""
        return any(line.name in {"RRULE", "RDATE"} for line in self.own())


def read_line(text: str) -> Line | None:
    """Return a content line taken apart, or None for what is none."""
    match = _PROPERTY.match(text)
    if match is None:
        return None
    parameters = {name.upper(): value.strip().strip('"') for name, value in _PARAMETER.findall(match[2])}
    return Line(name=match[1].upper(), parameters=parameters, value=match[3])


def read_lines(data: bytes) -> list[str]:
    """Return unfolded lines whatever the line ends are. Bytes are joined first: folds may split a character."""
    if data.startswith(_WIDE_MARKS):
        return _WIDE_FOLD.sub("", decode_text(data).text).split("\n")
    joined = _FOLD.sub(b"", _LINE_END.sub(b"\n", data))
    return decode_text(joined, "utf-8").text.split("\n")


def read_pieces(data: bytes, *, place: str) -> list[Piece]:
    """Return the components of all calendars in the bytes. Raises ItemError when they hold no calendar at all."""
    reader = _Reader(place)
    for line in read_lines(data):
        reader.take(line.strip("\ufeff") if not reader.seen else line)
    reader.finish()
    if not reader.seen and data.strip(b"\0 \t\r\n\xef\xbb\xbf"):
        raise ItemError("calendar-unparseable", "it holds no BEGIN:VCALENDAR")
    return reader.pieces


class _Reader:
    """Collects components while lines go by."""

    def __init__(self, place: str) -> None:
        self.pieces: list[Piece] = []
        self.seen = False
        self._place = place
        self._calendar: list[Piece] = []
        self._zones: list[tuple[str, ...]] = []
        self._settings: dict[str, str] = {}
        self._open: list[str] = []
        self._stack: list[str] = []

    def take(self, text: str) -> None:
        """Look at one line."""
        word, _, rest = text.partition(":")
        verb, value = word.strip().upper(), rest.strip().upper()
        if verb == "BEGIN" and value == "VCALENDAR":
            self._end_component(broken=True)
            self._end_calendar()
            self.seen = True
        elif verb == "END" and value == "VCALENDAR":
            self._end_component(broken=True)
            self._end_calendar()
        elif self._stack:
            self._take_inside(text, verb, value)
        elif verb == "BEGIN":
            self._begin(value)
            self.seen = self.seen or value in EVENTS
        elif line := read_line(text):
            self._settings.setdefault(line.name, line.value.strip())

    def _take_inside(self, text: str, verb: str, value: str) -> None:
        if verb == "BEGIN":
            if value in EVENTS:
                # Its predecessor was never ended.
                self._end_component(broken=True)
                self._begin(value)
                return
            self._stack.append(value)
            self._open.append(f"BEGIN:{value}")
        elif verb == "END" and value in self._stack:
            while self._stack:
                name = self._stack.pop()
                self._open.append(f"END:{name}")
                if name == value:
                    break
            if not self._stack:
                self._end_component(broken=False)
        elif text.strip() and verb != "END":
            self._open.append(text)

    def _begin(self, name: str) -> None:
        self._stack, self._open = [name], [f"BEGIN:{name}"]

    def _end_component(self, *, broken: bool) -> None:
        if not self._open:
            return
        self._open.extend(f"END:{name}" for name in reversed(self._stack))
        name, lines = self._open[0].partition(":")[2], tuple(self._open)
        self._stack, self._open = [], []
        if name == "VTIMEZONE":
            self._zones.append(lines)
        elif name in EVENTS or name in _OTHERS:
            self._calendar.append(Piece(name=name, lines=lines, broken=broken, place=self._place))

    def _end_calendar(self) -> None:
        settings, zones = self._settings, tuple(self._zones)
        method, zone = settings.get("METHOD", "").upper(), settings.get("X-WR-TIMEZONE", "")
        self.pieces.extend(replace(piece, method=method, zone=zone, zones=zones) for piece in self._calendar)
        self._calendar, self._zones, self._settings = [], [], {}

    def finish(self) -> None:
        """Take what was open at the end."""
        self._end_component(broken=True)
        self._end_calendar()
