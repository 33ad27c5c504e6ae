"""The loop that keeps every knowledge base indexed. Neighbours that are down make it wait; they never lose work."""

import asyncio
import time
from collections.abc import Callable

import structlog

from hearth_knowledge.errors import KnowledgeError, UnavailableError
from hearth_knowledge.index import ledger
from hearth_knowledge.index.indexer import Indexer
from hearth_knowledge.index.stores import Stores
from hearth_knowledge.metrics import Metrics
from hearth_knowledge.storage.database import Database
from hearth_knowledge.storage.queue import Job, JobQueue
from hearth_knowledge.storage.registry import OpenKb, Registry, alias_name

BATCH_JOBS = 16
IDLE_SECONDS = 5.0
REPAIR_SECONDS = 600.0
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 30.0
PATIENT_ATTEMPTS = 3
MOST_MISSING = 0.05
"""Share of documents without which a new collection may take over, once each was tried some times."""

log = structlog.get_logger()


class Worker:
    """One task. `wake` is set by whoever queued something."""

    def __init__(
        self,
        *,
        database: Database,
        registry: Registry,
        queue: JobQueue,
        indexer: Indexer,
        stores: Stores,
        metrics: Metrics,
        waiting: dict[str, str],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._registry = registry
        self._queue = queue
        self._indexer = indexer
        self._stores = stores
        self._metrics = metrics
        self._monotonic = monotonic
        self._waiting = waiting
        self._repaired: dict[str, float] = {}
        self._dirty: set[str] = set()
        self._suspected: set[str] = set()
        self.wake = asyncio.Event()

    def suspect(self, kb: str) -> None:
        """Compare this knowledge base's index with its ledger at the next round. May be called from any thread."""
        self._suspected.add(kb)

    async def run(self) -> None:
        """Work until cancelled."""
        wait = FIRST_WAIT_SECONDS
        while True:
            self.wake.clear()
            try:
                worked = await self.run_once()
                wait = FIRST_WAIT_SECONDS
            except UnavailableError as error:
                # Whoever is down may have lost rows: look through everything once it is back.
                self._repaired.clear()
                log.warning("indexing waits", reason=error.code, detail=str(error), seconds=wait)
                await asyncio.sleep(wait)
                wait = min(wait * 2, LONGEST_WAIT_SECONDS)
                continue
            if not worked:
                await self._sleep(IDLE_SECONDS)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.wake.wait()
        except TimeoutError:
            return

    async def run_once(self) -> bool:
        """Do one batch for every knowledge base. True when anything was done. UnavailableError passes through."""
        worked = False
        unavailable: UnavailableError | None = None
        for kb in await asyncio.to_thread(self._registry.list_names):
            try:
                worked |= await self._run_kb(kb)
                self._waiting.pop(kb, None)
            except UnavailableError as error:
                self._waiting[kb] = error.code
                unavailable = error
            except KnowledgeError as error:
                log.warning("knowledge base is not indexed", kb=kb, code=error.code, detail=str(error))
        if unavailable is not None and not worked:
            raise unavailable
        return worked

    async def _run_kb(self, kb: str) -> bool:
        opened = await asyncio.to_thread(self._registry.open, kb)
        store = self._stores.get(opened.target.config.store)
        if kb in self._suspected:
            self._suspected.discard(kb)
            self._repaired.pop(opened.target.name, None)
        if self._monotonic() - self._repaired.get(opened.target.name, float("-inf")) > REPAIR_SECONDS:
            await self._check(opened)
        paused = opened.config.paused
        jobs = await asyncio.to_thread(lambda: self._queue.due(kb, limit=BATCH_JOBS, deleted_only=paused))
        if jobs:
            await self._index(opened, jobs)
            self._dirty.add(kb)
            return True
        if kb in self._dirty:
            await asyncio.to_thread(store.flush, opened.target.name)
            await asyncio.to_thread(self._database.truncate_log)
            self._dirty.discard(kb)
            log.info("index is on disk", kb=kb, collection=opened.target.name)
        await self._switch(opened)
        return False

    async def _check(self, opened: OpenKb) -> None:
        repaired = await asyncio.to_thread(lambda: self._indexer.prepare_collections(opened, stores=self._stores))
        self._repaired[opened.target.name] = self._monotonic()
        if repaired:
            self._dirty.add(opened.name)
            self._metrics.repaired.labels(kb=opened.name).inc(repaired)
            log.warning("index and ledger differed", kb=opened.name, rows=repaired)

    async def _index(self, opened: OpenKb, jobs: list[Job]) -> None:
        store = self._stores.get(opened.target.config.store)
        try:
            chunks = await self._indexer.run(opened, jobs, store=store)
        except UnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 (one document must not stop the others)
            if len(jobs) > 1:
                for job in jobs:
                    await self._index(opened, [job])
                return
            code = error.code if isinstance(error, KnowledgeError) else type(error).__name__
            await asyncio.to_thread(lambda: self._queue.postpone(jobs[0], code=code))
            self._metrics.failed.labels(kb=opened.name).inc()
            log.warning("document is not indexed", kb=opened.name, document=jobs[0].document, code=code)
        else:
            self._metrics.chunks.labels(kb=opened.name).inc(chunks)

    def _is_complete(self, opened: OpenKb) -> bool:
        """Tell whether the new collection may answer: nothing waits, and next to nothing was refused for good.

        A model that refuses most texts must not empty an index that answers.
        """
        pending, failed = self._queue.pending(opened.name)
        if pending or not failed:
            return not pending
        if self._queue.fewest_attempts(opened.name) < PATIENT_ATTEMPTS:
            return False
        with self._database.read() as connection:
            total, done = ledger.count_documents(connection, opened.name, opened.target.name)
        return total - done <= total * MOST_MISSING

    async def _switch(self, opened: OpenKb) -> None:
        """Let a finished new collection answer, and drop the one before it."""
        if opened.target.name == opened.active.name:
            return
        if not await asyncio.to_thread(self._is_complete, opened):
            return
        target = opened.target
        store = self._stores.get(target.config.store)
        await asyncio.to_thread(lambda: store.point_alias(alias_name(opened.name), collection=target.name))
        _, stale = await asyncio.to_thread(self._registry.activate_target, opened.name)
        old = self._stores.get(opened.active.config.store)
        await asyncio.to_thread(lambda: old.drop(stale))
        for name in stale:
            # A configuration that comes back makes a collection of the same name: that one is not there yet.
            self._repaired.pop(name, None)
        log.info("search uses the new index", kb=opened.name, collection=target.name)
