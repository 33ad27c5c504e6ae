"""The directory of a knowledge base: who its documents' authors and participants are. Names are sealed.

Each batch adds what it brings. Nobody is taken out while the knowledge base stands: a text may still name them.
"""

import json
import threading
from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection

from hearth_api.wire.documents import NormalDocument
from hearth_knowledge import crypto
from hearth_knowledge.privacy.names import Directory, PersonRecord, merge_names
from hearth_knowledge.storage import schema
from hearth_knowledge.storage.database import Database
from hearth_knowledge.storage.registry import OpenKb


class DirectoryStore:
    """Reads and writes persons; keeps the last directory that was read of each knowledge base."""

    def __init__(self, database: Database, *, random: crypto.RandomBytes) -> None:
        self._database = database
        self._random = random
        self._lock = threading.Lock()
        self._read: dict[str, tuple[int, Directory]] = {}

    def take(self, connection: Connection, opened: OpenKb, document: NormalDocument) -> None:
        """Add a document's people in the batch's transaction."""
        wanted: dict[str, tuple[set[str], set[str]]] = {}
        for one in (*document.authors, *document.participants):
            names, addresses = wanted.setdefault(one.id, (set(), set()))
            names.update({one.name} if one.name else ())
            addresses.update({one.address} if one.address else ())
        if not wanted:
            return
        marks = {self._mark(opened, person): person for person in wanted}
        table = schema.people
        rows = connection.execute(
            sa.select(table).where(table.c.kb == opened.name, table.c.person.in_(sorted(marks)))
        ).all()
        held = {row.person: self._open(opened, row.person, row.sealed) for row in rows}
        for mark, person in marks.items():
            names, addresses = wanted[person]
            before = held.get(mark) or PersonRecord(id=person)
            after = PersonRecord(
                id=person,
                names=merge_names(before.names, sorted(names)),
                addresses=merge_names(before.addresses, sorted(addresses)),
            )
            if mark not in held or after != before:
                self._write(connection, opened, mark, after)

    def _write(self, connection: Connection, opened: OpenKb, mark: bytes, record: PersonRecord) -> None:
        table = schema.people
        body = json.dumps({"id": record.id, "names": record.names, "addresses": record.addresses}).encode()
        sealed = crypto.seal(opened.keys.privacy, body, place=_place(opened.name, mark), random=self._random)
        newest = sa.select(sa.func.coalesce(sa.func.max(table.c.changed), 0) + 1).where(table.c.kb == opened.name)
        number = connection.execute(newest).scalar_one()
        row = insert(table).values(kb=opened.name, person=mark, sealed=sealed, added=number, changed=number)
        connection.execute(
            row.on_conflict_do_update(
                index_elements=["kb", "person"], set_={"sealed": row.excluded.sealed, "changed": row.excluded.changed}
            )
        )

    def read(self, opened: OpenKb) -> Directory:
        """Return everybody, in the order in which they became known."""
        table = schema.people
        with self._lock, self._database.read() as connection:
            number = connection.execute(
                sa.select(sa.func.coalesce(sa.func.max(table.c.changed), 0)).where(table.c.kb == opened.name)
            ).scalar_one()
            known = self._read.get(opened.name)
            if known is not None and known[0] == number:
                return known[1]
            rows = connection.execute(
                sa.select(table.c.person, table.c.sealed).where(table.c.kb == opened.name).order_by(table.c.added)
            ).all()
            directory = build_directory(self._open(opened, row.person, row.sealed) for row in rows)
            self._read[opened.name] = (number, directory)
            return directory

    def _open(self, opened: OpenKb, mark: bytes, sealed: bytes) -> PersonRecord:
        body = json.loads(crypto.unseal(opened.keys.privacy, sealed, place=_place(opened.name, mark)))
        return PersonRecord(id=body["id"], names=tuple(body["names"]), addresses=tuple(body["addresses"]))

    def _mark(self, opened: OpenKb, person: str) -> bytes:
        return crypto.keyed_hash(opened.keys.privacy, "directory", person)


def build_directory(records: Iterable[PersonRecord]) -> Directory:
    """Return the directory of these persons."""
    directory = Directory()
    for record in records:
        directory.add(record)
    return directory


def _place(kb: str, mark: bytes) -> str:
    return f"kb|{kb}|person|{mark.hex()}"
