"""Conditions: what was observed, in Kubernetes' shape.

A condition's `lastTransitionTime` moves only when its status does, so that "since when" can be read from it.
"""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from hearth_api.base import LenientModel
from hearth_api.reasons import Reason

MESSAGE_LIMIT = 4096


class ConditionStatus(StrEnum):
    """Unknown is the truth where nothing could be observed."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class ConditionType(StrEnum):
    """All condition types of the four kinds."""

    REACHABLE = "Reachable"
    RAY_VERSION_SUPPORTED = "RayVersionSupported"
    YIELDING = "Yielding"
    ACCEPTED = "Accepted"
    FITS = "Fits"
    WEIGHTS_READY = "WeightsReady"
    AVAILABLE = "Available"
    DEGRADED = "Degraded"
    PROGRESSING = "Progressing"
    PROVISIONED = "Provisioned"
    POPULATED = "Populated"
    CONSISTENT = "Consistent"
    SCHEDULED = "Scheduled"
    SYNCED = "Synced"
    FRESH = "Fresh"
    READY = "Ready"


class Condition(LenientModel):
    """One condition, as in Kubernetes' metav1.Condition."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    type: Annotated[str, Field(min_length=1, max_length=63)]
    """What the condition says something about."""
    status: ConditionStatus
    """True, False, or Unknown where it could not be observed."""
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """Generation of the spec that was judged."""
    last_transition_time: datetime
    """When the status last changed."""
    reason: Annotated[str, Field(max_length=128, pattern=r"^[A-Z][A-Za-z0-9]*$")]
    """One word; crds/README.md explains each."""
    message: Annotated[str, Field(max_length=MESSAGE_LIMIT)] = ""
    """The facts in words, with the remedy where there is one."""


def find_condition(conditions: Iterable[Condition], type_: str) -> Condition | None:
    """Return the condition of a type, or None."""
    return next((condition for condition in conditions if condition.type == type_), None)


def is_true(conditions: Iterable[Condition], type_: str) -> bool:
    """Whether the condition of a type is there and True."""
    condition = find_condition(conditions, type_)
    return condition is not None and condition.status is ConditionStatus.TRUE


def set_condition(
    conditions: Iterable[Condition],
    type_: ConditionType,
    *,
    status: ConditionStatus,
    reason: Reason,
    message: str = "",
    generation: int | None,
    now: datetime,
) -> tuple[Condition, ...]:
    """Return the conditions with one set: in its place when it is there, at the end otherwise.

    `now` is timezone-aware; conditions carry whole seconds. A message that is too long loses its end.
    """
    before = tuple(conditions)
    old = find_condition(before, type_)
    same = old is not None and old.status is status
    new = Condition(
        type=type_.value,
        status=status,
        observed_generation=generation,
        last_transition_time=old.last_transition_time if old is not None and same else now.replace(microsecond=0),
        reason=reason.value,
        message=message if len(message) <= MESSAGE_LIMIT else message[: MESSAGE_LIMIT - 1] + "…",
    )
    if old is None:
        return (*before, new)
    return tuple(new if condition.type == type_ else condition for condition in before)


def remove_condition(conditions: Iterable[Condition], type_: ConditionType) -> tuple[Condition, ...]:
    """Return the conditions without one type."""
    return tuple(condition for condition in conditions if condition.type != type_)


def summarize_ready(
    conditions: Iterable[Condition], *, required: Iterable[ConditionType], generation: int | None, now: datetime
) -> tuple[Condition, ...]:
    """Return the conditions with Ready set from the required ones, in order of cause.

    Ready is True when all are True. Otherwise it repeats the first that is not: its status (a missing one counts as
    Unknown), its reason, and its message with its type in front.
    """
    present = tuple(conditions)
    status, reason, message = _first_cause(present, required)
    return set_condition(
        present, ConditionType.READY, status=status, reason=reason, message=message, generation=generation, now=now
    )


def _first_cause(
    conditions: tuple[Condition, ...], required: Iterable[ConditionType]
) -> tuple[ConditionStatus, Reason, str]:
    for type_ in required:
        cause = find_condition(conditions, type_)
        if cause is None:
            return ConditionStatus.UNKNOWN, Reason.NOT_OBSERVED, f"{type_}: not observed yet"
        if cause.status is not ConditionStatus.TRUE:
            message = f"{type_}: {cause.message}" if cause.message else type_.value
            return cause.status, Reason.lookup(cause.reason) or Reason.INTERNAL_ERROR, message
    return ConditionStatus.TRUE, Reason.READY, ""
