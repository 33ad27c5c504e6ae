"""The workers: take a key, reconcile it, turn what went wrong into a condition and a delay."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import structlog
from pydantic import ValidationError

from hearth_api.conditions import Condition, ConditionStatus, ConditionType
from hearth_api.kinds import InferenceNode, IngestionSource, KnowledgeBase, ModelDeployment
from hearth_api.kinds.base import Status
from hearth_api.parse import ParseError, parse_observed
from hearth_api.reasons import Reason
from hearth_operator import names
from hearth_operator.clients.kubernetes import API_SERVER_UNREACHABLE
from hearth_operator.errors import (
    InvalidSpecError,
    OperatorError,
    Outcome,
    Retry,
    UnreachableError,
    first_line,
    outcome_of,
)
from hearth_operator.reconcile.context import ENDPOINT, FLEET, RELEASE, Context
from hearth_operator.reconcile.endpoint import reconcile_endpoint
from hearth_operator.reconcile.fleet import reconcile_fleet
from hearth_operator.reconcile.knowledge import reconcile_knowledge
from hearth_operator.reconcile.metrics import Metrics
from hearth_operator.reconcile.model import reconcile_model
from hearth_operator.reconcile.node import forget_node, reconcile_node
from hearth_operator.reconcile.queue import Key, KeyedQueue
from hearth_operator.reconcile.release import reconcile_release
from hearth_operator.reconcile.report import write_status
from hearth_operator.reconcile.source import reconcile_source
from hearth_operator.status.conditions import Verdict, write_conditions

log = structlog.get_logger(__name__)
_MOST_DOUBLINGS = 8
_API_SERVER_AGAIN = 4.0
_TYPES = frozenset(t.value for t in ConditionType)


class Reconciler:
    """Works on the queue until it is cancelled."""

    def __init__(self, ctx: Context, queue: KeyedQueue, metrics: Metrics) -> None:
        self._ctx = ctx
        self._queue = queue
        self._metrics = metrics
        self._failures: dict[Key, int] = {}

    async def run(self, *, workers: int) -> None:
        """Run until cancelled. One worker's bug ends them all, and with them the process."""
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            key = await self._queue.take()
            try:
                delay = await self.reconcile(key)
            finally:
                self._queue.done(key)
            if delay is not None:
                self._queue.add(key, delay=delay)

    async def reconcile(self, key: Key) -> float | None:
        """One pass over one key; return the seconds until the next (None: when something changes)."""
        begun = self._ctx.clock()
        raw: dict[str, Any] | None = None
        try:
            if key.kind in names.KINDS:
                raw = await self._ctx.kube.get(key.kind, key.name)
                self._metrics.record(key.kind, key.name, raw)
            delay = await self._dispatch(key, raw)
        except Exception as error:  # noqa: BLE001 (the shell: every error becomes a row of the table)
            delay = await self._fail(key, raw, error)
            self._metrics.errors.labels(key.kind, type(error).__name__).inc()
            self._metrics.reconciles.labels(key.kind, "error").inc()
        else:
            self._failures.pop(key, None)
            self._metrics.reconciles.labels(key.kind, "ok").inc()
        seconds = self._ctx.clock() - begun
        self._metrics.seconds.labels(key.kind).observe(seconds)
        log.debug("reconciled", kind=key.kind, name=key.name, seconds=round(seconds, 4), next_in=delay)
        return delay

    async def _dispatch(self, key: Key, raw: dict[str, Any] | None) -> float | None:
        if key.kind == RELEASE:
            return await reconcile_release(self._ctx)
        if key.kind == FLEET:
            return await reconcile_fleet(self._ctx)
        if key.kind == ENDPOINT:
            delay = await reconcile_endpoint(self._ctx, key.name)
            self._record_heartbeat(key.name)
            return delay
        if raw is None:
            forget(self._ctx, key)
            return None
        try:
            resource = parse_observed(raw)
        except ParseError as error:
            if raw["metadata"].get("deletionTimestamp"):
                await self._let_go(raw)
                return None
            raise InvalidSpecError("InvalidSpec", "; ".join(error.problems)) from error
        match resource:
            case InferenceNode():
                return await reconcile_node(self._ctx, raw, resource)
            case ModelDeployment():
                return await reconcile_model(self._ctx, raw, resource)
            case KnowledgeBase():
                return await reconcile_knowledge(self._ctx, raw, resource)
            case IngestionSource():
                return await reconcile_source(self._ctx, raw, resource)

    async def _let_go(self, raw: dict[str, Any]) -> None:
        """Release a resource that is being deleted and cannot be read: what it had is kept rather than guessed at."""
        finalizers = raw["metadata"].get("finalizers") or []
        rest = [f for f in finalizers if f not in {names.SERVE_FINALIZER, names.KNOWLEDGE_FINALIZER}]
        if rest != finalizers:
            await self._ctx.kube.set_finalizers(raw, rest)

    def _record_heartbeat(self, url: str) -> None:
        state = self._ctx.world.endpoints.get(url)
        up = state is not None and state.facts.reachable and state.misses == 0
        nodes = state.nodes if state is not None else ()
        self._metrics.record_endpoint(url, nodes, up=up, now=self._ctx.now())

    async def _fail(self, key: Key, raw: dict[str, Any] | None, error: Exception) -> float | None:
        outcome = outcome_of(error)
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        expected = isinstance(error, OperatorError)
        log.log(
            30 if expected else 40,
            "reconcile_failed",
            kind=key.kind,
            name=key.name,
            error=error.message if isinstance(error, OperatorError) else first_line(error),
            exc_info=None if expected else error,
        )
        if isinstance(error, OperatorError) and error.reason == API_SERVER_UNREACHABLE:
            return min(float(failures), _API_SERVER_AGAIN)  # its silence says nothing about the resource
        if raw is not None and outcome.condition is not None:
            await self._report(raw, error, outcome)
        return retry_delay(outcome, failures, self._ctx)

    async def _report(self, raw: dict[str, Any], error: Exception, outcome: Outcome) -> None:
        status = failure_status(raw, error, outcome, now=self._ctx.now())
        try:
            await write_status(self._ctx, raw, before=former_conditions(raw), status=status)
        except OperatorError as again:
            # The server may be what does not answer; the key's own delay brings it back.
            log.warning("status_not_written", kind=raw["kind"], name=raw["metadata"]["name"], error=again.message)


