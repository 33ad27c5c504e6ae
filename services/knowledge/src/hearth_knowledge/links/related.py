"""What belongs to a document: its conversation; its meeting with invitation, chat, notes and files."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hearth_api.wire.documents import Kind, NormalDocument, Segment
from hearth_api.wire.knowledge import Related
from hearth_knowledge.errors import NotFoundError
from hearth_knowledge.links import store
from hearth_knowledge.links.meetings import find_around, find_meetings
from hearth_knowledge.privacy.filter import PrivacyFilter
from hearth_knowledge.storage import schema
from hearth_knowledge.storage.database import Database
from hearth_knowledge.storage.names import to_millis
from hearth_knowledge.storage.registry import OpenKb, Registry

MAX_THREAD = 10
MAX_MEETING = 12
MAX_ROWS = 200
BEGINNING = 280
REASONS = {
    "uid": "iCalendar UID",
    "mid": "Message-ID",
    "url": "address",
    "chat": "chat message",
    "doc": "link of the document",
    "content": "same file",
}
STRENGTH = ("uid", "doc", "mid", "chat", "url", "content")
Rel = Literal["thread", "meeting", "invitation", "chat", "notes", "file", "reply", "same-event"]


@dataclass(frozen=True, slots=True)
class Bond:
    """Another document and what joins it. `rels` are the links' own words."""

    document: str
    scheme: str
    rels: frozenset[str]
    reason: str


class RelatedFinder:
    """Finds what belongs to a document, in one knowledge base, as of a moment. Blocking."""

    def __init__(
        self, database: Database, *, registry: Registry, privacy: PrivacyFilter, now: Callable[[], int]
    ) -> None:
        self._database = database
        self._registry = registry
        self._privacy = privacy
        self._now = now

    def find(
        self, kb: str, document: str, *, expand: Sequence[str] = ("meeting", "thread"), as_of: int | None = None
    ) -> tuple[Related, ...]:
        """Return what belongs to a document, each once, the strongest reason first. NotFoundError."""
        opened = self._registry.open(kb)
        moment = self._now() if as_of is None else as_of
        with self._database.read() as connection:
            start = _kinds(connection, kb, [document])
            if document not in start or not store.marks_of(connection, kb, document, moment=moment):
                raise NotFoundError("document", document)
            near = _center(connection, kb, document, moment=moment)
            found: dict[str, tuple[Rel, str]] = {}
            if "meeting" in expand:
                found |= self._meeting(connection, kb, document, moment=moment)
            if "thread" in expand:
                for other, fact in _thread(connection, kb, document, moment=moment, near=near).items():
                    found.setdefault(other, fact)
        shown = (self._show(opened, other, fact, moment=moment, near=near) for other, fact in found.items())
        return tuple(one for one in shown if one is not None)

    def _meeting(self, connection: Connection, kb: str, document: str, *, moment: int) -> dict[str, tuple[Rel, str]]:
        direct = bonds(connection, kb, [document], moment=moment)
        kinds = _kinds(connection, kb, [document, *(one.document for one in direct)])
        meetings = {document: ""} if kinds[document] is Kind.CALENDAR else {}
        strong = {one.document: one.reason for one in direct if kinds.get(one.document) is Kind.CALENDAR}
        meetings |= {key: reason for key, reason in strong.items() if key not in meetings}
        if not meetings:
            meetings = find_meetings(connection, kb, document, moment=moment)
        group = list(direct)
        if meetings:
            group += bonds(connection, kb, list(meetings), moment=moment)
        around = find_around(connection, kb, meetings, moment=moment)
        # Through the group's own members: the invitation's attachments, the chat's files.
        members = sorted({one.document for one in group if one.scheme == "uid"} | set(around))[:MAX_MEETING]
        files = [
            one
            for one in (bonds(connection, kb, members, moment=moment) if members else [])
            if one.rels & {"attachment", "file", "content"}
        ]
        kinds |= _kinds(connection, kb, [*meetings, *around, *(one.document for one in (*group, *files))])
        found: dict[str, tuple[Rel, str]] = {}
        for key, reason in meetings.items():
            rel: Rel = "same-event" if kinds[document] is Kind.CALENDAR else "meeting"
            found[key] = (rel, reason)
        for bond in sorted(group, key=lambda one: (STRENGTH.index(one.scheme), one.document)):
            found.setdefault(bond.document, (_name(bond, kinds[bond.document], kinds[document]), bond.reason))
        for key, reason in around.items():
            found.setdefault(key, ("chat" if kinds[key] is Kind.TEAMS else "notes", reason))
        for bond in sorted(files, key=lambda one: one.document):
            found.setdefault(bond.document, ("file", bond.reason))
        found.pop(document, None)
        return dict(list(found.items())[:MAX_MEETING])

    def _show(
        self, opened: OpenKb, document: str, fact: tuple[Rel, str], *, moment: int, near: int | None
    ) -> Related | None:
        try:
            _, shown = self._privacy.read(opened.name, document, as_of=moment)
        except NotFoundError:
            return None
        segment = _choose(shown, near=near)
        said = (segment.time if segment is not None else None) or shown.created or shown.modified
        return Related(
            document=document,
            rel=fact[0],
            reason=fact[1],
            title=shown.title,
            kind=shown.kind,
            source=shown.source,
            time=said,
            permalink=(segment.permalink if segment is not None else None) or shown.permalink,
            text=segment.text[:BEGINNING] if segment is not None else "",
        )


