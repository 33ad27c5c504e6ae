"""Status of a KnowledgeBase."""

from datetime import datetime

from hearth_api.conditions import ConditionType
from hearth_api.kinds import KnowledgeBase
from hearth_api.kinds.knowledge import EmbeddingStatus, KnowledgeBaseStatus, SourceFreshness
from hearth_api.reasons import Reason
from hearth_api.wire.knowledge import KbStatus
from hearth_operator.status.conditions import Verdict, false, true, unknown, write_conditions


def knowledge_status(
    kb: KnowledgeBase, *, observed: KbStatus | None, blocked: Verdict | None, now: datetime
) -> KnowledgeBaseStatus:
    """Return the status. `blocked` says why it is not provisioned; the last known counts stay while it is unknown.

    An empty knowledge base is Ready: it answers, with nothing.
    """
    verdicts = {
        ConditionType.PROVISIONED: blocked or _judge_provisioned(observed),
        ConditionType.POPULATED: _judge_populated(observed),
        ConditionType.CONSISTENT: _judge_consistent(observed),
    }
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
        sources=tuple(
            SourceFreshness(source=s.source, documents=s.documents, last_write=s.last_write)
            for s in sorted(observed.sources, key=lambda s: s.source)
        ),
    )


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
