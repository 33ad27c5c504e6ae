"""Search: two legs in Milvus, one list, checked against SQL, decrypted here.

Milvus answers what it holds; SQL decides what is true. A row of a deleted document never becomes a result, however
far the index is behind. A row of a replaced version does only while its successor is not indexed yet: no update makes a
hole.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import sqlalchemy as sa
import structlog

from hearth_api.wire.documents import Kind
from hearth_api.wire.keys import Priority
from hearth_api.wire.knowledge import (
    EmbeddingConfig,
    Related,
    SearchFilters,
    SearchHit,
    SearchMode,
    SearchRequest,
    SearchResponse,
)
from hearth_knowledge.errors import (
    EmbedderRefusedError,
    EmbedderUnavailableError,
    NotFoundError,
    StoreUnavailableError,
    UnavailableError,
)
from hearth_knowledge.index import ledger, terms
from hearth_knowledge.index.fusion import Fused, Fusion, fuse, spread
from hearth_knowledge.index.ledger import Passages
from hearth_knowledge.index.rows import person_hash, thread_hash
from hearth_knowledge.index.stores import Stores
from hearth_knowledge.links.related import RelatedFinder
from hearth_knowledge.metrics import Metrics
from hearth_knowledge.ports import Embedder, RowFilter, VectorStore, parse_row_id
from hearth_knowledge.privacy.filter import PrivacyFilter
from hearth_knowledge.settings import Limits
from hearth_knowledge.storage import schema
from hearth_knowledge.storage.database import Database
from hearth_knowledge.storage.documents import DocumentStore, Row
from hearth_knowledge.storage.names import to_millis
from hearth_knowledge.storage.registry import OpenKb, Registry

CANDIDATES = 50
PER_DOCUMENT = 2
SWITCHES = 3
"""How often a search may find that another collection took over while it ran."""
EXPANDED = 10
"""To how many documents of an answer what belongs to them is sought."""
QUOTED_WEIGHT = 0.5
"""Quoted text without its original answers a question, but whoever wrote the mail did not write that text."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, and why it is less than was asked for ("embedding"), if it is."""

    response: SearchResponse
    degraded: str | None = None


@dataclass(frozen=True, slots=True)
class _Candidate:
    fused: Fused
    row: Row
    version: int
    ordinal: int
    passages: Passages
    score: float


