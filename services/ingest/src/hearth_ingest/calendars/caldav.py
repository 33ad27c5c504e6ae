"""Calendars of a CalDAV account as a source. It is only read; objects that the knowledge base holds are not fetched."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from hearth_api.wire.documents import ManifestLine
from hearth_ingest.calendars.build import Frame, build_event
from hearth_ingest.calendars.dav import DavClient, DavError
from hearth_ingest.calendars.discovery import Calendar, discover, fetch_object, list_objects, multiget
from hearth_ingest.calendars.merging import Series, merge
from hearth_ingest.calendars.pieces import EVENTS, Piece, read_pieces
from hearth_ingest.context import ParseContext
from hearth_ingest.errors import ItemError, RefusedError
from hearth_ingest.files import matches
from hearth_ingest.item import Item, Listing, Parsed, Refusal

_BATCH = 50
_MARK = "dav:"
Globs = tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One object at the server. `token` names this version of it."""

    path: str
    token: str


def make_token(path: str, etag: str) -> str:
    """Return a short name for one version of one object."""
    return hashlib.sha256(f"{path}\0{etag}".encode()).hexdigest()[:24]


def read_tokens(fingerprint: str) -> tuple[str, ...]:
    """Return the tokens that a fingerprint holds."""
    head = fingerprint.partition(";")[0]
    return tuple(head.removeprefix(_MARK).split(",")) if head.startswith(_MARK) else ()


class CalDavSource:
    """The events of an account: one item for each UID. `globs` are (include, exclude) of calendar names."""

    def __init__(self, client: DavClient, *, context: ParseContext, frame: Frame, globs: Globs = ()) -> None:
        self._client = client
        self._context = context
        self._frame = frame
        self._globs = globs
        self._keys: dict[str, list[str]] = {}
        self._held: set[str] = set()
        self._objects: dict[str, list[Stored]] = {}
        self._pieces: dict[str, list[Piece]] = {}
        self._wanted: dict[str, Stored] = {}

    def remember(self, manifest: Iterable[ManifestLine]) -> None:
        """Take what the knowledge base holds: an object of a known version tells its UID without being fetched."""
        self._keys.clear()
        for line in manifest:
            self._held.add(line.fingerprint)
            for token in read_tokens(line.fingerprint):
                self._keys.setdefault(token, []).append(line.key)

    def observe(self) -> Listing:
        """List all calendars and fetch the objects that are new or changed. Raises SourceError."""
        refusals: list[Refusal] = []
        skipped: list[Refusal] = []
        complete = True
        found: list[Stored] = []
        calendars = [calendar for calendar in discover(self._client) if self._is_wanted(calendar)]
        for calendar in calendars:
            try:
                listed = list_objects(self._client, calendar)
            except DavError as error:
                if error.status == 401 or len(calendars) == 1:
                    raise
                complete = False
                uri = f"caldav:{calendar.path}"
                refusals.append(Refusal(uri=uri, code="calendar-unreadable", detail=error.sentence, quarantined=False))
                continue
            found.extend(Stored(path=path, token=make_token(path, etag)) for path, etag in listed)
        self._objects = {}
        for stored in found:
            for key in self._keys.get(stored.token, ()):
                self._objects.setdefault(key, []).append(stored)
        news = [stored for stored in found if stored.token not in self._keys]
        for stored, problem in self._fetch(news):
            complete = False
            quarantined = isinstance(problem, RefusedError)
            uri = f"caldav:{stored.path}"
            refusals.append(Refusal(uri=uri, code=problem.code, detail=problem.detail, quarantined=quarantined))
        for stored in news:
            for piece in self._pieces.get(stored.token, ()):
                if piece.name not in EVENTS:
                    detail = f"{piece.name} holds no event"
                    skipped.append(Refusal(uri=f"caldav:{stored.path}", code="no-parser", detail=detail))
                elif stored not in (objects := self._objects.setdefault(f"uid:{piece.uid}", [])):
                    objects.append(stored)
        items = tuple(self._item(key, objects) for key, objects in self._objects.items())
        self._wanted = {
            stored.token: stored
            for item in items
            if item.fingerprint not in self._held
            for stored in self._objects[item.key]
        }
        return Listing(items=items, refusals=tuple(refusals), skipped=tuple(skipped), complete=complete)

    def _is_wanted(self, calendar: Calendar) -> bool:
        names = dict.fromkeys((calendar.name, calendar.path.rstrip("/").rpartition("/")[2]))
        return all(
            (not include or any(matches(name, include=include, exclude=()) for name in names))
            and all(matches(name, include=(), exclude=exclude) for name in names)
            for include, exclude in self._globs
        )

    def _item(self, key: str, objects: list[Stored]) -> Item:
        tokens = ",".join(sorted(stored.token for stored in objects))
        # Whether an object recurs is not known before it is fetched: all are looked at again once a month.
        fingerprint = f"{_MARK}{tokens};zone:{self._frame.zone.key};window:{self._frame.window.mark}"
        lines = (line for stored in objects for piece in self._pieces.get(stored.token, ()) for line in piece.lines)
        return Item(
            key=key,
            fingerprint=fingerprint,
            uri=f"https://{self._client.place}{objects[0].path}",
            size=sum(len(line) for line in lines),
        )

    def _fetch(self, objects: list[Stored]) -> list[tuple[Stored, ItemError]]:
        """Fetch objects in batches and keep their pieces; return those that cannot be read."""
        problems: list[tuple[Stored, ItemError]] = []
        limit = self._context.limits.item_bytes
        for start in range(0, len(objects), _BATCH):
            batch = objects[start : start + _BATCH]
            bodies = multiget(self._client, [stored.path for stored in batch], limit=limit)
            for stored in batch:
                try:
                    data = bodies.get(stored.path)
                    if data is None:
                        data = fetch_object(self._client, stored.path, limit=limit)
                    self._pieces[stored.token] = read_pieces(data, place=f"caldav:{stored.path}")
                except ItemError as error:
                    problems.append((stored, error))
        return problems

    def parse(self, item: Item) -> list[Parsed]:
        """Return the document of one event. Raises ItemError, and SourceError when the server is gone."""
        objects = self._objects[item.key]
        missing = [stored for stored in objects if stored.token not in self._pieces]
        if missing:
            ahead = [s for s in self._wanted.values() if s.token not in self._pieces and s not in missing]
            for stored, problem in self._fetch(missing + ahead[: max(0, _BATCH - len(missing))]):
                if stored in missing:
                    raise problem
        pieces = [piece for stored in objects for piece in self._pieces.get(stored.token, ())]
        series: Series | None = merge(pieces).get(item.key.removeprefix("uid:"))
        if series is None:
            raise ItemError("calendar-changed", "the event was changed while it was read")
        built = build_event(series, item=item, frame=self._frame, context=self._context)
        for stored in objects:
            # Each is asked for once; a second time it is fetched again.
            self._wanted.pop(stored.token, None)
            self._pieces.pop(stored.token, None)
        return built

    def use(self, context: ParseContext) -> None:
        """Take another context for what is parsed from now on."""
        self._context = context

    def owner(self, key: str) -> str:
        """Return the key: nothing hangs on an event."""
        return key

    def close(self) -> None:
        """End the connection."""
        self._client.close()
