"""Brings documents from the queue into the index. Killed anywhere, a rerun ends in the same index."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from hearth_api.wire.documents import NormalDocument
from hearth_api.wire.keys import Priority
from hearth_knowledge import crypto
from hearth_knowledge.index import ledger
from hearth_knowledge.index.ledger import IndexedVersion
from hearth_knowledge.index.planning import IndexPlan, plan_document
from hearth_knowledge.index.rows import Prepared, build_rows, prepare
from hearth_knowledge.index.stores import Stores
from hearth_knowledge.ports import Embedder, VectorStore, parse_row_id, row_id
from hearth_knowledge.storage import schema
from hearth_knowledge.storage.database import Database
from hearth_knowledge.storage.documents import DocumentStore
from hearth_knowledge.storage.queue import REBUILDING, Job, JobQueue
from hearth_knowledge.storage.registry import OpenKb, alias_name, is_collection_of

EMBED_TEXTS = 32


@dataclass(frozen=True, slots=True)
class Work:
    """One document's plan with everything it needs but vectors."""

    job: Job
    plan: IndexPlan
    prepared: tuple[Prepared, ...]
    key: bytes


class Indexer:
    """Applies jobs of one knowledge base at a time."""

    def __init__(
        self,
        database: Database,
        *,
        documents: DocumentStore,
        queue: JobQueue,
        embedder: Embedder,
        random: crypto.RandomBytes,
        embed_seconds: float,
        shown: Callable[[OpenKb, NormalDocument], NormalDocument],
    ) -> None:
        self._shown = shown
        self._database = database
        self._documents = documents
        self._queue = queue
        self._embedder = embedder
        self._random = random
        self._embed_seconds = embed_seconds
        self.exclusive = threading.Lock()
        """Held while rows and ledger change: a knowledge base is not deleted or given another collection meanwhile."""

    async def run(self, opened: OpenKb, jobs: Sequence[Job], *, store: VectorStore) -> int:
        """Index documents together (their texts share embedding calls) and return how many chunks were written.

        Raises what the embedder or the store raise; the jobs that are not finished stay in the queue.
        """
        works = await asyncio.to_thread(self._prepare_all, opened, jobs)
        texts = [text for work in works for item in work.prepared for text in item.texts]
        vectors = await self._embed(opened, texts)
        await asyncio.to_thread(self._apply_all, opened, works, vectors, store)
        return len(texts)

    def _prepare_all(self, opened: OpenKb, jobs: Sequence[Job]) -> list[Work]:
        return [work for job in jobs if (work := self._prepare(opened, job)) is not None]

    def _prepare(self, opened: OpenKb, job: Job) -> Work | None:
        target = opened.target
        table = schema.documents
        with self._database.read() as connection:
            row = connection.execute(
                sa.select(table).where(table.c.kb == job.kb, table.c.id == job.document)
            ).one_or_none()
            indexed = ledger.list_indexed(connection, job.kb, target.name, job.document)
            if row is None:
                return None
            versions = self._documents.history(job.kb, job.document)
            parent = next((item.parent for item in reversed(versions) if item.parent), None)
            alive = sa.select(table.c.id).where(table.c.kb == job.kb, table.c.id == parent, table.c.deleted.is_(False))
            present = parent is not None and connection.execute(alive).first() is not None
            stale = sa.select(schema.stale).where(schema.stale.c.kb == job.kb, schema.stale.c.document == job.document)
            again = connection.execute(stale).first() is not None
        plan = plan_document(versions, indexed, parent_present=present, again=again)
        prepared = tuple(
            prepare(
                raw := self._documents.read_body(opened, job.document, version.version),
                self._shown(opened, raw),
                version,
                quoted=quoted,
                sizes=target.config.chunking,
                keys=opened.keys,
            )
            for version, quoted in plan.index
        )
        return Work(job=job, plan=plan, prepared=prepared, key=self._documents.document_key(opened, row))

    async def _embed(self, opened: OpenKb, texts: Sequence[str]) -> list[list[float]]:
        config = opened.target.config.embedding
        vectors: list[list[float]] = []
        for start in range(0, len(texts), EMBED_TEXTS):
            vectors += await self._embedder.embed(
                texts[start : start + EMBED_TEXTS],
                model=config.model,
                dimensions=config.dimensions,
                priority=Priority.INDEXING,
                seconds=self._embed_seconds,
            )
        return vectors

    def _apply_all(self, opened: OpenKb, works: Sequence[Work], vectors: list[list[float]], store: VectorStore) -> None:
        """Rows first, for all documents; then the ledger and the end of the jobs in one transaction."""
        with self.exclusive:
            if self._is_current(opened) and self._all_exist(opened.name, works):
                self._apply(opened, works, vectors, store)

    def _is_current(self, opened: OpenKb) -> bool:
        """Tell whether the knowledge base still writes the collection that this work was made for."""
        table = schema.collections
        with self._database.read() as connection:
            found = connection.execute(
                sa.select(table.c.name).where(table.c.kb == opened.name, table.c.name == opened.target.name)
            )
            return found.first() is not None

    def _all_exist(self, kb: str, works: Sequence[Work]) -> bool:
        """Tell whether none was erased since it was read; the others' jobs are still queued."""
        wanted = {work.job.document for work in works}
        table = schema.documents
        query = sa.select(sa.func.count()).select_from(table).where(table.c.kb == kb, table.c.id.in_(wanted))
        with self._database.read() as connection:
            return connection.execute(query).scalar_one() == len(wanted)

    def _apply(self, opened: OpenKb, works: Sequence[Work], vectors: list[list[float]], store: VectorStore) -> None:
        collection = opened.target.name
        supply = iter(vectors)
        rows = [
            row
            for work in works
            for item in work.prepared
            for row in build_rows(item, [next(supply) for _ in item.texts], keys=opened.keys)
        ]
        for work in works:
            for item in work.prepared:
                # A version cut anew (its quoted text came or went) may have fewer chunks than before.
                self._trim(opened, collection, item, store=store)
        if rows:
            store.upsert(collection, rows)
        for work in works:
            for version in work.plan.close:
                store.close_rows(collection, work.job.document, version.version, valid_to=version.valid_to)
            for number in work.plan.remove:
                store.delete_rows(collection, work.job.document, number)
        with self._database.write() as connection:
            for work in works:
                self._record(connection, opened, collection, work)
                self._queue.finish(connection, work.job)
            self._refreshed(connection, opened, works)

    def _refreshed(self, connection: sa.Connection, opened: OpenKb, works: Sequence[Work]) -> None:
        """Forget that documents were to be cut anew, but for those that were queued again meanwhile."""
        stale, jobs = schema.stale, schema.jobs
        waiting = sa.exists().where(jobs.c.kb == stale.c.kb, jobs.c.document == stale.c.document)
        done = [work.job.document for work in works]
        connection.execute(
            stale.delete().where(stale.c.kb == opened.name, stale.c.document.in_(done), ~waiting)
        )  # fmt: skip

    def _trim(self, opened: OpenKb, collection: str, item: Prepared, *, store: VectorStore) -> None:
        with self._database.read() as connection:
            held = ledger.list_indexed(connection, opened.name, collection, item.document.id)
        before = next((entry.count for entry in held if entry.version == item.row.version), 0)
        gone = [row_id(item.document.id, item.row.version, number) for number in range(len(item.texts), before)]
        if gone:
            store.delete_ids(collection, gone)

    def _record(self, connection: sa.Connection, opened: OpenKb, collection: str, work: Work) -> None:
        for item in work.prepared:
            entry = IndexedVersion(
                document=work.job.document,
                version=item.row.version,
                valid_to=item.row.valid_to,
                quoted=item.quoted,
                count=len(item.texts),
            )
            ledger.record(
                connection,
                opened,
                collection,
                entry,
                passages=item.passages,
                frequencies=ledger.sum_frequencies(item.sparse),
                key=work.key,
                random=self._random,
            )
        for version in work.plan.close:
            ledger.close(
                connection, opened.name, collection, work.job.document, version.version, valid_to=version.valid_to
            )
        for number in work.plan.remove:
            ledger.forget(connection, opened, collection, work.job.document, number, key=work.key)

    def prepare_collections(self, opened: OpenKb, *, stores: Stores) -> int:
        """Make and load collections, point the alias, drop what is left of others, repair. Returns differences."""
        with self.exclusive:
            if not self._is_current(opened):
                return 0
            for item in opened.collections:
                stores.get(item.config.store).ensure_collection(item.name, dimensions=item.config.embedding.dimensions)
            active = stores.get(opened.active.config.store)
            alias = alias_name(opened.name)
            active.point_alias(alias, collection=opened.active.name)
            kept = {item.name for item in opened.collections}
            held = active.list_collections(alias + "_")
            active.drop([name for name in held if is_collection_of(name, kb=opened.name) and name not in kept])
            return self._repair(opened, store=stores.get(opened.target.config.store))

    def _repair(self, opened: OpenKb, *, store: VectorStore) -> int:
        """Compare ledger and collection row by row; queue what is missing, delete what nobody knows."""
        collection = opened.target.name
        with self._database.read() as connection:
            entries = ledger.list_indexed(connection, opened.name, collection)
        expected = {row_id(entry.document, entry.version, number) for entry in entries for number in range(entry.count)}
        if store.count(collection) == len(expected) and not self._unindexed(opened):
            return 0
        found = store.row_ids(collection)
        extra, missing = sorted(found - expected), expected - found
        if extra:
            store.delete_ids(collection, extra)
        lost = {parse_row_id(row)[:2] for row in missing}
        with self._database.write() as connection:
            for document, version in sorted(lost):
                row = self._documents.find(opened, document)
                ledger.forget(
                    connection, opened, collection, document, version,
                    key=self._documents.document_key(opened, row),
                )  # fmt: skip
            self._queue.enqueue(connection, opened.name, self._unindexed(opened))
            self._queue.enqueue(connection, opened.name, {document for document, _ in lost}, mark=REBUILDING)
        return len(extra) + len(missing)

    def _unindexed(self, opened: OpenKb) -> set[str]:
        """Return documents whose present version is neither indexed nor queued."""
        documents, indexed, jobs = schema.documents, schema.indexed, schema.jobs
        query = sa.select(documents.c.id).where(
            documents.c.kb == opened.name,
            documents.c.deleted.is_(False),
            ~sa.exists().where(
                indexed.c.kb == opened.name,
                indexed.c.collection == opened.target.name,
                indexed.c.document == documents.c.id,
                indexed.c.version == documents.c.version,
            ),
            ~sa.exists().where(jobs.c.kb == opened.name, jobs.c.document == documents.c.id),
        )
        with self._database.read() as connection:
            return set(connection.execute(query).scalars())

    def enqueue_all(self, kb: str) -> None:
        """Queue every document, for a new collection."""
        table = schema.documents
        with self._database.write() as connection:
            ids = connection.execute(sa.select(table.c.id).where(table.c.kb == kb)).scalars()
            self._queue.enqueue(connection, kb, set(ids))
