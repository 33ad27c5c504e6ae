"""Puts the parts together. One `Service` owns one data folder."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import structlog

from hearth_knowledge.authorization import Guard
from hearth_knowledge.backup.command import restore_at_start
from hearth_knowledge.backup.maker import BackupMaker
from hearth_knowledge.backup.schedule import latest_millis, run_schedule
from hearth_knowledge.crypto import Keyring, RandomBytes
from hearth_knowledge.erasing import Eraser
from hearth_knowledge.errors import KnowledgeError
from hearth_knowledge.index.indexer import Indexer
from hearth_knowledge.index.stores import Connect, Stores
from hearth_knowledge.index.worker import Worker
from hearth_knowledge.lifecycle import Lifecycle
from hearth_knowledge.links.related import RelatedFinder
from hearth_knowledge.links.store import LinkStore
from hearth_knowledge.metrics import Metrics
from hearth_knowledge.ports import Authenticator, Embedder, Reranker
from hearth_knowledge.privacy.audit import AuditLog, Tickets
from hearth_knowledge.privacy.directory import DirectoryStore
from hearth_knowledge.privacy.filter import PrivacyFilter
from hearth_knowledge.privacy.quarantine import QuarantineStore
from hearth_knowledge.reranking import Reranking
from hearth_knowledge.search import Searcher
from hearth_knowledge.settings import Settings
from hearth_knowledge.storage.blobs import BlobStore
from hearth_knowledge.storage.cursors import CursorStore
from hearth_knowledge.storage.database import Database
from hearth_knowledge.storage.documents import DocumentStore
from hearth_knowledge.storage.originals import OriginalStore
from hearth_knowledge.storage.queue import JobQueue
from hearth_knowledge.storage.registry import Registry

THREADS = 32
"""Blocking calls at a time. Slow uploads hold a thread each and must not keep searches and probes waiting."""

log = structlog.get_logger()


def wall_millis() -> int:
    """Return milliseconds since 1970."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Ports:
    """What the service uses of the outside."""

    authenticator: Authenticator
    embedder: Embedder
    reranker: Reranker
    connect_store: Connect
    random: RandomBytes = secrets.token_bytes
    now: Callable[[], int] = wall_millis


