"""One KnowledgeBase: the knowledge service is told of it and says what it holds."""

import hashlib
import json
from typing import Any

from hearth_api.conditions import ConditionType, is_true
from hearth_api.kinds import KnowledgeBase, ModelDeployment
from hearth_api.kinds.knowledge import DeletionPolicy
from hearth_api.parse import ParseError, parse_observed
from hearth_api.reasons import Reason
from hearth_api.wire.knowledge import (
    ChunkingConfig,
    EmbeddingConfig,
    KbConfig,
    KbStatus,
    PrivacyConfig,
    RerankConfig,
    StoreConfig,
)
from hearth_api.wire.serve import Task
from hearth_operator import names
from hearth_operator.errors import InvalidSpecError, UnreachableError
from hearth_operator.facts import SourceFacts
from hearth_operator.reconcile.context import Context
from hearth_operator.reconcile.release import remember_data
from hearth_operator.reconcile.report import write_status
from hearth_operator.reconcile.store import ensure_store
from hearth_operator.status.conditions import Verdict, false, true, unknown
from hearth_operator.status.knowledge import knowledge_status

_UNRANKED = "searches answer without reranking"


async def reconcile_knowledge(ctx: Context, raw: dict[str, Any], kb: KnowledgeBase) -> float | None:
    """One pass; returns the seconds until the next."""
    if kb.metadata.deleting:
        return await _finish(ctx, raw, kb)
    if await _keep_finalizer(ctx, raw, kb):
        return 0.0
    observed, blocked = await _provision(ctx, kb)
    sources = await _sources(ctx, kb)
    status = knowledge_status(
        kb, observed=observed, blocked=blocked, rerank=await judge_rerank(ctx, kb), sources=sources, now=ctx.now()
    )
    if observed is not None and kb.status.collection is None:
        await remember_data(ctx)
    await write_status(ctx, raw, before=kb.status.conditions, status=status)
    intervals = ctx.settings.intervals
    if blocked is not None:
        return intervals.unreachable_first * 2 if observed is None else intervals.not_yet
    return intervals.knowledge_busy if observed is not None and observed.queue.pending else intervals.knowledge


async def _sources(ctx: Context, kb: KnowledgeBase) -> dict[str, SourceFacts | None]:
    """Return how fresh the sources are; None stands for one that is gone. Those not looked at yet are left out."""
    known = ctx.world.known.get(names.SOURCE) or ()
    # After a start the watch names sources one by one: one that it did not name yet is asked for.
    unnamed = [s.source for s in kb.status.sources if s.source not in known]
    gone = [name for name in unnamed if await ctx.kube.get(names.SOURCE, name) is None]
    return {**dict.fromkeys(gone), **ctx.world.sources}


async def _keep_finalizer(ctx: Context, raw: dict[str, Any], kb: KnowledgeBase) -> bool:
    """Hold the resource back at deletion exactly when its documents go with it. Return whether that changed."""
    has = names.KNOWLEDGE_FINALIZER in kb.metadata.finalizers
    needs = kb.spec.deletion_policy is DeletionPolicy.DELETE
    if has == needs:
        return False
    rest = [f for f in kb.metadata.finalizers if f != names.KNOWLEDGE_FINALIZER]
    await ctx.kube.set_finalizers(raw, [*rest, names.KNOWLEDGE_FINALIZER] if needs else rest)
    return True


async def _provision(ctx: Context, kb: KnowledgeBase) -> tuple[KbStatus | None, Verdict | None]:
    """Return what the service says, and why the knowledge base is not provisioned (None: it is)."""
    secret = kb.spec.encryption.key_secret_ref.name
    if await ctx.kube.get("Secret", secret) is None:
        return None, false(Reason.SECRET_NOT_FOUND, f"Secret {secret} does not exist")
    store, waiting = await ensure_store(ctx, kb)
    if waiting is not None:
        return None, waiting
    embedding, blocked = await _embedding(ctx, kb)
    name = kb.metadata.name
    try:
        observed = await ctx.knowledge.status(name)
        if embedding is None:
            return observed, blocked
        config = build_config(kb, embedding, store=store)
        digest = hashlib.sha256(json.dumps(config.to_json_object(), sort_keys=True).encode()).hexdigest()
        if observed is None or ctx.world.configured.get(name) != digest:
            await ctx.knowledge.configure(name, config)
            ctx.world.configured[name] = digest
            observed = await ctx.knowledge.status(name)
    except UnreachableError as error:
        return None, unknown(Reason.UNREACHABLE, error.message)
    except InvalidSpecError as error:
        return None, false(Reason.INVALID_SPEC, error.message)
    return observed, None


