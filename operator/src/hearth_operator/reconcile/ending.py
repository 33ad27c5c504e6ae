"""The end of an IngestionSource with `deletionPolicy: Delete`: its runs stop, its documents are erased, it may go."""

from collections.abc import Awaitable, Callable
from typing import Any

from hearth_api.conditions import ConditionType
from hearth_api.kinds import IngestionSource
from hearth_api.kinds.knowledge import DeletionPolicy
from hearth_api.reasons import Reason
from hearth_operator import names
from hearth_operator.errors import InvalidSpecError, UnreachableError
from hearth_operator.manifests.source import build_source
from hearth_operator.reconcile.context import Context
from hearth_operator.reconcile.report import log, write_status
from hearth_operator.status.conditions import Verdict, false, write_conditions
from hearth_operator.status.source import JobFacts

Observe = Callable[[Context, str], Awaitable[list[JobFacts]]]
_DONE = {"Succeeded", "Failed"}
_REMEDY = "set deletionPolicy to Retain to let the resource go and keep the documents"


async def keep_finalizer(ctx: Context, raw: dict[str, Any], source: IngestionSource) -> bool:
    """Hold the resource back at deletion exactly when its documents go with it. Return whether that changed."""
    has = names.KNOWLEDGE_FINALIZER in source.metadata.finalizers
    needs = source.spec.deletion_policy is DeletionPolicy.DELETE
    if has == needs:
        return False
    rest = [f for f in source.metadata.finalizers if f != names.KNOWLEDGE_FINALIZER]
    await ctx.kube.set_finalizers(raw, [*rest, names.KNOWLEDGE_FINALIZER] if needs else rest)
    return True


async def end_source(ctx: Context, raw: dict[str, Any], source: IngestionSource, *, observe: Observe) -> float | None:
    """One pass over a source that is being deleted; returns the seconds until the next."""
    if names.KNOWLEDGE_FINALIZER not in source.metadata.finalizers:
        return None
    verdict = await _erase(ctx, source, observe=observe)
    if verdict is None:
        await ctx.kube.set_finalizers(raw, [f for f in source.metadata.finalizers if f != names.KNOWLEDGE_FINALIZER])
        return None
    conditions = write_conditions(
        {ConditionType.READY: verdict},
        before=source.status.conditions,
        required=(),
        generation=source.metadata.generation,
        now=ctx.now(),
    )
    others = tuple(c for c in source.status.conditions if c.type != ConditionType.READY)
    status = source.status.model_copy(
        update={
            "conditions": (*others, *conditions),
            "observed_generation": source.metadata.generation,
            "next_run": None,
        }
    )
    await write_status(ctx, raw, before=source.status.conditions, status=status)
    intervals = ctx.settings.intervals
    return intervals.knowledge_busy if verdict.reason is Reason.ERASING else intervals.knowledge


async def _erase(ctx: Context, source: IngestionSource, *, observe: Observe) -> Verdict | None:
    """Return None when nothing holds the source any more, else what it waits for."""
    if source.spec.deletion_policy is DeletionPolicy.RETAIN:
        return None
    name, base = source.metadata.name, source.spec.knowledge_base_ref.name
    if not await _stop_runs(ctx, source, observe=observe):
        return false(Reason.ERASING, "waits for its runs to end")
    try:
        left = await ctx.knowledge.erase_source(base, name)
    except (UnreachableError, InvalidSpecError) as error:
        if await ctx.kube.get(names.KNOWLEDGE_BASE, base) is None:
            log.warning("not_erased", source=name, knowledge_base=base, why="its KnowledgeBase is gone")
            return None
        return false(Reason.ERASE_BLOCKED, f"the knowledge service does not erase: {error.message[:300]}; {_REMEDY}")
    if left:
        return false(Reason.ERASING, "documents are being erased")
    log.info("source_erased", source=name, knowledge_base=base)
    return None


async def _stop_runs(ctx: Context, source: IngestionSource, *, observe: Observe) -> bool:
    """Start no run any more and end those that go on. Return whether no pod can write now."""
    name = source.metadata.name
    cron = await ctx.kube.get("CronJob", names.ingest_name(name))
    if cron is not None and not (cron.get("spec") or {}).get("suspend"):
        # The whole of it: what an apply leaves out of what we own is taken away.
        await ctx.kube.apply(build_source(source, settings=ctx.settings)[2])
    for job in await observe(ctx, name):
        if job.active and not job.suspended:
            await ctx.kube.apply(_suspend(job.name, namespace=ctx.settings.namespace))
    labels = {names.LABEL_KIND: names.SOURCE, names.LABEL_NAME: name}
    pods = await ctx.kube.list_all("Pod", labels=labels)
    return all((pod.get("status") or {}).get("phase") in _DONE for pod in pods)


def _suspend(name: str, *, namespace: str) -> dict[str, Any]:
    """Return what we apply to a Job, by whomever it was made: a suspended one ends its pods."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"suspend": True},
    }