def bonds(connection: Connection, kb: str, documents: Sequence[str], *, moment: int) -> list[Bond]:
    """Return documents that name one of these, that these name, or that name the same meeting as these."""
    own = [row for one in documents for row in store.marks_of(connection, kb, one, moment=moment)]
    named = {row.mark: row for row in own if row.side in store.NAMES}
    others = store.sharing(connection, kb, named, sides=store.NAMES, moment=moment, limit=MAX_ROWS)
    gathered: dict[tuple[str, str], set[str]] = {}
    for row in others:
        mine = {one.rel for one in own if one.mark == row.mark and one.side == "link"}
        both_links = row.side == "link" and all(one.side == "link" for one in own if one.mark == row.mark)
        # Two documents that mention one place are strangers, unless the place is a meeting.
        if row.document in documents or (both_links and not (row.rel == "meeting" and "meeting" in mine)):
            continue
        rels = ({row.rel} if row.side == "link" else set()) | mine
        if row.scheme == "content":
            rels.add("content")
        gathered.setdefault((row.document, row.scheme), set()).update(rels)
    best: dict[str, Bond] = {}
    for (document, scheme), rels in sorted(gathered.items(), key=lambda item: STRENGTH.index(item[0][1])):
        best.setdefault(document, Bond(document, scheme, frozenset(rels), REASONS[scheme]))
    return list(best.values())


def _thread(
    connection: Connection, kb: str, document: str, *, moment: int, near: int | None
) -> dict[str, tuple[Rel, str]]:
    marks = [row.mark for row in store.marks_of(connection, kb, document, moment=moment) if row.side == "thread"]
    rows = store.sharing(connection, kb, marks, sides=("thread",), moment=moment, limit=MAX_ROWS * 5)
    found: dict[str, tuple[Rel, str]] = {row.document: ("thread", "conversation") for row in rows}
    for bond in bonds(connection, kb, [document], moment=moment):
        if bond.rels & {"reply", "quote"}:
            found.setdefault(bond.document, ("reply", bond.reason))
    found.pop(document, None)
    times = {one: _center(connection, kb, one, moment=moment) for one in found}
    here = near if near is not None else 0
    nearest = sorted(found, key=lambda one: (abs((times[one] or 0) - here), one))[:MAX_THREAD]
    return {one: found[one] for one in sorted(nearest, key=lambda one: (times[one] or 0, one))}


def _name(bond: Bond, kind: Kind, start: Kind) -> Rel:
    """Say what a bound document is, by its kind."""
    if bond.rels & {"reply", "quote"} and "meeting" not in bond.rels:
        return "reply"
    if bond.rels & {"attachment", "file", "content"} and "meeting" not in bond.rels:
        return "file"
    if kind is Kind.CALENDAR:
        return "same-event" if start is Kind.CALENDAR else "meeting"
    return {Kind.EMAIL: "invitation", Kind.TEAMS: "chat"}.get(kind, "notes")  # type: ignore[return-value]


def _kinds(connection: Connection, kb: str, documents: Iterable[str]) -> dict[str, Kind]:
    table = schema.documents
    query = sa.select(table.c.id, table.c.kind).where(table.c.kb == kb, table.c.id.in_(sorted(set(documents))))
    return {row.id: Kind(row.kind) for row in connection.execute(query)}


def _center(connection: Connection, kb: str, document: str, *, moment: int) -> int | None:
    rows = store.moments_of(connection, kb, document, moment=moment)
    return rows[0].starts if rows else None


def _choose(document: NormalDocument, *, near: int | None) -> Segment | None:
    """Return the segment to show: of an event the occurrence nearest in time, else the first own text."""
    shown = [one for one in document.segments if one.text and one.role not in {"quoted", "signature"}]
    timed = [one for one in shown if one.time is not None]
    if document.kind is Kind.CALENDAR and timed and near is not None:
        here = datetime.fromtimestamp(near / 1000, tz=UTC)
        return min(timed, key=lambda one: abs(to_millis(one.time or here) - near))
    return next(iter(shown), None)