class Searcher:
    """Searches; at most `search_concurrency` at a time."""

    def __init__(
        self,
        database: Database,
        *,
        registry: Registry,
        documents: DocumentStore,
        privacy: PrivacyFilter,
        related: RelatedFinder,
        stores: Stores,
        embedder: Embedder,
        fusion: Fusion,
        limits: Limits,
        metrics: Metrics,
        now: Callable[[], int],
        suspect: Callable[[str], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._suspect = suspect
        self._database = database
        self._registry = registry
        self._documents = documents
        self._privacy = privacy
        self._related = related
        self._stores = stores
        self._embedder = embedder
        self._fusion = fusion
        self._limits = limits
        self._metrics = metrics
        self._now = now
        self._monotonic = monotonic
        self._slots = asyncio.Semaphore(limits.search_concurrency)

    async def search(self, kb: str, request: SearchRequest) -> Answer:
        """Answer a search. Raises NotFoundError, StoreUnavailableError, in mode dense what the embedder raises."""
        started = self._monotonic()
        try:
            async with asyncio.timeout(self._limits.search_wait_seconds):
                await self._slots.acquire()
        except TimeoutError as error:
            raise UnavailableError("search", "too many searches at once") from error
        try:
            results, degraded = await self._search(kb, request)
        finally:
            self._slots.release()
        took = self._monotonic() - started
        self._metrics.searches.labels(kb=kb, mode=request.mode.value).observe(took)
        return Answer(response=SearchResponse(results=results, took_ms=round(took * 1000, 1)), degraded=degraded)

    async def _search(self, kb: str, request: SearchRequest) -> tuple[tuple[SearchHit, ...], str | None]:
        """Search the collection that answers; where another took over meanwhile, search that one."""
        for _ in range(SWITCHES):
            opened = await asyncio.to_thread(self._registry.open, kb)
            try:
                found = await self._search_in(opened, request)
            except StoreUnavailableError:
                if await self._has_moved(opened):
                    continue
                # Perhaps the store came back without this collection: have it looked at soon.
                self._suspect(kb)
                raise
            if found[0] or not await self._has_moved(opened):
                return found
        return await self._search_in(await asyncio.to_thread(self._registry.open, kb), request)

    async def _has_moved(self, opened: OpenKb) -> bool:
        now = await asyncio.to_thread(self._registry.open, opened.name)
        return now.active.name != opened.active.name

    async def _search_in(self, opened: OpenKb, request: SearchRequest) -> tuple[tuple[SearchHit, ...], str | None]:
        query = await asyncio.to_thread(self._privacy.query, opened, request.query)
        # Persons are sought by the names that the index knows them by.
        request = request.model_copy(update={"query": query})
        chunks = await asyncio.to_thread(self._count, opened)
        if not chunks:
            return (), None
        dense, degraded = await self._embed(opened, request)
        return await asyncio.to_thread(self._collect, opened, request, dense, chunks), degraded

    async def _embed(self, opened: OpenKb, request: SearchRequest) -> tuple[list[float] | None, str | None]:
        if request.mode is SearchMode.SPARSE:
            return None, None
        config = opened.active.config.embedding
        try:
            _check_same_model(config, opened.target.config.embedding)
            (vector,) = await self._embedder.embed(
                [request.query],
                model=config.model,
                dimensions=config.dimensions,
                priority=Priority.INTERACTIVE,
                seconds=self._limits.query_embed_seconds,
            )
        except (EmbedderUnavailableError, EmbedderRefusedError) as error:
            if request.mode is SearchMode.DENSE:
                raise
            self._metrics.degraded.labels(kb=opened.name).inc()
            log.warning("search without its dense leg", kb=opened.name, reason=error.code, detail=str(error))
            return None, "embedding"
        return vector, None

    def _count(self, opened: OpenKb) -> int:
        with self._database.read() as connection:
            return ledger.count_chunks(connection, opened.name, opened.active.name)

    def _collect(
        self, opened: OpenKb, request: SearchRequest, dense: Sequence[float] | None, chunks: int
    ) -> tuple[SearchHit, ...]:
        moment = self._now() if request.as_of is None else to_millis(request.as_of)
        store = self._stores.get(opened.active.config.store)
        limit = max(CANDIDATES, request.top_k * 4)
        where = build_row_filter(request.filters, opened=opened, valid_at=moment)
        sparse = (
            self._query_vector(opened, request.query, chunks=chunks) if request.mode is not SearchMode.DENSE else {}
        )
        fused = self._legs(store, opened.active.name, dense=dense, sparse=sparse, where=where, limit=limit)
        candidates = self._check(opened, fused, moment=moment)
        candidates.sort(key=lambda item: (-item.score, item.fused.id))
        chosen = spread([item.row.id for item in candidates], limit=request.top_k, per_key=PER_DOCUMENT)
        hits = tuple(
            _to_hit(self._filtered(opened, candidates[position]), explain=request.explain) for position in chosen
        )
        return self._expand(opened, hits, request, moment=moment) if request.expand else hits

    def _expand(
        self, opened: OpenKb, hits: tuple[SearchHit, ...], request: SearchRequest, *, moment: int
    ) -> tuple[SearchHit, ...]:
        """Say what belongs to the first hits; to two passages of one document the same."""
        found: dict[str, tuple[Related, ...]] = {}
        for hit in hits:
            if hit.document not in found and len(found) < EXPANDED:
                with contextlib.suppress(NotFoundError):  # deleted since it was found
                    found[hit.document] = self._related.find(
                        opened.name, hit.document, expand=request.expand, as_of=moment
                    )
        return tuple(hit.model_copy(update={"related": found.get(hit.document, ())}) for hit in hits)

    def _filtered(self, opened: OpenKb, candidate: _Candidate) -> _Candidate:
        """Return a candidate whose passages obey the policy of now."""
        passages = self._privacy.passages(
            opened, candidate.row.id, candidate.version, candidate.passages, ordinal=candidate.ordinal
        )
        return replace(candidate, passages=passages)

    def _legs(
        self,
        store: VectorStore,
        collection: str,
        *,
        dense: Sequence[float] | None,
        sparse: Mapping[int, float],
        where: RowFilter,
        limit: int,
    ) -> list[Fused]:
        near = store.search_dense(collection, dense, where=where, limit=limit) if dense is not None else []
        same = store.search_sparse(collection, sparse, where=where, limit=limit) if sparse else []
        return fuse(near, same, fusion=self._fusion)

    def _query_vector(self, opened: OpenKb, query: str, *, chunks: int) -> dict[int, float]:
        dimensions = {terms.term_dimension(term, key=opened.keys.terms) for term in terms.query_terms(query)}
        with self._database.read() as connection:
            frequencies = ledger.term_frequencies(connection, opened.name, opened.active.name, dimensions)
        return terms.query_vector(dimensions, frequencies=frequencies, chunks=chunks)

    def _check(self, opened: OpenKb, fused: Sequence[Fused], *, moment: int) -> list[_Candidate]:
        """Keep what SQL confirms for the moment that was asked for, with its decrypted passages."""
        found: list[_Candidate] = []
        facts: dict[tuple[str, int], tuple[Row, Passages] | None] = {}
        with self._database.read() as connection:
            for item in fused:
                document, version, ordinal = parse_row_id(item.id)
                if (document, version) not in facts:
                    facts[document, version] = self._facts(connection, opened, document, version, moment=moment)
                fact = facts[document, version]
                if fact is None or ordinal >= len(fact[1].chunks):
                    continue
                row, passages = fact
                weight = QUOTED_WEIGHT if passages.chunks[ordinal].quoted else 1.0
                found.append(
                    _Candidate(
                        fused=item,
                        row=row,
                        version=version,
                        ordinal=ordinal,
                        passages=passages,
                        score=item.score * weight,
                    )
                )
        return found

    def _facts(
        self, connection: sa.Connection, opened: OpenKb, document: str, version: int, *, moment: int
    ) -> tuple[Row, Passages] | None:
        collection = opened.active.name
        table = schema.versions
        valid = connection.execute(
            sa.select(table.c.version, table.c.tombstone).where(
                table.c.kb == opened.name,
                table.c.document == document,
                table.c.valid_from <= moment,
                table.c.valid_to > moment,
            )
        ).one_or_none()
        if valid is None or valid.tombstone or version > valid.version:
            return None
        if version < valid.version:
            held = ledger.list_indexed(connection, opened.name, collection, document)
            numbers = [entry.version for entry in held if entry.version <= valid.version]
            if not numbers or max(numbers) != version:
                return None
        documents = schema.documents
        row = connection.execute(
            sa.select(documents).where(documents.c.kb == opened.name, documents.c.id == document)
        ).one()
        key = self._documents.document_key(opened, row)
        passages = ledger.read_passages(connection, opened, collection, document, version, key=key)
        return (row, passages) if passages is not None else None


def _check_same_model(active: EmbeddingConfig, target: EmbeddingConfig) -> None:
    """Raise EmbedderUnavailableError when the name that the index was made with means another model by now.

    Its vectors would be compared with those of a stranger, until the index of the new model takes over.
    """
    if active.model == target.model and active.digest != target.digest:
        raise EmbedderUnavailableError(f"{active.model} is another model now; the index for it is being built")


def build_row_filter(filters: SearchFilters, *, opened: OpenKb, valid_at: int) -> RowFilter:
    """Translate a request's filters into what rows hold."""
    return RowFilter(
        valid_at=valid_at,
        source=filters.source,
        kind=tuple(kind.value for kind in filters.kind),
        trust=tuple(trust.value for trust in filters.trust),
        people=tuple(person_hash(name, keys=opened.keys) for name in filters.people),
        thread=thread_hash(filters.thread, keys=opened.keys) if filters.thread is not None else None,
        after=to_millis(filters.after) if filters.after else None,
        before=to_millis(filters.before) if filters.before else None,
    )


def _to_hit(candidate: _Candidate, *, explain: bool) -> SearchHit:
    passages, fused = candidate.passages, candidate.fused
    chunk = passages.chunks[candidate.ordinal]
    when = chunk.time or passages.time
    parts = {"dense": fused.dense, "sparse": fused.sparse, "fused": fused.score, "quoted": float(chunk.quoted)}
    return SearchHit(
        document=candidate.row.id,
        version=candidate.version,
        chunk=candidate.ordinal,
        title=passages.title,
        text=chunk.text,
        score=round(candidate.score, 6),
        source=candidate.row.source,
        kind=Kind(candidate.row.kind),
        people=passages.people,
        time=datetime.fromisoformat(when) if when else None,
        permalink=chunk.permalink or passages.permalink,
        anchor=chunk.anchor,
        origin_key=passages.origin_key,
        explain={name: value for name, value in parts.items() if value is not None} if explain else None,
    )
