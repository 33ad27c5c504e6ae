"""Erasing everything of one source: rows in every collection, files, versions, its cursor. Bounded in time, resumable.

First, in one transaction with the entry in the audit, every version becomes a deletion: from then on nothing of it is a
result or can be read, however long the rest takes. Then vectors, files and rows go, some documents at a time. A kill
anywhere leaves documents of the source, and the next call takes up there.
"""

import time
from collections.abc import Callable, Sequence

import sqlalchemy as sa
import structlog

from hearth_api.wire.knowledge import ErasedSource
from hearth_knowledge.errors import NotFoundError
from hearth_knowledge.index import ledger
from hearth_knowledge.index.indexer import Indexer
from hearth_knowledge.index.stores import Stores
from hearth_knowledge.privacy.audit import AuditLog
from hearth_knowledge.storage import schema
from hearth_knowledge.storage.blobs import BlobStore
from hearth_knowledge.storage.database import Database
from hearth_knowledge.storage.documents import DocumentStore, Row
from hearth_knowledge.storage.queue import JobQueue
from hearth_knowledge.storage.registry import OpenKb, Registry

BATCH = 100
SECONDS = 20.0
_BY_DOCUMENT = (schema.jobs, schema.quarantined, schema.releases, schema.stale, schema.marks, schema.moments)

log = structlog.get_logger()


class Eraser:
    """Blocking calls; run them off the event loop."""

    def __init__(
        self,
        database: Database,
        *,
        registry: Registry,
        documents: DocumentStore,
        queue: JobQueue,
        indexer: Indexer,
        blobs: BlobStore,
        stores: Stores,
        audit: AuditLog,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._registry = registry
        self._documents = documents
        self._queue = queue
        self._indexer = indexer
        self._blobs = blobs
        self._stores = stores
        self._audit = audit
        self._monotonic = monotonic

    def erase(self, kb: str, source: str, *, actor: str) -> ErasedSource:
        """Erase for some seconds. A knowledge base that is not there holds nothing. StoreUnavailableError."""
        try:
            opened = self._registry.open(kb)
        except NotFoundError:
            return ErasedSource(erased=0, left=0)
        end = self._monotonic() + SECONDS
        self._hide(opened, source, actor=actor)
        erased = 0
        while rows := self._some(kb, source):
            with self._indexer.exclusive:
                if not erased:
                    self._delete_vectors(kb, source)
                self._erase(self._registry.open(kb), rows)
            erased += len(rows)
            if self._monotonic() > end:
                break
        left = self._count(kb, source)
        if not left:
            self._delete_cursor(kb, source)
        if erased:
            self._database.truncate_log()
            log.info("source is erased", kb=kb, source=source, documents=erased, left=left)
        return ErasedSource(erased=erased, left=left)

    def _hide(self, opened: OpenKb, source: str, *, actor: str) -> None:
        documents, versions = schema.documents, schema.versions
        mine = sa.and_(documents.c.kb == opened.name, documents.c.source == source)
        with self._database.write() as connection:
            hidden = connection.execute(
                versions.update()
                .where(
                    versions.c.kb == opened.name,
                    versions.c.tombstone.is_(False),
                    versions.c.document.in_(sa.select(documents.c.id).where(mine)),
                )
                .values(tombstone=True)
            ).rowcount
            connection.execute(documents.update().where(mine).values(deleted=True))
            if hidden:
                self._audit.append(
                    connection,
                    opened,
                    act="erase-source",
                    actor=actor,
                    document=f"source:{source}",
                    version=0,
                    reason=f"the source was deleted with deletionPolicy Delete: {hidden} versions",
                )

    def _some(self, kb: str, source: str) -> Sequence[Row]:
        table = schema.documents
        query = sa.select(table).where(table.c.kb == kb, table.c.source == source).order_by(table.c.id).limit(BATCH)
        with self._database.read() as connection:
            return connection.execute(query).all()

    def _count(self, kb: str, source: str) -> int:
        table = schema.documents
        query = sa.select(sa.func.count()).select_from(table).where(table.c.kb == kb, table.c.source == source)
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def _delete_vectors(self, kb: str, source: str) -> None:
        """Remove the source's rows from all collections at once: one call each instead of one per version."""
        for item in self._registry.open(kb).collections:
            store = self._stores.get(item.config.store)
            store.ensure_collection(item.name, dimensions=item.config.embedding.dimensions)
            store.delete_source(item.name, source)
            store.flush(item.name)

    def _erase(self, opened: OpenKb, rows: Sequence[Row]) -> None:
        """Remove files, then rows: documents whose files are gone are found again by the next call."""
        kb, ids = opened.name, [row.id for row in rows]
        versions = schema.versions
        with self._database.read() as connection:
            held = connection.execute(
                sa.select(versions.c.document, versions.c.version).where(
                    versions.c.kb == kb, versions.c.document.in_(ids)
                )
            ).all()
        for document, version in held:
            for what in ("body", "original"):
                self._blobs.remove(kb, document, f"{version}.{what}")
        with self._database.write() as connection:
            replies = connection.execute(
                sa.select(versions.c.document).where(
                    versions.c.kb == kb, versions.c.parent.in_(ids), versions.c.document.not_in(ids)
                )
            ).scalars()
            # What they quote is indexed with them again, once the quoted mail is not there.
            self._queue.enqueue(connection, kb, set(replies))
            for row in rows:
                self._forget(connection, opened, row)
            for table in _BY_DOCUMENT:
                connection.execute(table.delete().where(table.c.kb == kb, table.c.document.in_(ids)))
            connection.execute(versions.delete().where(versions.c.kb == kb, versions.c.document.in_(ids)))
            documents = schema.documents
            connection.execute(documents.delete().where(documents.c.kb == kb, documents.c.id.in_(ids)))

    def _forget(self, connection: sa.Connection, opened: OpenKb, row: Row) -> None:
        key = self._documents.document_key(opened, row)
        for item in opened.collections:
            for entry in ledger.list_indexed(connection, opened.name, item.name, row.id):
                ledger.forget(connection, opened, item.name, row.id, entry.version, key=key)

    def _delete_cursor(self, kb: str, source: str) -> None:
        table = schema.cursors
        with self._database.write() as connection:
            connection.execute(table.delete().where(table.c.kb == kb, table.c.source == source))
