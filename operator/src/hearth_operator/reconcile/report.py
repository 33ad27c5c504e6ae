"""Writing a status: only when it changed, with an Event for each transition.

Events are told first, under names that follow from the transition: whoever dies in between tells the same ones again.
"""

import asyncio
from typing import Any

import structlog

from hearth_api.conditions import Condition, ConditionStatus
from hearth_api.kinds.base import Status
from hearth_api.reasons import PASSING, Reason
from hearth_operator.clients.kubernetes import API_SERVER_UNREACHABLE
from hearth_operator.errors import OperatorError
from hearth_operator.manifests.event import build_event, event_name
from hearth_operator.reconcile.context import Context
from hearth_operator.status.conditions import transitions

log = structlog.get_logger(__name__)
_BAD_WHEN_TRUE = {"Degraded"}
_NO_WARNING = PASSING | {Reason.NO_VARIANT_AVAILABLE, Reason.SUSPENDED}
"""What is False on the way, or because somebody wanted it, is no warning."""


async def write_status(ctx: Context, raw: dict[str, Any], *, before: tuple[Condition, ...], status: Status) -> bool:
    """Write the status of an observed object if it differs from what is there. Return whether it was written.

    Whoever names the object is woken: its own watch does not tell of what we write.
    """
    wanted = status.to_json_object()
    if (raw.get("status") or {}) == wanted:
        return False
    news = transitions(before, status.conditions)
    await asyncio.gather(*(post_event(ctx, raw, condition, warning=_is_bad(condition)) for condition in news))
    written = await ctx.kube.apply_status(raw["kind"], raw["metadata"]["name"], wanted)
    if written is None:
        return False
    ctx.wrote(raw["kind"], raw["metadata"]["name"], written)
    ctx.wake_users(raw["kind"], raw["metadata"]["name"])
    for condition in news:
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


async def post_event(ctx: Context, raw: dict[str, Any], condition: Condition, *, warning: bool) -> None:
    """Post one Event, once. An API server that refuses Events does not keep a status from being written."""
    event = build_event(
        raw,
        condition,
        name=event_name(raw, condition),
        namespace=ctx.settings.namespace,
        warning=warning,
        now=ctx.now(),
        instance=ctx.instance,
    )
    try:
        await ctx.kube.create(event)
    except OperatorError as error:
        if error.reason == API_SERVER_UNREACHABLE:
            raise
        log.warning("event_not_posted", kind=raw["kind"], name=raw["metadata"]["name"], error=error.message)


def _is_bad(condition: Condition) -> bool:
    bad = ConditionStatus.TRUE if condition.type in _BAD_WHEN_TRUE else ConditionStatus.FALSE
    return condition.status is bad and condition.reason not in _NO_WARNING
