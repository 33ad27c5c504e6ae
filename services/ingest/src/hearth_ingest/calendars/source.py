"""Calendar files and folders of them as a source."""

import hashlib
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hearth_api.wire.ingest import CalendarSettings
from hearth_ingest.calendars.build import Frame, build_event
from hearth_ingest.calendars.merging import Series, merge
from hearth_ingest.calendars.pieces import EVENTS, Piece, read_pieces
from hearth_ingest.calendars.window import Window
from hearth_ingest.context import ParseContext
from hearth_ingest.errors import ItemError, RefusedError, SourceError
from hearth_ingest.files import Found, check_root, printable, walk
from hearth_ingest.item import Item, Listing, Parsed, Refusal

_ENDINGS = (".ics", ".ical", ".icalendar", ".ifb", ".vcs")


def make_frame(settings: CalendarSettings, *, today: date, whole_months: bool) -> Frame:
    """Return the window and zone of a run. Raises SourceError for a zone that does not exist."""
    zone = _zone(settings)
    try:
        window = Window.exact(today, past_days=settings.past_days, future_days=settings.future_days)
    except OverflowError as error:
        raise SourceError(f"no calendar reaches so far from {today}") from error
    return Frame(window=window.whole_months() if whole_months else window, zone=zone)


def today_of(settings: CalendarSettings, now: datetime) -> date:
    """Return the day that it is in the settings' zone. Raises SourceError for a zone that does not exist."""
    return now.astimezone(_zone(settings)).date()


def _zone(settings: CalendarSettings) -> ZoneInfo:
    try:
        return ZoneInfo(settings.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise SourceError(f"{settings.time_zone!r} is no time zone: use a name such as Europe/Berlin") from error


class CalendarSource:
    """Events below the given roots, or in the given files: one item for each UID, whatever files it stands in."""

    def __init__(
        self,
        roots: tuple[Path, ...],
        *,
        context: ParseContext,
        frame: Frame,
        include: tuple[str, ...] = (),
        exclude: tuple[str, ...] = (),
    ) -> None:
        self._roots = roots
        self._context = context
        self._frame = frame
        self._include = include
        self._exclude = exclude
        self._series: dict[str, Series] = {}

    def observe(self) -> Listing:
        """Read all files and put together what belongs to one event. Raises SourceError."""
        pieces: list[Piece] = []
        refusals: list[Refusal] = []
        skipped: list[Refusal] = []
        complete = True
        for root in self._roots:
            check_root(root)
            for found in walk(root, include=self._include, exclude=self._exclude):
                if isinstance(found, Refusal):
                    refusals.append(found)
                    complete = complete and found.quarantined
                    continue
                uri = f"file:{printable(found.name)}"
                if not found.single and not found.name.lower().endswith(_ENDINGS):
                    skipped.append(Refusal(uri=uri, code="no-parser", detail="not a calendar"))
                    continue
                try:
                    pieces.extend(self._read(found, uri))
                except ItemError as error:
                    # Its events are not gone, they cannot be seen.
                    complete = False
                    quarantined = isinstance(error, RefusedError)
                    refusals.append(Refusal(uri=uri, code=error.code, detail=error.detail, quarantined=quarantined))
        skipped.extend(account_for(pieces))
        self._series = {f"uid:{uid}": series for uid, series in merge(pieces).items()}
        items = tuple(self._item(key, series) for key, series in self._series.items())
        return Listing(items=items, refusals=tuple(refusals), skipped=tuple(skipped), complete=complete)

    def _read(self, found: Found, uri: str) -> list[Piece]:
        limit = self._context.limits.item_bytes
        if found.size > limit:
            raise RefusedError("too-large", f"{found.size} bytes, {limit} allowed")
        try:
            data = found.path.read_bytes()
        except OSError as error:
            raise ItemError("file-unreadable", error.strerror or "cannot be read") from error
        return read_pieces(data, place=uri)

    def _item(self, key: str, series: Series) -> Item:
        place = hashlib.sha256(series.pieces[0].place.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        # The place, too: a document names the file that it stands in.
        fingerprint = f"{series.digest};at:{place};zone:{self._frame.zone.key}"
        if series.recurring:
            fingerprint += f";window:{self._frame.window.mark}"
        size = sum(len(line) for piece in series.pieces for line in piece.lines)
        return Item(key=key, fingerprint=fingerprint, uri=series.pieces[0].place, size=size)

    def parse(self, item: Item) -> list[Parsed]:
        """Return the document of one event. Raises ItemError."""
        return build_event(self._series[item.key], item=item, frame=self._frame, context=self._context)

    def use(self, context: ParseContext) -> None:
        """Take another context for what is parsed from now on."""
        self._context = context

    def owner(self, key: str) -> str:
        """Return the key: nothing hangs on an event."""
        return key


def account_for(pieces: list[Piece]) -> list[Refusal]:
    """Return a line for each component that becomes no document."""
    return [
        Refusal(uri=f"{piece.place}#{piece.name.lower()}", code="no-parser", detail=f"{piece.name} holds no event")
        for piece in pieces
        if piece.name not in EVENTS
    ]
