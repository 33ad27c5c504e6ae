"""One IngestionSource: its CronJob, runs that were asked for, and what the last run said."""

from typing import Any

from hearth_api.conditions import ConditionStatus, ConditionType, find_condition, is_true
from hearth_api.kinds import IngestionSource, KnowledgeBase
from hearth_api.kinds.source import IngestionSourceStatus
from hearth_api.parse import ParseError, parse_observed
from hearth_api.reasons import Reason
from hearth_operator import names
from hearth_operator.cron import Schedule, ScheduleError, parse_schedule
from hearth_operator.facts import SourceFacts
from hearth_operator.manifests.source import build_run, build_source
from hearth_operator.plan.runs import FIRST_RUN, asked_for, next_run
from hearth_operator.reconcile.context import Context
from hearth_operator.reconcile.ending import end_source, keep_finalizer
from hearth_operator.reconcile.objects import apply_objects
from hearth_operator.reconcile.queue import Key
from hearth_operator.reconcile.report import log, write_status
from hearth_operator.status.conditions import Verdict, false
from hearth_operator.status.source import JobFacts, job_facts, source_status

_JOB_OF_POD = "batch.kubernetes.io/job-name"


async def reconcile_source(ctx: Context, raw: dict[str, Any], source: IngestionSource) -> float | None:
    """One pass; returns the seconds until the next."""
    if source.metadata.deleting:
        return await end_source(ctx, raw, source, observe=observe_jobs)
    if await keep_finalizer(ctx, raw, source):
        return 0.0
    kb, blocked = await _knowledge_base(ctx, source)
    schedule, wrong = _schedule(source)
    blocked = blocked or await _missing_input(ctx, source) or wrong
    jobs = await observe_jobs(ctx, source.metadata.name)
    run = next_run(source, active=any(j.active for j in jobs)) if blocked is None else None
    if kb is not None and wrong is None and (blocked is None or source.status.last_run is not None):
        # A CronJob knows of its own Jobs only: it pauses while one of ours runs, so that two never do at once.
        objects = build_source(
            source,
            settings=ctx.settings,
            at_source=kb.spec.privacy.at_source,
            paused=run is not None or any(j.active and j.asked for j in jobs),
        )
        await apply_objects(ctx, objects, of=f"{names.SOURCE} {source.metadata.name}")
    last_run_now = source.status.last_run_now
    if run is not None:
        jobs = await observe_jobs(ctx, source.metadata.name)
        if not any(j.active for j in jobs):  # else the schedule was a moment faster
            await _start(ctx, source, run)
            last_run_now = run
            jobs = await observe_jobs(ctx, source.metadata.name)
    now = ctx.now()
    due = schedule.after(now) if schedule is not None and blocked is None else None
    status = source_status(
        source, jobs=jobs, blocked=blocked, schedule=schedule, next_run=due, last_run_now=last_run_now, now=now
    )
    await write_status(ctx, raw, before=source.status.conditions, status=status)
    _tell(ctx, source, status)
    if any(j.active for j in jobs):
        return ctx.settings.intervals.knowledge
    if blocked is not None:
        return ctx.settings.intervals.not_yet
    # Shortly after a run is due, so that nextRun moves on.
    soon = (due - now).total_seconds() + 1.0 if due is not None else ctx.settings.intervals.resync
    return min(ctx.settings.intervals.resync, soon)


def _schedule(source: IngestionSource) -> tuple[Schedule | None, Verdict | None]:
    """Return the schedule that is in force, and what is wrong with it."""
    spec = source.spec
    if spec.schedule is None:
        return None, None
    try:
        schedule = parse_schedule(spec.schedule, spec.time_zone)
    except ScheduleError as error:
        return None, false(Reason.INVALID_SPEC, str(error))
    return (None if spec.suspend else schedule), None


