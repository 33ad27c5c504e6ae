"""Search: embed the query, find candidates, let a reranker order the best of them, show the first."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from hearth_api.wire.documents import Kind
from hearth_api.wire.keys import Priority
from hearth_api.wire.knowledge import (
    EmbeddingConfig,
    NotReranked,
    Related,
    RerankConfig,
    SearchHit,
    SearchMode,
    SearchRequest,
    SearchResponse,
)
from hearth_knowledge.candidates import Candidate, CandidateFinder, reorder
from hearth_knowledge.errors import (
    EmbedderRefusedError,
    EmbedderUnavailableError,
    NotFoundError,
    StoreUnavailableError,
    UnavailableError,
)
from hearth_knowledge.index.fusion import Fusion, spread
from hearth_knowledge.index.stores import Stores
from hearth_knowledge.links.related import RelatedFinder
from hearth_knowledge.metrics import Metrics
from hearth_knowledge.ports import Embedder
from hearth_knowledge.privacy.filter import PrivacyFilter
from hearth_knowledge.reranking import Reranking, choose_reranker
from hearth_knowledge.settings import Limits
from hearth_knowledge.storage.database import Database
from hearth_knowledge.storage.documents import DocumentStore
from hearth_knowledge.storage.names import to_millis
from hearth_knowledge.storage.registry import OpenKb, Registry

CANDIDATES = 50
PER_DOCUMENT = 2
SWITCHES = 3
"""How often a search may find that another collection took over while it ran."""
EXPANDED = 10
"""To how many documents of an answer what belongs to them is sought."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, and why it is less than was asked for ("embedding"), if it is."""

    response: SearchResponse
    degraded: str | None = None


@dataclass(frozen=True, slots=True)
class _Found:
    """Hits, the leg that did not answer, and why no reranker ordered them (None: one did)."""

    hits: tuple[SearchHit, ...]
    degraded: str | None
    unranked: NotReranked | None


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
        reranking: Reranking,
        fusion: Fusion,
        limits: Limits,
        metrics: Metrics,
        now: Callable[[], int],
        suspect: Callable[[str], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._suspect = suspect
        self._registry = registry
        self._finder = CandidateFinder(database, documents=documents, privacy=privacy, stores=stores, fusion=fusion)
        self._privacy = privacy
        self._related = related
        self._embedder = embedder
        self._reranking = reranking
        self._limits = limits
        self._metrics = metrics
        self._now = now
        self._monotonic = monotonic
        self._slots = asyncio.Semaphore(limits.search_concurrency)

    async def search(self, kb: str, request: SearchRequest) -> Answer:
        """Answer a search. Raises NotFoundError, StoreUnavailableError, in mode dense what the embedder raises.

        InvalidRequestError where it demands a reranker that the knowledge base does not have.
        """
        started = self._monotonic()
        try:
            async with asyncio.timeout(self._limits.search_wait_seconds):
                await self._slots.acquire()
        except TimeoutError as error:
            raise UnavailableError("search", "too many searches at once") from error
        try:
            found = await self._search(kb, request)
        finally:
            self._slots.release()
        took = self._monotonic() - started
        self._metrics.searches.labels(kb=kb, mode=request.mode.value).observe(took)
        response = SearchResponse(
            results=found.hits,
            took_ms=round(took * 1000, 1),
            reranked=found.unranked is None,
            rerank_reason=found.unranked,
        )
        return Answer(response=response, degraded=found.degraded)

    async def _search(self, kb: str, request: SearchRequest) -> _Found:
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
            if found.hits or not await self._has_moved(opened):
                return found
        return await self._search_in(await asyncio.to_thread(self._registry.open, kb), request)

    async def _has_moved(self, opened: OpenKb) -> bool:
        now = await asyncio.to_thread(self._registry.open, opened.name)
        return now.active.name != opened.active.name

    async def _search_in(self, opened: OpenKb, request: SearchRequest) -> _Found:
        reranker = choose_reranker(opened.name, asked=request.rerank, config=opened.config.rerank)
        read = 0 if isinstance(reranker, NotReranked) else reranker.candidates
        query = await asyncio.to_thread(self._privacy.query, opened, request.query)
        # Persons are sought by the names that the index knows them by.
        request = request.model_copy(update={"query": query})
        chunks = await asyncio.to_thread(self._finder.count, opened)
        candidates: list[Candidate] = []
        degraded = None
        if chunks:
            dense, degraded = await self._embed(opened, request)
            candidates = await asyncio.to_thread(
                self._finder.find,
                opened,
                request,
                dense=dense,
                chunks=chunks,
                moment=self._moment(request),
                limit=max(CANDIDATES, request.top_k * 4, read),
            )
        unranked: NotReranked | None
        if isinstance(reranker, NotReranked):
            unranked = reranker
        else:
            candidates, unranked = await self._rerank(opened, request, candidates, config=reranker)
        hits = await asyncio.to_thread(self._show, opened, request, candidates)
        return _Found(hits=hits, degraded=degraded, unranked=unranked)

    def _moment(self, request: SearchRequest) -> int:
        return self._now() if request.as_of is None else to_millis(request.as_of)

    async def _rerank(
        self, opened: OpenKb, request: SearchRequest, candidates: list[Candidate], *, config: RerankConfig
    ) -> tuple[list[Candidate], NotReranked | None]:
        """Return the candidates in the reranker's order, or as they were and why."""
        read = await asyncio.to_thread(self._finder.read, opened, candidates, limit=config.candidates)
        if not read:
            return candidates, NotReranked.NO_RESULTS
        texts = [item.text for item in read]
        scores = await self._reranking.score(opened.name, config, query=request.query, texts=texts)
        # That took a while: what was deleted meanwhile is no result any more.
        valid = await asyncio.to_thread(self._finder.keep_valid, opened, candidates, moment=self._moment(request))
        if isinstance(scores, NotReranked):
            return valid, scores
        left = {item.rank for item in valid}
        return [item for item in reorder(candidates, read, scores) if item.rank in left], None

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

    def _show(self, opened: OpenKb, request: SearchRequest, candidates: Sequence[Candidate]) -> tuple[SearchHit, ...]:
        chosen = spread([item.row.id for item in candidates], limit=request.top_k, per_key=PER_DOCUMENT)
        hits = tuple(
            _to_hit(self._finder.show(opened, candidates[position]), explain=request.explain) for position in chosen
        )
        return self._expand(opened, hits, request, moment=self._moment(request)) if request.expand else hits

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


def _check_same_model(active: EmbeddingConfig, target: EmbeddingConfig) -> None:
    """Raise EmbedderUnavailableError when the name that the index was made with means another model by now.

    Its vectors would be compared with those of a stranger, until the index of the new model takes over.
    """
    if active.model == target.model and active.digest != target.digest:
        raise EmbedderUnavailableError(f"{active.model} is another model now; the index for it is being built")


def _to_hit(candidate: Candidate, *, explain: bool) -> SearchHit:
    passages, fused = candidate.passages, candidate.fused
    chunk = passages.chunks[candidate.ordinal]
    when = chunk.time or passages.time
    parts = {
        "dense": fused.dense,
        "sparse": fused.sparse,
        "fused": fused.score,
        "fused_rank": float(candidate.rank),
        "rerank": candidate.rerank,
        "quoted": float(chunk.quoted),
    }
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