class Service:
    """All parts, wired."""

    def __init__(self, settings: Settings, ports: Ports) -> None:
        self.settings = settings
        self.metrics = Metrics()
        restore_at_start(settings)
        self.database = Database(settings.data)
        self.keyring = Keyring(settings.kek_dir)
        self.blobs = BlobStore(settings.data / "kbs")
        self.guard = Guard(ports.authenticator, namespace=settings.namespace)
        self.stores = Stores(ports.connect_store, embedded_uri=settings.milvus_uri, folder=settings.stores_dir)
        waiting: dict[str, str] = {}
        self.queue = JobQueue(self.database, now=ports.now)
        self.registry = Registry(self.database, keyring=self.keyring, random=ports.random, now=ports.now)
        people = DirectoryStore(self.database, random=ports.random)
        self.quarantine = QuarantineStore(self.database, now=ports.now)
        self.links = LinkStore(self.database)
        self.documents = DocumentStore(
            self.database,
            blobs=self.blobs,
            registry=self.registry,
            queue=self.queue,
            random=ports.random,
            now=ports.now,
            people=people,
            quarantine=self.quarantine,
            links=self.links,
        )
        audit = AuditLog(self.database, random=ports.random, now=ports.now)
        self.privacy = PrivacyFilter(
            self.database,
            registry=self.registry,
            documents=self.documents,
            queue=self.queue,
            people=people,
            quarantine=self.quarantine,
            audit=audit,
            tickets=Tickets(random=ports.random, now=ports.now),
        )
        self.related = RelatedFinder(self.database, registry=self.registry, privacy=self.privacy, now=ports.now)
        self.cursors = CursorStore(self.database, registry=self.registry, random=ports.random)
        self.originals = OriginalStore(
            self.database,
            blobs=self.blobs,
            registry=self.registry,
            documents=self.documents,
            random=ports.random,
            limit=settings.limits.original_bytes,
            links=self.links,
        )
        self.indexer = Indexer(
            self.database,
            documents=self.documents,
            queue=self.queue,
            embedder=ports.embedder,
            random=ports.random,
            embed_seconds=settings.limits.document_embed_seconds,
            shown=lambda opened, document: self.privacy.show(opened, document, indexed=True),
        )
        self.eraser = Eraser(
            self.database,
            registry=self.registry,
            documents=self.documents,
            queue=self.queue,
            indexer=self.indexer,
            blobs=self.blobs,
            stores=self.stores,
            audit=audit,
        )
        self.lifecycle = Lifecycle(
            self.database,
            registry=self.registry,
            queue=self.queue,
            indexer=self.indexer,
            blobs=self.blobs,
            stores=self.stores,
            waiting=waiting,
            suspect=lambda kb: self.worker.suspect(kb),  # noqa: PLW0108 (the worker is made after it)
            quarantine=self.quarantine,
        )
        self.worker = Worker(
            database=self.database,
            registry=self.registry,
            queue=self.queue,
            indexer=self.indexer,
            stores=self.stores,
            metrics=self.metrics,
            waiting=waiting,
        )
        self.searcher = Searcher(
            self.database,
            registry=self.registry,
            documents=self.documents,
            privacy=self.privacy,
            related=self.related,
            stores=self.stores,
            embedder=ports.embedder,
            reranking=Reranking(ports.reranker, seconds=settings.limits.rerank_seconds, metrics=self.metrics),
            fusion=settings.fusion,
            limits=settings.limits,
            metrics=self.metrics,
            now=ports.now,
            suspect=self.worker.suspect,
        )
        self.backups = BackupMaker(
            self.database,
            data=settings.data,
            folder=settings.backup.folder,
            keep=settings.backup.keep,
            keyring=self.keyring,
            exclusive=self.indexer.exclusive,
            metrics=self.metrics,
            random=ports.random,
            now=ports.now,
        )
        self._now = ports.now
        self._schedule: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="knowledge")

    async def start(self) -> None:
        """Wrap old keys anew and start indexing."""
        asyncio.get_running_loop().set_default_executor(self._threads)
        try:
            wrapped = await asyncio.to_thread(self.registry.rewrap_all)
            log.info("started", keys_wrapped_anew=wrapped)
        except KnowledgeError as error:
            # Without a key nothing can be read or written, and readyz says so; the key may still be mounted later.
            log.warning("started without a usable key", code=error.code, detail=str(error))
        await asyncio.to_thread(self._link_all)
        self._task = asyncio.create_task(self.worker.run())
        await self._start_backups()

    async def _start_backups(self) -> None:
        made = await asyncio.to_thread(self.backups.list)
        if made:
            self.metrics.backed_up(at=(latest_millis(made) or 0) / 1000, size=made[0].archive_bytes)
        if self.settings.backup.folder is not None and self.settings.backup.schedule is not None:
            self._schedule = asyncio.create_task(
                run_schedule(self.settings.backup.schedule, self.backups, now=self._now)
            )

    def _link_all(self) -> None:
        """Note what joins versions that were written before that was kept."""
        for kb in self.registry.list_names():
            try:
                self.links.catch_up(self.registry.open(kb), read=self.documents.read_body)
            except (KnowledgeError, OSError) as error:
                log.warning("documents are not linked", kb=kb, error=type(error).__name__)

    async def stop(self) -> None:
        """Stop indexing and close the data folder."""
        for task in (self._schedule, self._task):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        # A cancelled task leaves its blocking call running; let that end before the database goes.
        with self.indexer.exclusive:
            self.stores.embedded.close()
            self.database.close()

    def check_ready(self) -> None:
        """Raise when a request could not be served: no key, no data folder, no vector store."""
        self.keyring.current()
        self.registry.list_names()
        self.stores.embedded.ping()

    def indexing_alive(self) -> bool:
        """Tell whether the indexing task runs; it ends only by a programming error."""
        return self._task is not None and not self._task.done()
