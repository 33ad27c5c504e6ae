"""Who of a model's variants serves: what answers, against what served so far."""

from collections.abc import Sequence
from dataclasses import replace

import structlog

from hearth_api.kinds import ModelDeployment
from hearth_api.kinds.model import VariantState
from hearth_operator import names
from hearth_operator.plan.failback import Memory, decide
from hearth_operator.reconcile.context import Context
from hearth_operator.status.model import VariantFacts, variant_status

log = structlog.get_logger(__name__)


def hold_back(
    ctx: Context, model: ModelDeployment, facts: Sequence[VariantFacts]
) -> tuple[list[VariantFacts], float | None]:
    """Return the facts with `recovering` where a variant has to wait, and the seconds until the first one need not."""
    uid = model.metadata.uid or ""
    memory = ctx.world.failback.get(uid) or Memory(model.status.serving)
    now = ctx.clock()
    answers = [(f.variant.name, _since(ctx, model, f, now=now)) for f in facts]
    decision = decide(memory, answers, stable=float(model.spec.failback.stable_seconds), now=now)
    ctx.world.failback[uid] = decision.memory
    if decision.serving is not None and memory.serving not in {None, decision.serving}:
        log.info("serving_switched", model=model.metadata.name, was=memory.serving, now=decision.serving)
    shown = []
    for fact in facts:
        hold = decision.held.get(fact.variant.name)
        words = _words(ctx, model, fact, wait=hold.wait, serving=decision.serving) if hold is not None else None
        shown.append(replace(fact, recovering=words))
    return shown, min((max(0.0, h.until - now) for h in decision.held.values()), default=None)


def _since(ctx: Context, model: ModelDeployment, fact: VariantFacts, *, now: float) -> float | None:
    """Return since when a variant answers; None: it does not, or is not to serve."""
    if variant_status(fact, suspended=model.spec.suspend).state is not VariantState.AVAILABLE:
        return None
    state = ctx.world.serving.get(names.app_name(model.metadata.name, fact.variant.name))
    return state.alive_since if state is not None and state.alive_since is not None else now


def _words(ctx: Context, model: ModelDeployment, fact: VariantFacts, *, wait: float, serving: str | None) -> str:
    state = ctx.world.serving.get(names.app_name(model.metadata.name, fact.variant.name))
    since = f" since {state.alive_from:%H:%M:%SZ}" if state is not None and state.alive_from else ""
    return f"answers{since}; {serving} serves until it has done so for {wait:.0f} s on end"
