"""Status of an IngestionSource: its schedule, and what its last run said."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from hearth_api.conditions import ConditionType
from hearth_api.kinds import IngestionSource
from hearth_api.kinds.source import IngestionSourceStatus, RunCountsStatus, RunOutcome, RunStatus
from hearth_api.reasons import Reason
from hearth_api.wire.ingest import RunReport
from hearth_operator import names
from hearth_operator.cron import Schedule
from hearth_operator.status.conditions import Verdict, false, true, unknown, write_conditions
from hearth_operator.status.messages import plain


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFacts:
    """One Job of a source."""

    name: str
    started: datetime | None = None
    finished: datetime | None = None
    succeeded: bool = False
    message: str = ""
    report: RunReport | None = None
    asked: bool = False
    """It was started by the operator, not by the CronJob."""
    suspended: bool = False

    @property
    def active(self) -> bool:
        """Whether it still runs."""
        return self.finished is None


def job_facts(job: Mapping[str, Any], pods: Iterable[Mapping[str, Any]]) -> JobFacts:
    """Return what a Job and its pods say. The report is the newest that any of its pods left."""
    status = job.get("status") or {}
    ended = next(
        (
            c
            for c in status.get("conditions") or ()
            if c.get("type") in {"Complete", "Failed"} and c.get("status") == "True"
        ),
        None,
    )
    finished = None
    if ended is not None:
        finished = _time(status.get("completionTime") or ended.get("lastTransitionTime")) or _time(
            job["metadata"].get("creationTimestamp")
        )
    return JobFacts(
        name=str(job["metadata"]["name"]),
        started=_time(status.get("startTime") or job["metadata"].get("creationTimestamp")),
        finished=finished,
        succeeded=ended is not None and ended.get("type") == "Complete",
        message=str((ended or {}).get("message", "")),
        report=newest_report(pods),
        suspended=(job.get("spec") or {}).get("suspend") is True,
        asked=names.RUN_LABEL in (job["metadata"].get("labels") or {}),
    )


def newest_report(pods: Iterable[Mapping[str, Any]]) -> RunReport | None:
    """Return the report that ended last; messages that are no report are passed over."""
    reports = [
        report
        for pod in pods
        for container in (pod.get("status") or {}).get("containerStatuses") or ()
        for state in (container.get("state") or {}, container.get("lastState") or {})
        if (report := parse_report(str((state.get("terminated") or {}).get("message") or ""))) is not None
    ]
    return max(reports, key=lambda r: r.finished, default=None)


def parse_report(message: str) -> RunReport | None:
    """Return the RunReport in a termination message, or None."""
    try:
        return RunReport.model_validate(json.loads(message), extra="ignore")
    except (ValueError, ValidationError):
        return None


def run_status(job: JobFacts) -> RunStatus:
    """Return what the status shows of a finished Job."""
    report = job.report
    if report is None:
        return RunStatus(
            job=job.name,
            started=job.started,
            finished=job.finished,
            outcome=RunOutcome.FAILED,
            first_error=plain(job.message, limit=1024) or "the pod ended without a report",
        )
    return RunStatus(
        job=job.name,
        started=report.started,
        finished=report.finished,
        # A Job that failed after its report was written is failed, whatever the report says.
        outcome=RunOutcome(report.outcome) if job.succeeded else RunOutcome.FAILED,
        counts=RunCountsStatus.model_validate(report.counts.model_dump()),
        bytes=report.bytes,
        privacy=report.privacy or None,
        withheld=report.withheld or None,
        first_error=plain(report.first_error or ("" if job.succeeded else job.message), limit=1024) or None,
    )


def source_status(
    source: IngestionSource,
    *,
    jobs: Iterable[JobFacts],
    blocked: Verdict | None,
    schedule: Schedule | None = None,
    next_run: datetime | None = None,
    last_run_now: str | None,
    now: datetime,
) -> IngestionSourceStatus:
    """Return the status. `blocked` says why there is no CronJob; runs that are over stay known.

    `schedule` is the one in force: None without one and while suspended.
    """
    known = sorted(jobs, key=lambda j: (j.finished is None, j.finished or j.started or now, j.name))
    active = next((j for j in known if j.active), None)
    done = [j for j in known if not j.active]
    last = _newest(source.status.last_run, done[-1] if done else None)
    success = _last_success(source.status.last_success, last)
    verdicts = {
        ConditionType.SCHEDULED: blocked or _judge_scheduled(source),
        ConditionType.SYNCED: _judge_synced(last, active, done[-1] if done else None),
        ConditionType.FRESH: _judge_fresh(source, schedule, success, blocked=blocked is not None, now=now),
    }
    if source.spec.suspend:
        verdicts[ConditionType.READY] = false(Reason.SUSPENDED, "spec.suspend is true")
    generation = source.metadata.generation
    return IngestionSourceStatus(
        observed_generation=generation,
        conditions=write_conditions(
            verdicts,
            before=source.status.conditions,
            required=(ConditionType.SCHEDULED, ConditionType.SYNCED, ConditionType.FRESH),
            generation=generation,
            now=now,
        ),
        last_run=last,
        last_run_now=last_run_now,
        active_job=active.name if active is not None else None,
        next_run=next_run,
        last_success=success,
    )


def _last_success(before: datetime | None, last: RunStatus | None) -> datetime | None:
    if last is None or last.outcome is RunOutcome.FAILED or last.finished is None:
        return before
    return last.finished if before is None else max(before, last.finished)


def _judge_fresh(
    source: IngestionSource, schedule: Schedule | None, success: datetime | None, *, blocked: bool, now: datetime
) -> Verdict:
    """Judge whether the run that was due has succeeded. It has its starting deadline and its own to do so."""
    said = f"last success at {say_time(success)}" if success is not None else "no run has succeeded yet"
    if source.spec.schedule is None:
        return true(Reason.RUN_ON_DEMAND, said) if success is not None else unknown(Reason.NEVER_RAN, said)
    if source.spec.suspend:
        return unknown(Reason.SUSPENDED, said)
    since = success or source.metadata.creation_timestamp
    due = schedule.after(since) if schedule is not None and since is not None else None
    grace = timedelta(seconds=source.spec.starting_deadline_seconds + source.spec.deadline_seconds)
    if due is not None and now > due + grace:
        return false(Reason.STALE, f"a run was due at {say_time(due)} and none has succeeded since; {said}")
    if success is None:
        return unknown(Reason.NEVER_RAN, said)
    return unknown(Reason.NOT_OBSERVED, said) if blocked else true(Reason.FRESH, said)


def say_time(moment: datetime) -> str:
    """Return a time as messages write it: UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _newest(before: RunStatus | None, job: JobFacts | None) -> RunStatus | None:
    if job is None:
        return before
    if before is not None and before.job != job.name and _after(before.finished, job.finished):
        return before
    if before is not None and before.job == job.name and job.report is None and before.counts != RunCountsStatus():
        return before  # its pod is gone; what it said was copied
    return run_status(job)