def retry_delay(outcome: Outcome, failures: int, ctx: Context) -> float | None:
    """Return the seconds until a key is looked at again after its `failures`-th error in a row."""
    intervals = ctx.settings.intervals
    match outcome.retry:
        case Retry.SPEC_CHANGE:
            return None
        case Retry.LATER:
            return intervals.not_yet
        case Retry.GROWING:
            return float(
                min(intervals.unreachable_first * 2 ** min(failures - 1, _MOST_DOUBLINGS), intervals.unreachable_most)
            )
        case Retry.AT_ONCE:
            return 0.0 if failures == 1 else 0.1 * min(failures, 50)


class _RawStatus(Status):
    """Any kind's status, of which only conditions are understood."""

    rest: dict[str, Any] = {}  # noqa: RUF012 (pydantic copies defaults)

    def to_json_object(self) -> dict[str, object]:
        """Return the status with everything else that was there."""
        own = super().to_json_object()
        own.pop("rest", None)
        return {**self.rest, **own}


def former_conditions(raw: Mapping[str, Any]) -> tuple[Condition, ...]:
    """Return the conditions of an object that may not be readable as a whole."""
    result = []
    for item in (raw.get("status") or {}).get("conditions") or ():
        try:
            result.append(Condition.model_validate(item))
        except ValidationError:
            continue
    return tuple(result)


def failure_status(raw: Mapping[str, Any], error: Exception, outcome: Outcome, *, now: datetime) -> Status:
    """Return the status with what an error means; everything else stays."""
    known = isinstance(error, OperatorError)
    reason = Reason.INTERNAL_ERROR
    if isinstance(error, OperatorError):
        fallback = Reason.UNREACHABLE if isinstance(error, UnreachableError) else Reason.INVALID_SPEC
        reason = Reason.lookup(error.reason) or fallback
    message = error.message if known and isinstance(error, OperatorError) else first_line(error)
    verdict = Verdict(ConditionStatus(outcome.status), reason, message)
    type_ = ConditionType(outcome.condition or "Ready")
    before = former_conditions(raw)
    generation = raw["metadata"].get("generation")
    verdicts: dict[ConditionType, Verdict] = {
        ConditionType(c.type): Verdict(c.status, Reason.lookup(c.reason) or Reason.INTERNAL_ERROR, c.message)
        for c in before
        if c.type in _TYPES and c.type != ConditionType.READY
    }
    verdicts[type_] = verdict
    verdicts[ConditionType.READY] = Verdict(
        verdict.status, reason, message if type_ is ConditionType.READY else f"{type_}: {message}"
    )
    conditions = write_conditions(verdicts, before=before, required=(), generation=generation, now=now)
    rest = {k: v for k, v in (raw.get("status") or {}).items() if k not in {"conditions", "observedGeneration"}}
    return _RawStatus(observed_generation=generation, conditions=conditions, rest=rest)


def forget(ctx: Context, key: Key) -> None:
    """Drop what is remembered of a resource that is gone."""
    ctx.world.known.get(key.kind, set()).discard(key.name)
    if key.kind == names.NODE:
        forget_node(ctx, key.name)
    if key.kind == names.KNOWLEDGE_BASE:
        ctx.world.configured.pop(key.name, None)
    if key.kind == names.SOURCE and (facts := ctx.world.sources.pop(key.name, None)) is not None:
        ctx.wake(Key(names.KNOWLEDGE_BASE, facts.knowledge_base))
    if key.kind in {names.NODE, names.MODEL}:
        ctx.world.make_dirty()
        ctx.wake_fleet()
