"""Cursors: how far each source was read. Opaque and sealed; moved by compare-and-swap."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hearth_knowledge import crypto
from hearth_knowledge.errors import ConflictError
from hearth_knowledge.storage import names, schema
from hearth_knowledge.storage.database import Database
from hearth_knowledge.storage.registry import OpenKb, Registry


class CursorStore:
    """One cursor per source of a knowledge base."""

    def __init__(self, database: Database, *, registry: Registry, random: crypto.RandomBytes) -> None:
        self._database = database
        self._registry = registry
        self._random = random

    def read(self, kb: str, source: str) -> str | None:
        """Return a source's cursor, None before the first."""
        opened = self._registry.open(kb)
        with self._database.read() as connection:
            return self._read(connection, opened, source)

    def swap(self, kb: str, source: str, *, value: str | None, previous: str | None) -> None:
        """Set a cursor if it still is `previous`. ConflictError otherwise."""
        table = schema.cursors
        with self._database.write() as connection:
            opened = self._registry.open(kb, connection=connection)
            if self._read(connection, opened, source) != previous:
                raise ConflictError("the cursor was moved by another run")
            connection.execute(table.delete().where(table.c.kb == kb, table.c.source == source))
            if value is not None:
                place = names.cursor(kb, source)
                sealed = crypto.seal(opened.keys.meta, value.encode(), place=place, random=self._random)
                connection.execute(table.insert().values(kb=kb, source=source, value=sealed))

    def _read(self, connection: Connection, opened: OpenKb, source: str) -> str | None:
        table = schema.cursors
        sealed = connection.execute(
            sa.select(table.c.value).where(table.c.kb == opened.name, table.c.source == source)
        ).scalar()
        if sealed is None:
            return None
        return crypto.unseal(opened.keys.meta, sealed, place=names.cursor(opened.name, source)).decode()
