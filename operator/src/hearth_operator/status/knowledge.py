"""Status of a KnowledgeBase."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from hearth_api.conditions import ConditionType
from hearth_api.kinds import KnowledgeBase
from hearth_api.kinds.knowledge import (
    EmbeddingStatus,
    IndexBuildStatus,
    IndexStatus,
    KnowledgeBaseStatus,
    SourceFreshness,
)
from hearth_api.reasons import Reason
from hearth_api.wire.knowledge import EmbeddingConfig, KbStatus
from hearth_operator.facts import SourceFacts
from hearth_operator.status.conditions import Verdict, false, true, unknown, write_conditions

_MOST_SOURCES = 256


def knowledge_status(
    kb: KnowledgeBase,
    *,
    observed: KbStatus | None,
    blocked: Verdict | None,
    rerank: Verdict | None = None,
    sources: Mapping[str, SourceFacts | None] = {},
    now: datetime,
) -> KnowledgeBaseStatus:
    """Return the status. `blocked` says why it is not provisioned; the last known counts stay while it is unknown.

    An empty knowledge base is Ready: it answers, with nothing. One with a stale source answers too, and one without the
    reranker that it names (`rerank`, of Degraded; None: it names none). `sources` says how fresh the sources are that
    were looked at since the operator started; None: that source is gone.
    """
    freshness = _freshness(kb, observed, sources)
    verdicts = {
        ConditionType.PROVISIONED: blocked or _judge_provisioned(observed),
        ConditionType.POPULATED: _judge_populated(observed),
        ConditionType.CONSISTENT: _judge_consistent(observed),
        ConditionType.FRESH: _judge_fresh(freshness),
    }
    if rerank is not None:
        verdicts[ConditionType.DEGRADED] = rerank
    if kb.spec.suspend:
        verdicts[ConditionType.READY] = false(Reason.SUSPENDED, "spec.suspend is true")
    generation = kb.metadata.generation
    conditions = write_conditions(
        verdicts,
        before=kb.status.conditions,
        required=(ConditionType.PROVISIONED, ConditionType.CONSISTENT),
        generation=generation,
        now=now,
    )
    if observed is None:
        return kb.status.model_copy(update={"observed_generation": generation, "conditions": conditions})
    listed = tuple(freshness[name] for name in sorted(freshness))[:_MOST_SOURCES]
    embedding = observed.embedding
    return KnowledgeBaseStatus(
        observed_generation=generation,
        conditions=conditions,
        collection=observed.collection,
        documents=observed.documents,
        chunks=observed.chunks,
        pending=observed.queue.pending,
        quarantined=observed.quarantined,
        embedding=EmbeddingStatus(model=embedding.model, digest=embedding.digest, dimensions=embedding.dimensions),
        index=_index(observed),
        sources=listed,
    )


def _index(observed: KbStatus) -> IndexStatus:
    found = observed.index
    building = found.building if found is not None else None
    return IndexStatus(
        **_made_with(observed.embedding),
        collection=observed.collection,
        built=found.built if found is not None else None,
        building=None
        if building is None
        else IndexBuildStatus(
            **_made_with(building.embedding),
            collection=building.collection,
            started=building.started,
            done=building.done,
            total=building.total,
        ),
    )


def _made_with(embedding: EmbeddingConfig) -> dict[str, Any]:
    return {"model": embedding.model, "digest": embedding.digest, "dimensions": embedding.dimensions}


def _freshness(
    kb: KnowledgeBase, observed: KbStatus | None, sources: Mapping[str, SourceFacts | None]
) -> dict[str, SourceFreshness]:
    """Return what is known of each source: counts from the service, freshness from the sources' own passes."""
    before = {s.source: s for s in kb.status.sources}
    if observed is None:
        held = dict(before)
    else:
        held = {
            s.source: SourceFreshness(source=s.source, documents=s.documents, last_write=s.last_write)
            for s in observed.sources
        }
    own = {n for n, facts in sources.items() if facts is not None and facts.knowledge_base == kb.metadata.name}
    # One that handed over nothing and was not looked at since the start is as fresh as it was.
    own |= before.keys() - sources.keys()
    result = {}
    for name in held.keys() | own:
        entry = held.get(name) or SourceFreshness(source=name, documents=0)
        facts: SourceFacts | SourceFreshness | None = sources[name] if name in sources else before.get(name)
        fresh, success = (facts.fresh, facts.last_success) if facts is not None else (None, None)
        result[name] = entry.model_copy(update={"fresh": fresh, "last_success": success})
    return result


def _judge_fresh(freshness: Mapping[str, SourceFreshness]) -> Verdict:
    stale = sorted(name for name, entry in freshness.items() if entry.fresh is False)
    if stale:
        return false(Reason.STALE, f"no run that was due has succeeded: {', '.join(stale)}"[:1000])
    if any(entry.fresh for entry in freshness.values()):
        return true(Reason.FRESH, "")
    return unknown(Reason.NOT_OBSERVED, "no source with a schedule has said when it succeeded")


def _judge_provisioned(observed: KbStatus | None) -> Verdict:
    if observed is None:
        return unknown(Reason.NOT_OBSERVED, "the knowledge service was not asked yet")
    return true(Reason.PROVISIONED, f"collection {observed.collection}")


def _judge_populated(observed: KbStatus | None) -> Verdict:
    if observed is None:
        return unknown(Reason.NOT_OBSERVED)
    queue = observed.queue
    if queue.failed:
        return false(Reason.INDEXING_FAILED, f"{queue.failed} documents could not be indexed: {queue.last_error or ''}")
    if queue.pending:
        return false(Reason.INDEXING, "documents wait to be indexed")
    if not observed.documents:
        return false(Reason.EMPTY, "no source has handed over a document yet")
    return true(Reason.POPULATED, "")


def _judge_consistent(observed: KbStatus | None) -> Verdict:
    if observed is None:
        return unknown(Reason.NOT_OBSERVED)
    found = observed.consistency
    if found.consistent:
        return true(Reason.CONSISTENT, "")
    if observed.queue.pending:
        return unknown(Reason.INDEXING, "documents wait to be indexed")
    return false(
        Reason.INCONSISTENT, f"the index holds {found.indexed_chunks} passages, the manifest {found.expected_chunks}"
    )
