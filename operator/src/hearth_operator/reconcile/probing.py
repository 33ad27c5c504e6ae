"""Whether a variant really computes: its `/info` often, its `/probe` only when it is idle."""

from hearth_api.kinds import InferenceNode
from hearth_api.wire.serve import ServeInfo
from hearth_operator.clients.model import Access
from hearth_operator.errors import NotYetError, UnreachableError
from hearth_operator.facts import RayApp, ServingFacts
from hearth_operator.reconcile.context import Context
from hearth_operator.reconcile.secrets import serve_access
from hearth_operator.reconcile.world import ServingState

_MISSES = 2


def forget_serving(ctx: Context, app: str) -> None:
    """Forget what a variant said."""
    ctx.world.serving.pop(app, None)


async def observe_serving(
    ctx: Context, node: InferenceNode, name: str, *, url: str, app: RayApp | None
) -> ServingFacts:
    """Return what the variant's routes say. Other replicas than before have to prove themselves anew."""
    if app is None or not app.replicas:
        forget_serving(ctx, name)
        return ServingFacts()
    state = ctx.world.serving.setdefault(name, ServingState())
    if state.replicas != app.replicas:
        state.replicas, state.tokens, state.misses = app.replicas, -1, 0
        state.looked_at = state.alive_at = float("-inf")
        state.facts = ServingFacts(info=state.facts.info)
    intervals = ctx.settings.intervals
    fresh = ctx.clock() - state.looked_at < (intervals.catalog if state.facts.alive else intervals.loading) * 0.5
    if not fresh:
        state.looked_at = ctx.clock()
        await _look(ctx, node, state, url)
    return state.facts


async def _look(ctx: Context, node: InferenceNode, state: ServingState, url: str) -> None:
    try:
        access = await serve_access(ctx, node)
        info = await ctx.model.info(url, access)
        alive = await _prove(ctx, state, info, url, access)
    except (UnreachableError, NotYetError) as error:
        state.misses += 1
        if state.facts.alive and state.misses < _MISSES:
            return
        state.alive_at = float("-inf")
        state.facts = ServingFacts(info=state.facts.info, error=error.message)
        return
    state.misses = 0
    state.facts = ServingFacts(info=info, alive=alive)


async def _prove(ctx: Context, state: ServingState, info: ServeInfo, url: str, access: Access) -> bool:
    """Return whether it is alive: tokens were produced since the last look, or a probe computes one."""
    grew = state.tokens >= 0 and info.tokens_produced > state.tokens
    state.tokens = info.tokens_produced
    if grew:
        state.alive_at = ctx.clock()
        return True
    if ctx.clock() - state.alive_at < ctx.settings.intervals.probe:
        return True
    if info.slots_busy > 0 and state.facts.alive:
        return True  # a long prefill produces nothing for a while; a probe would only wait behind it
    await ctx.model.probe(url, access)
    state.alive_at = ctx.clock()
    return True