def _tell(ctx: Context, source: IngestionSource, status: IngestionSourceStatus) -> None:
    """Remember how fresh the source is, for its knowledge base's status."""
    fresh = find_condition(status.conditions, ConditionType.FRESH)
    known = {ConditionStatus.TRUE: True, ConditionStatus.FALSE: False}
    facts = SourceFacts(
        knowledge_base=source.spec.knowledge_base_ref.name,
        fresh=known.get(fresh.status) if fresh is not None else None,
        last_success=status.last_success,
    )
    if ctx.world.sources.get(source.metadata.name) != facts:
        ctx.world.sources[source.metadata.name] = facts
        ctx.wake(Key(names.KNOWLEDGE_BASE, facts.knowledge_base))


async def _knowledge_base(ctx: Context, source: IngestionSource) -> tuple[KnowledgeBase | None, Verdict | None]:
    """Return the source's knowledge base, and why it cannot take documents yet, if so."""
    wanted = source.spec.knowledge_base_ref.name
    raw = await ctx.kube.get(names.KNOWLEDGE_BASE, wanted)
    if raw is None:
        return None, false(Reason.KNOWLEDGE_BASE_NOT_FOUND, f"no KnowledgeBase is called {wanted}")
    try:
        kb = parse_observed(raw)
    except ParseError as error:
        return None, false(Reason.KNOWLEDGE_BASE_NOT_READY, f"{wanted}: {error}")
    if not isinstance(kb, KnowledgeBase):
        return None, false(Reason.KNOWLEDGE_BASE_NOT_READY, f"{wanted} is not a KnowledgeBase")
    if not is_true(kb.status.conditions, ConditionType.PROVISIONED):
        return kb, false(Reason.KNOWLEDGE_BASE_NOT_READY, f"waits for KnowledgeBase {wanted} to be Provisioned")
    return kb, None


async def _missing_input(ctx: Context, source: IngestionSource) -> Verdict | None:
    """Return what a run would not find: the claim with its files, or its account's Secret."""
    account = source.spec.account
    if account is None:
        claim = source.spec.location.volume.claim_name
        if await ctx.kube.get("PersistentVolumeClaim", claim) is None:
            return false(Reason.CLAIM_NOT_FOUND, f"no PersistentVolumeClaim is called {claim}")
        return None
    secret = await ctx.kube.get("Secret", account.secret_ref.name)
    if secret is None:
        return false(
            Reason.SECRET_NOT_FOUND,
            f"no Secret is called {account.secret_ref.name}; it must hold username and password",
        )
    missing = [key for key in ("username", "password") if key not in (secret.get("data") or {})]
    if missing:
        return false(Reason.SECRET_NOT_FOUND, f"Secret {account.secret_ref.name} lacks {' and '.join(missing)}")
    return None


async def _start(ctx: Context, source: IngestionSource, run: str) -> None:
    """Make the Job of a run. Its name follows from the run: a crash before the status is written makes no second."""
    job = build_run(source, run=f"{source.metadata.uid}/{run}", settings=ctx.settings)
    if await ctx.kube.create(job):
        why = "first" if run == FIRST_RUN and asked_for(source) is None else "asked"
        log.info("run_started", source=source.metadata.name, job=job["metadata"]["name"], why=why)


async def observe_jobs(ctx: Context, source: str) -> list[JobFacts]:
    """Return the Jobs of a source with what their pods said."""
    labels = {names.LABEL_KIND: names.SOURCE, names.LABEL_NAME: source}
    jobs = await ctx.kube.list_all("Job", labels=labels)
    if not jobs:
        return []
    pods: dict[str, list[dict[str, Any]]] = {}
    for pod in await ctx.kube.list_all("Pod", labels=labels):
        job = (pod["metadata"].get("labels") or {}).get(_JOB_OF_POD, "")
        pods.setdefault(job, []).append(pod)
    return [job_facts(job, pods.get(job["metadata"]["name"], ())) for job in jobs]
