"""Segments that are withheld, and which of them somebody released."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection

from hearth_api.wire.documents import NormalDocument, Segment
from hearth_knowledge import crypto
from hearth_knowledge.errors import InvalidRequestError
from hearth_knowledge.storage import schema
from hearth_knowledge.storage.database import Database
from hearth_knowledge.storage.registry import OpenKb


@dataclass(frozen=True, slots=True)
class Withheld:
    """One withheld segment; its text stays with its document."""

    document: str
    version: int
    segment: int
    reason: str
    recorded: int


class QuarantineStore:
    """The list of withheld segments of present versions. Texts are known by keyed hashes only."""

    def __init__(self, database: Database, *, now: Callable[[], int]) -> None:
        self._database = database
        self._now = now

    def take(self, connection: Connection, opened: OpenKb, document: NormalDocument, version: int) -> None:
        """Note what a new version withholds, in place of what the one before did."""
        self.forget(connection, opened.name, document.id)
        rows = [
            {
                "kb": opened.name, "document": document.id, "version": version, "segment": number,
                "reason": segment.quarantine[:64], "recorded": self._now(), "mark": _mark(opened, document.id, segment),
            }
            for number, segment in enumerate(document.segments)
            if segment.quarantine
        ]  # fmt: skip
        if rows:
            connection.execute(schema.quarantined.insert(), rows)

    def forget(self, connection: Connection, kb: str, document: str) -> None:
        """Take a document off the list: it was deleted or has a new version."""
        table = schema.quarantined
        connection.execute(table.delete().where(table.c.kb == kb, table.c.document == document))

    def count(self, connection: Connection, kb: str) -> int:
        """Return how many segments are withheld now."""
        query = sa.select(sa.func.count()).select_from(schema.quarantined).where(*_open_rows(kb))
        return int(connection.execute(query).scalar_one())

    def page(self, kb: str, *, after: str | None, limit: int) -> tuple[list[Withheld], str | None]:
        """Return withheld segments, newest first, and the cursor of the next page. InvalidRequestError."""
        table = schema.quarantined
        query = sa.select(
            table.c.document, table.c.version, table.c.segment, table.c.reason, table.c.recorded
        ).where(*_open_rows(kb))  # fmt: skip
        if after is not None:
            recorded, document, segment = _parse_cursor(after)
            query = query.where(
                sa.tuple_(-table.c.recorded, table.c.document, table.c.segment)
                > sa.tuple_(-recorded, document, segment)
            )
        query = query.order_by(table.c.recorded.desc(), table.c.document, table.c.segment).limit(limit + 1)
        with self._database.read() as connection:
            rows = [Withheld(*row) for row in connection.execute(query)]
        more = len(rows) > limit
        last = rows[limit - 1] if more else None
        return rows[:limit], f"{last.recorded}.{last.document}.{last.segment}" if last else None

    def released(self, opened: OpenKb, document: NormalDocument) -> Callable[[Segment], bool]:
        """Return whether a segment of a document was released, in any version."""
        if not any(segment.quarantine for segment in document.segments):
            return lambda _segment: False
        table = schema.releases
        with self._database.read() as connection:
            query = sa.select(table.c.mark).where(table.c.kb == opened.name, table.c.document == document.id)
            marks = set(connection.execute(query).scalars())
        return lambda segment: _mark(opened, document.id, segment) in marks

    def release(
        self, connection: Connection, opened: OpenKb, document: NormalDocument, numbers: Sequence[int] | None
    ) -> int:
        """Release segments by number (None: all that are withheld) and return how many. InvalidRequestError."""
        withheld = [number for number, segment in enumerate(document.segments) if segment.quarantine]
        for number in numbers or ():
            if number not in withheld:
                raise InvalidRequestError("segments", f"{number} is not withheld")
        table = schema.releases
        count = 0
        for number in withheld if numbers is None else sorted(set(numbers)):
            mark = _mark(opened, document.id, document.segments[number])
            row = insert(table).values(kb=opened.name, document=document.id, mark=mark)
            count += connection.execute(row.on_conflict_do_nothing()).rowcount
        return count


def _mark(opened: OpenKb, document: str, segment: Segment) -> bytes:
    return crypto.keyed_hash(opened.keys.privacy, "release", document, segment.text)


def _open_rows(kb: str) -> tuple[sa.ColumnElement[bool], ...]:
    table, releases = schema.quarantined, schema.releases
    done = sa.exists().where(
        releases.c.kb == table.c.kb, releases.c.document == table.c.document, releases.c.mark == table.c.mark
    )
    return table.c.kb == kb, ~done


def _parse_cursor(text: str) -> tuple[int, str, int]:
    parts = text.split(".")
    if len(parts) != 3 or not (parts[0] + parts[2]).isascii() or not (parts[0].isdigit() and parts[2].isdigit()):
        raise InvalidRequestError("after", "is not a cursor of this list")
    if len(parts[0]) > 18 or len(parts[2]) > 9:
        raise InvalidRequestError("after", "is not a cursor of this list")
    return int(parts[0]), parts[1], int(parts[2])