def _after(a: datetime | None, b: datetime | None) -> bool:
    return a is not None and b is not None and a > b


def _judge_scheduled(source: IngestionSource) -> Verdict:
    if source.spec.suspend:
        return false(Reason.SUSPENDED, "spec.suspend is true")
    if source.spec.schedule is None:
        return true(Reason.RUN_ON_DEMAND, "runs start with the run-now annotation")
    return true(Reason.SCHEDULED, f"{source.spec.schedule} ({source.spec.time_zone})")


def _judge_synced(last: RunStatus | None, active: JobFacts | None, job: JobFacts | None) -> Verdict:
    if last is None:
        if active is not None:
            return unknown(Reason.RUNNING, "the first run is going on")
        return unknown(Reason.NEVER_RAN, "no run has finished yet")
    counts = last.counts
    said = (
        f"added {counts.added}, updated {counts.updated}, deleted {counts.deleted}, unchanged {counts.unchanged}, "
        f"quarantined {counts.quarantined}, failed {counts.failed}"
    )
    if last.outcome is RunOutcome.FAILED:
        lost = job is not None and job.name == last.job and job.report is None and job.succeeded
        return false(Reason.REPORT_MISSING if lost else Reason.RUN_FAILED, last.first_error or said)
    if last.outcome is RunOutcome.PARTIALLY_FAILED:
        return true(Reason.PARTIALLY_FAILED, f"{said}: {last.first_error}" if last.first_error else said)
    return true(Reason.SYNCED, said)


def _time(text: object) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) and text else None
