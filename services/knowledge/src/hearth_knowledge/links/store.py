"""Keyed hashes of what joins documents, one set per version: a deletion or an earlier day needs no other rows."""

from collections.abc import Callable, Iterable

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hearth_api.wire.documents import NormalDocument
from hearth_knowledge.crypto import keyed_hash
from hearth_knowledge.links.facts import Mark, read_marks, read_moments
from hearth_knowledge.storage import schema
from hearth_knowledge.storage.database import Database
from hearth_knowledge.storage.registry import OpenKb

MARK_BYTES = 16
NAMES = frozenset({"identity", "link"})


class LinkStore:
    """Writes marks and moments in the transaction that writes a version, and reads those of a moment."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, connection: Connection, opened: OpenKb, document: NormalDocument, version: int) -> None:
        """Note what joins a version to others. Noting it again changes nothing."""
        base = {"kb": opened.name, "document": document.id, "version": version}
        rows = [{**base, **_to_row(mark, opened)} for mark in read_marks(document)]
        connection.execute(schema.marks.insert().prefix_with("OR IGNORE"), rows)
        moments = [{**base, "starts": one.starts, "ends": one.ends, "day": one.day} for one in read_moments(document)]
        if moments:
            connection.execute(schema.moments.insert().prefix_with("OR IGNORE"), moments)

    def take_original(self, connection: Connection, opened: OpenKb, document: str, version: int, digest: bytes) -> None:
        """Note the digest of the bytes that a version was read from; equal files are joined by it."""
        table = schema.marks
        connection.execute(
            table.delete().where(
                table.c.kb == opened.name, table.c.document == document, table.c.version == version,
                table.c.scheme == "content",
            )
        )  # fmt: skip
        row = _to_row(Mark("identity", "", f"content:{digest.hex()}"), opened)
        connection.execute(
            table.insert().prefix_with("OR IGNORE").values(kb=opened.name, document=document, version=version, **row)
        )

    def catch_up(self, opened: OpenKb, *, read: Callable[[OpenKb, str, int], NormalDocument]) -> None:
        """Note what joins versions that were written before links were kept."""
        for document, version in self._unmarked(opened.name):
            body = read(opened, document, version)
            with self._database.write() as connection:
                self.take(connection, opened, body, version)

    def _unmarked(self, kb: str) -> list[tuple[str, int]]:
        """Return versions that were written before links were kept."""
        versions, marks = schema.versions, schema.marks
        query = sa.select(versions.c.document, versions.c.version).where(
            versions.c.kb == kb,
            versions.c.tombstone.is_(False),
            ~sa.exists().where(
                marks.c.kb == kb, marks.c.document == versions.c.document, marks.c.version == versions.c.version
            ),
        )
        with self._database.read() as connection:
            return [(row.document, row.version) for row in connection.execute(query)]


def mark_hash(mark: Mark, opened: OpenKb) -> bytes:
    """Return the keyed hash of a mark. Identities and links share one space, names and words another."""
    space = "link" if mark.side in NAMES else "link-word" if mark.side in {"name", "subject", "word"} else mark.side
    return keyed_hash(opened.keys.lookup, space, mark.value)[:MARK_BYTES]


def _to_row(mark: Mark, opened: OpenKb) -> dict[str, object]:
    scheme = mark.value.partition(":")[0] if mark.side in NAMES else ""
    return {"side": mark.side, "rel": mark.rel, "mark": mark_hash(mark, opened), "scheme": scheme}


def marks_of(connection: Connection, kb: str, document: str, *, moment: int) -> list[sa.Row[tuple[object, ...]]]:
    """Return the marks of the version that is valid at a moment."""
    table = schema.marks
    query = _valid(sa.select(table), table, kb=kb, moment=moment).where(table.c.document == document)
    return list(connection.execute(query))


def sharing(
    connection: Connection, kb: str, marks: Iterable[bytes], *, sides: Iterable[str], moment: int, limit: int
) -> list[sa.Row[tuple[object, ...]]]:
    """Return marks of other documents that are valid at a moment and equal one of these."""
    wanted = sorted(set(marks))[:500]
    if not wanted:
        return []
    table = schema.marks
    query = _valid(sa.select(table), table, kb=kb, moment=moment)
    query = query.where(table.c.mark.in_(wanted), table.c.side.in_(tuple(sides)))
    return list(connection.execute(query.order_by(table.c.document).limit(limit)))


def moments_of(connection: Connection, kb: str, document: str, *, moment: int) -> list[sa.Row[tuple[object, ...]]]:
    """Return when a document happened."""
    table = schema.moments
    query = _valid(sa.select(table), table, kb=kb, moment=moment).where(table.c.document == document)
    return list(connection.execute(query.order_by(table.c.starts)))


def happening(
    connection: Connection, kb: str, *, starts: int, ends: int, kinds: Iterable[str], moment: int, limit: int
) -> list[sa.Row[tuple[object, ...]]]:
    """Return moments of documents of some kinds that touch a span of time, nearest to its start first."""
    table, documents = schema.moments, schema.documents
    query = _valid(sa.select(table, documents.c.kind), table, kb=kb, moment=moment)
    query = query.join(documents, sa.and_(documents.c.kb == table.c.kb, documents.c.id == table.c.document))
    query = query.where(table.c.starts <= ends, table.c.ends >= starts, documents.c.kind.in_(tuple(kinds)))
    return list(connection.execute(query.order_by(sa.func.abs(table.c.starts - starts), table.c.document).limit(limit)))


def _valid(
    query: sa.Select[tuple[object, ...]], table: sa.Table, *, kb: str, moment: int
) -> sa.Select[tuple[object, ...]]:
    versions = schema.versions
    return query.join(
        versions,
        sa.and_(
            versions.c.kb == table.c.kb, versions.c.document == table.c.document, versions.c.version == table.c.version
        ),
    ).where(
        table.c.kb == kb,
        versions.c.tombstone.is_(False),
        versions.c.valid_from <= moment,
        versions.c.valid_to > moment,
    )