async def _embedding(ctx: Context, kb: KnowledgeBase) -> tuple[EmbeddingConfig | None, Verdict | None]:
    wanted = kb.spec.embedding.model
    raw = await ctx.kube.get(names.MODEL, wanted)
    if raw is None:
        return None, false(Reason.EMBEDDING_MODEL_NOT_FOUND, f"no ModelDeployment is called {wanted}")
    try:
        model = parse_observed(raw)
    except ParseError as error:
        return None, false(Reason.EMBEDDING_MODEL_NOT_READY, f"{wanted}: {error}")
    if not isinstance(model, ModelDeployment) or model.spec.task is not Task.EMBED:
        return None, false(Reason.NOT_AN_EMBEDDING_MODEL, f"ModelDeployment {wanted} has not the task Embed")
    # What it said once is enough: a knowledge base stays provisioned while its model's machine sleeps.
    digest, dimensions = model.status.model_digest, model.status.dimensions
    if digest is None or dimensions is None:
        return None, false(Reason.EMBEDDING_MODEL_NOT_READY, f"waits for ModelDeployment {wanted} to be Available")
    return EmbeddingConfig(model=wanted, digest=digest, dimensions=dimensions), None


async def judge_rerank(ctx: Context, kb: KnowledgeBase) -> Verdict | None:
    """Return what Degraded says of the reranker; None where the knowledge base names none.

    The knowledge service is told of it in any case: it asks for each search and answers without it, so nothing is
    configured anew when a machine sleeps or a model is made later.
    """
    if kb.spec.rerank is None:
        return None
    wanted = kb.spec.rerank.model
    raw = await ctx.kube.get(names.MODEL, wanted)
    if raw is None:
        return true(
            Reason.RERANK_MODEL_NOT_FOUND,
            f"no ModelDeployment is called {wanted}: make it with task Rerank, or take spec.rerank away; {_UNRANKED}",
        )
    try:
        model = parse_observed(raw)
    except ParseError as error:
        return true(Reason.RERANK_MODEL_NOT_READY, f"{wanted}: {error}; {_UNRANKED}")
    if not isinstance(model, ModelDeployment) or model.spec.task is not Task.RERANK:
        return true(
            Reason.NOT_A_RERANK_MODEL,
            f"ModelDeployment {wanted} has not the task Rerank: name another in spec.rerank.model; {_UNRANKED}",
        )
    if not is_true(model.status.conditions, ConditionType.AVAILABLE):
        return true(Reason.RERANK_MODEL_NOT_READY, f"waits for ModelDeployment {wanted} to be Available; {_UNRANKED}")
    return false(Reason.RERANKING)


def build_config(kb: KnowledgeBase, embedding: EmbeddingConfig, *, store: StoreConfig) -> KbConfig:
    """Return what the knowledge service is told."""
    chunking, rerank = kb.spec.chunking, kb.spec.rerank
    return KbConfig(
        embedding=embedding,
        rerank=RerankConfig(model=rerank.model, candidates=rerank.candidates) if rerank is not None else None,
        chunking=ChunkingConfig(target_tokens=chunking.target_tokens, overlap_tokens=chunking.overlap_tokens),
        store=store,
        privacy=PrivacyConfig(
            policy=kb.spec.privacy.policy, secrets=kb.spec.privacy.secrets, keep=kb.spec.privacy.keep
        ),
        kek=kb.spec.encryption.key_secret_ref.name,
        paused=kb.spec.suspend,
    )


async def _finish(ctx: Context, raw: dict[str, Any], kb: KnowledgeBase) -> float | None:
    """Erase with policy Delete, then let the resource go. Raises UnreachableError until the service answers."""
    if names.KNOWLEDGE_FINALIZER not in kb.metadata.finalizers:
        ctx.world.configured.pop(kb.metadata.name, None)
        return None
    if kb.spec.deletion_policy is DeletionPolicy.DELETE:
        await ctx.knowledge.delete(kb.metadata.name)
    ctx.world.configured.pop(kb.metadata.name, None)
    await ctx.kube.set_finalizers(raw, [f for f in kb.metadata.finalizers if f != names.KNOWLEDGE_FINALIZER])
    return None
