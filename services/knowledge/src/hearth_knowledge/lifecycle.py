"""Making, changing, describing and deleting knowledge bases."""

import base64
from collections.abc import Callable, Mapping

import sqlalchemy as sa
import structlog

from hearth_api.wire.knowledge import (
    Consistency,
    IndexBuild,
    IndexStatus,
    KbConfig,
    KbStatus,
    QueueStatus,
    RunKey,
    SourceStatus,
)
from hearth_knowledge.errors import InvalidRequestError, NotFoundError, StoreUnavailableError
from hearth_knowledge.index import ledger
from hearth_knowledge.index.indexer import Indexer
from hearth_knowledge.index.stores import Stores
from hearth_knowledge.privacy.quarantine import QuarantineStore
from hearth_knowledge.storage import names, schema
from hearth_knowledge.storage.blobs import BlobStore
from hearth_knowledge.storage.database import Database
from hearth_knowledge.storage.queue import REBUILDING, JobQueue
from hearth_knowledge.storage.registry import OpenKb, Registry, alias_name, is_collection_of, read_lineage

log = structlog.get_logger()


class Lifecycle:
    """The operator's side of the service. Blocking calls; run them off the event loop."""

    def __init__(
        self,
        database: Database,
        *,
        registry: Registry,
        queue: JobQueue,
        indexer: Indexer,
        blobs: BlobStore,
        stores: Stores,
        waiting: Mapping[str, str],
        quarantine: QuarantineStore,
        suspect: Callable[[str], None],
    ) -> None:
        self._suspect = suspect
        self._quarantine = quarantine
        self._database = database
        self._registry = registry
        self._queue = queue
        self._indexer = indexer
        self._blobs = blobs
        self._stores = stores
        self._waiting = waiting

    def configure(self, kb: str, config: KbConfig) -> KbStatus:
        """Make or change a knowledge base. Where it needs another index, that is built beside the present one."""
        if config.store.mode == "External" and not config.store.uri:
            raise InvalidRequestError("store.uri", "is required where store.mode is External")
        if config.chunking.overlap_tokens >= config.chunking.target_tokens:
            raise InvalidRequestError("chunking.overlapTokens", "must be below chunking.targetTokens")
        with self._indexer.exclusive:
            opened, changed = self._registry.configure(kb, config)
            if changed:
                self._indexer.enqueue_all(kb)
        if changed:
            log.info("knowledge base is configured", kb=kb, collection=opened.target.name)
        return self.status(kb)

    def status(self, kb: str) -> KbStatus:
        """Describe a knowledge base. While the vector store is away it counts as not consistent."""
        opened = self._registry.open(kb)
        with self._database.read() as connection:
            expected = ledger.count_chunks(connection, kb, opened.active.name)
            sources = _count_sources(connection, kb)
            quarantined = self._quarantine.count(connection, kb)
            index = _describe_index(connection, opened)
        found = self._count_rows(opened)
        if found != expected:
            self._suspect(kb)
        consistent = found == expected and not self._queue.is_rebuilding(kb)
        return KbStatus(
            collection=opened.active.name,
            documents=sum(source.documents for source in sources),
            chunks=expected,
            embedding=opened.active.config.embedding,
            sources=sources,
            queue=self._describe_queue(kb),
            quarantined=quarantined,
            index=index,
            consistency=Consistency(consistent=consistent, expected_chunks=expected, indexed_chunks=found),
        )

    def run_key(self, kb: str) -> RunKey:
        """Return the key that this knowledge base's document ids are made with."""
        return RunKey(key=base64.b64encode(self._registry.open(kb).keys.ids).decode())

    def delete(self, kb: str) -> None:
        """Remove everything of a knowledge base: vectors, files, rows and its key. Deleting again is no error."""
        try:
            opened = self._registry.open(kb)
        except NotFoundError:
            return
        with self._indexer.exclusive:
            for item in opened.collections:
                store = self._stores.get(item.config.store)
                left = [name for name in store.list_collections(alias_name(kb)) if is_collection_of(name, kb=kb)]
                store.drop(left, alias=alias_name(kb))
            self._blobs.remove_all(kb)
            self._registry.remove(kb)
        log.info("knowledge base is deleted", kb=kb)

    def _describe_queue(self, kb: str) -> QueueStatus:
        """Return what waits. Where nothing failed by itself but a neighbour is down, its error's code says so."""
        status = self._queue.status(kb)
        if status.last_error is None and status.pending:
            why = self._waiting.get(kb) or (REBUILDING if self._queue.is_rebuilding(kb) else None)
            return status.model_copy(update={"last_error": why})
        return status

    def _count_rows(self, opened: OpenKb) -> int:
        try:
            return self._stores.get(opened.active.config.store).count(opened.active.name)
        except StoreUnavailableError as error:
            log.warning("rows cannot be counted", kb=opened.name, detail=str(error))
            return -1


def _describe_index(connection: sa.Connection, opened: OpenKb) -> IndexStatus:
    """Return where the index that answers comes from, and how far the next one is."""
    _, built = read_lineage(connection, opened.name, opened.active.name)
    target, building = opened.target, None
    if target.name != opened.active.name:
        started, _ = read_lineage(connection, opened.name, target.name)
        total, done = ledger.count_documents(connection, opened.name, target.name)
        building = IndexBuild(
            collection=target.name,
            embedding=target.config.embedding,
            started=names.from_millis(started) if started is not None else None,
            done=done,
            total=total,
        )
    return IndexStatus(built=names.from_millis(built) if built is not None else None, building=building)


def _count_sources(connection: sa.Connection, kb: str) -> tuple[SourceStatus, ...]:
    table = schema.documents
    alive = sa.func.sum(sa.case((table.c.deleted.is_(False), 1), else_=0))
    query = (
        sa.select(table.c.source, alive, sa.func.max(table.c.written))
        .where(table.c.kb == kb)
        .group_by(table.c.source)
        .order_by(table.c.source)
    )
    return tuple(
        SourceStatus(source=source, documents=documents, last_write=names.from_millis(written))
        for source, documents, written in connection.execute(query)
    )
