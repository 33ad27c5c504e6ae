"""Writing a status: only when it changed, with an Event for each transition."""

from typing import Any

import structlog

from hearth_api.conditions import Condition, ConditionStatus
from hearth_api.kinds.base import Status
from hearth_api.reasons import PASSING, Reason
from hearth_operator.reconcile.context import Context
from hearth_operator.status.conditions import transitions

log = structlog.get_logger(__name__)
_BAD_WHEN_TRUE = {"Degraded"}
_NO_WARNING = PASSING | {Reason.NO_VARIANT_AVAILABLE, Reason.SUSPENDED}
"""What is False on the way, or because somebody wanted it, is no warning."""


async def write_status(ctx: Context, raw: dict[str, Any], *, before: tuple[Condition, ...], status: Status) -> bool:
    """Write the status of an observed object if it differs from what is there. Return whether it was written."""
    wanted = status.to_json_object()
    if (raw.get("status") or {}) == wanted:
        return False
    written = await ctx.kube.apply_status(raw["kind"], raw["metadata"]["name"], wanted)
    if written is None:
        return False
    ctx.wrote(raw["kind"], raw["metadata"]["name"], written)
    for condition in transitions(before, status.conditions):
        warning = _is_bad(condition)
        ctx.events.emit(
            raw, warning=warning, reason=condition.reason, message=f"{condition.type}: {condition.message}"[:1000]
        )
        log.info(
            "transition",
            kind=raw["kind"],
            name=raw["metadata"]["name"],
            condition=condition.type,
            status=condition.status.value,
            reason=condition.reason,
            message=condition.message[:300],
        )
    return True


def _is_bad(condition: Condition) -> bool:
    bad = ConditionStatus.TRUE if condition.type in _BAD_WHEN_TRUE else ConditionStatus.FALSE
    return condition.status is bad and condition.reason not in _NO_WARNING
