"""A small writer of conditions: each pass states what it knows, the former conditions say since when."""

from dataclasses import dataclass
from datetime import datetime

from hearth_api.conditions import (
    Condition,
    ConditionStatus,
    ConditionType,
    find_condition,
    set_condition,
    summarize_ready,
)
from hearth_api.reasons import Reason
from hearth_operator.status.messages import plain


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one condition says."""

    status: ConditionStatus
    reason: Reason
    message: str = ""


def true(reason: Reason, message: str = "") -> Verdict:
    """Return a verdict: it is so."""
    return Verdict(ConditionStatus.TRUE, reason, message)


def false(reason: Reason, message: str = "") -> Verdict:
    """Return a verdict: it is not so."""
    return Verdict(ConditionStatus.FALSE, reason, message)


def unknown(reason: Reason, message: str = "") -> Verdict:
    """Return a verdict: it could not be observed."""
    return Verdict(ConditionStatus.UNKNOWN, reason, message)


def write_conditions(
    verdicts: dict[ConditionType, Verdict],
    *,
    before: tuple[Condition, ...],
    required: tuple[ConditionType, ...],
    generation: int | None,
    now: datetime,
) -> tuple[Condition, ...]:
    """Return all conditions in the order of the verdicts, with Ready last.

    Messages may hold foreign text: this is where it is made plain, for conditions and for Events that repeat them.
    A Ready verdict among them is taken as it is; otherwise Ready sums up the required ones.
    """
    kept = tuple(c for t in (*verdicts, ConditionType.READY) if (c := find_condition(before, t)) is not None)
    for type_, verdict in verdicts.items():
        kept = set_condition(
            kept,
            type_,
            status=verdict.status,
            reason=verdict.reason,
            message=plain(verdict.message),
            generation=generation,
            now=now,
        )
    if ConditionType.READY not in verdicts:
        kept = summarize_ready(kept, required=required, generation=generation, now=now)
    order = [*(t for t in verdicts if t is not ConditionType.READY), ConditionType.READY]
    return tuple(c for t in order if (c := find_condition(kept, t)) is not None)


def transitions(before: tuple[Condition, ...], after: tuple[Condition, ...]) -> tuple[Condition, ...]:
    """Return the conditions whose status or reason changed, for Events. A first Unknown is no news."""
    news = []
    for condition in after:
        old = find_condition(before, condition.type)
        if old is None and condition.status is ConditionStatus.UNKNOWN:
            continue
        if old is None or (old.status, old.reason) != (condition.status, condition.reason):
            news.append(condition)
    return tuple(news)
