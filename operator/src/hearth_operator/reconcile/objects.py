"""Observe, plan and apply child objects."""

from collections.abc import Iterable
from typing import Any

import structlog

from hearth_operator.plan.actions import key_of, plan_objects
from hearth_operator.reconcile.context import Context

log = structlog.get_logger(__name__)


async def apply_objects(ctx: Context, wanted: Iterable[dict[str, Any]], *, of: str) -> tuple[str, ...]:
    """Bring child objects to what is wanted; return the plan's sentences (empty: nothing had to be done)."""
    manifests = tuple(wanted)
    keys = [key_of(m) for m in manifests]
    live = {(kind, name): await ctx.kube.get(kind, name) for kind, name in keys}
    actions = plan_objects(manifests, live)
    for action in actions:
        await ctx.kube.apply(action.manifest)
    if actions:
        log.info("applied", of=of, plan=[a.sentence for a in actions])
    return tuple(a.sentence for a in actions)
