"""What a search has to choose from: two legs in Milvus, one list, checked against SQL, decrypted here.

Milvus answers what it holds; SQL decides what is true. A row of a deleted document never becomes a candidate, however
far the index is behind. A row of a replaced version does only while its successor is not indexed yet: no update makes a
hole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from hearth_api.wire.knowledge import SearchFilters, SearchMode, SearchRequest
from hearth_knowledge.index import ledger, terms
from hearth_knowledge.index.fusion import Fused, Fusion, fuse, spread
from hearth_knowledge.index.ledger import Passages
from hearth_knowledge.index.rows import person_hash, thread_hash
from hearth_knowledge.index.stores import Stores
from hearth_knowledge.ports import RowFilter, VectorStore, parse_row_id
from hearth_knowledge.privacy.filter import PrivacyFilter
from hearth_knowledge.storage import schema
from hearth_knowledge.storage.database import Database
from hearth_knowledge.storage.documents import DocumentStore, Row
from hearth_knowledge.storage.names import to_millis
from hearth_knowledge.storage.registry import OpenKb

QUOTED_WEIGHT = 0.5
"""Quoted text without its original answers a question, but whoever wrote the mail did not write that text."""
READ_PER_DOCUMENT = 5
"""Passages of one document that a reranker reads while others wait: it may choose which of them answer."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage that may become a hit. `rank` (from 1) is its place in the fused order; `rerank` a reranker's score."""

    fused: Fused
    row: Row
    version: int
    ordinal: int
    passages: Passages
    score: float
    rank: int = 0
    rerank: float | None = None
    shown: bool = False
    """Whether its passages obey the policy of now."""

    @property
    def text(self) -> str:
        """What a hit shows."""
        return self.passages.chunks[self.ordinal].text

    @property
    def weight(self) -> float:
        """What its score counts."""
        return QUOTED_WEIGHT if self.passages.chunks[self.ordinal].quoted else 1.0


class CandidateFinder:
    """Finds candidates and prepares them to be shown. Blocking; run it off the event loop."""

    def __init__(
        self,
        database: Database,
        *,
        documents: DocumentStore,
        privacy: PrivacyFilter,
        stores: Stores,
        fusion: Fusion,
    ) -> None:
        self._database = database
        self._documents = documents
        self._privacy = privacy
        self._stores = stores
        self._fusion = fusion

    def count(self, opened: OpenKb) -> int:
        """Return how many chunks the collection that answers holds."""
        with self._database.read() as connection:
            return ledger.count_chunks(connection, opened.name, opened.active.name)

    def find(
        self,
        opened: OpenKb,
        request: SearchRequest,
        *,
        dense: Sequence[float] | None,
        chunks: int,
        moment: int,
        limit: int,
    ) -> list[Candidate]:
        """Return what at most `limit` rows of each leg give, best first."""
        store = self._stores.get(opened.active.config.store)
        where = build_row_filter(request.filters, opened=opened, valid_at=moment)
        sparse = (
            self._query_vector(opened, request.query, chunks=chunks) if request.mode is not SearchMode.DENSE else {}
        )
        fused = self._legs(store, opened.active.name, dense=dense, sparse=sparse, where=where, limit=limit)
        found = self._check(opened, fused, moment=moment)
        found.sort(key=lambda item: (-item.score, item.fused.id))
        return [replace(item, rank=number) for number, item in enumerate(found, start=1)]

    def show(self, opened: OpenKb, candidate: Candidate) -> Candidate:
        """Return a candidate whose passages obey the policy of now."""
        if candidate.shown:
            return candidate
        passages = self._privacy.passages(
            opened, candidate.row.id, candidate.version, candidate.passages, ordinal=candidate.ordinal
        )
        return replace(candidate, passages=passages, shown=True)

    def read(self, opened: OpenKb, candidates: Sequence[Candidate], *, limit: int) -> list[Candidate]:
        """Return what a reranker is to read, best first: as it would be shown, and nothing without text."""
        chosen = spread([item.row.id for item in candidates], limit=limit, per_key=READ_PER_DOCUMENT)
        shown = [self.show(opened, candidates[position]) for position in chosen]
        return [item for item in shown if item.text.strip()]

    def keep_valid(self, opened: OpenKb, candidates: Sequence[Candidate], *, moment: int) -> list[Candidate]:
        """Return those whose documents were not deleted since they were found."""
        table = schema.versions
        query = sa.select(table.c.document).where(
            table.c.kb == opened.name,
            table.c.document.in_({item.row.id for item in candidates}),
            table.c.valid_from <= moment,
            table.c.valid_to > moment,
            table.c.tombstone.is_(False),
        )
        with self._database.read() as connection:
            present = set(connection.execute(query).scalars())
        return [item for item in candidates if item.row.id in present]

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

    def _check(self, opened: OpenKb, fused: Sequence[Fused], *, moment: int) -> list[Candidate]:
        """Keep what SQL confirms for the moment that was asked for, with its decrypted passages."""
        found: list[Candidate] = []
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
                one = Candidate(
                    fused=item, row=row, version=version, ordinal=ordinal, passages=passages, score=item.score
                )
                found.append(replace(one, score=item.score * one.weight))
        return found

    def _facts(
        self, connection: sa.Connection, opened: OpenKb, document: str, version: int, *, moment: int
    ) -> tuple[Row, Passages] | None:
        collection = opened.active.name
        valid = _valid_version(connection, opened, document, moment=moment)
        if valid is None or version > valid:
            return None
        if version < valid:
            held = ledger.list_indexed(connection, opened.name, collection, document)
            numbers = [entry.version for entry in held if entry.version <= valid]
            if not numbers or max(numbers) != version:
                return None
        documents = schema.documents
        row = connection.execute(
            sa.select(documents).where(documents.c.kb == opened.name, documents.c.id == document)
        ).one()
        key = self._documents.document_key(opened, row)
        passages = ledger.read_passages(connection, opened, collection, document, version, key=key)
        return (row, passages) if passages is not None else None


def _valid_version(connection: sa.Connection, opened: OpenKb, document: str, *, moment: int) -> int | None:
    """Return the version of a document that is valid then; None where it is not there, or deleted."""
    table = schema.versions
    valid = connection.execute(
        sa.select(table.c.version, table.c.tombstone).where(
            table.c.kb == opened.name,
            table.c.document == document,
            table.c.valid_from <= moment,
            table.c.valid_to > moment,
        )
    ).one_or_none()
    return None if valid is None or valid.tombstone else valid.version


def reorder(candidates: Sequence[Candidate], read: Sequence[Candidate], scores: Sequence[float]) -> list[Candidate]:
    """Return all candidates, those that a reranker read first and by its scores.

    The others follow as they were, with score 0: their own was of another kind.
    """
    judged = [replace(item, score=score * item.weight, rerank=score) for item, score in zip(read, scores, strict=True)]
    judged.sort(key=lambda item: (-item.score, item.rank))
    known = {item.rank for item in read}
    return judged + [replace(item, score=0.0) for item in candidates if item.rank not in known]


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
