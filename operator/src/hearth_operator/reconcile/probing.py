"""Whether a variant really computes: its `/info` often, its `/probe` only when it is idle.

One task per variant asks, so that one that hangs holds up nobody. It wakes the model when what it finds changes.
"""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from hearth_api.kinds import InferenceNode
from hearth_api.wire.serve import ServeInfo
from hearth_operator import names
from hearth_operator.clients.http import HttpStatusError
from hearth_operator.clients.model import Access
from hearth_operator.errors import OperatorError, UnreachableError
from hearth_operator.facts import RayApp, Reach, ServingFacts
from hearth_operator.reconcile.context import Context
from hearth_operator.reconcile.queue import Key
from hearth_operator.reconcile.secrets import secret_refs, serve_access
from hearth_operator.reconcile.world import ServingState

_MISSES = 2
_BUSY = 503
_PEAK_STEP = 25
"""Bits of a peak that are no news: 32Mi."""
SILENT = frozenset({Reach.OFFLINE, Reach.GARBLED, Reach.REFUSED})
"""Ray tells nothing. What its replicas compute is a matter of their own."""
Answer = TypeVar("Answer")


def forget_serving(ctx: Context, app: str) -> None:
    """Forget what a variant said, and ask it no more."""
    state = ctx.world.serving.pop(app, None)
    if state is not None and state.task is not None:
        state.task.cancel()


def stop_watching(ctx: Context) -> None:
    """Ask nobody any more: the operator ends."""
    for app in list(ctx.world.serving):
        forget_serving(ctx, app)


def observe_serving(
    ctx: Context, node: InferenceNode, *, names_: tuple[str, str], url: str, app: RayApp | None, reach: Reach, was: bool
) -> tuple[ServingFacts, bool]:
    """Return what the variant's routes say, and whether that is an answer at all.

    `names_` are of the model and the application, `was` is whether the status says so far that it serves. Other
    replicas than before have to prove themselves anew, those on another machine before they count as serving. While Ray
    is silent the variant is asked on.
    """
    model, name = names_
    replicas = app.replicas if app is not None else ()
    state = ctx.world.serving.get(name)
    if not replicas and not (reach in SILENT and (state is not None or was)):
        forget_serving(ctx, name)
        return ServingFacts(), True
    target = (url, secret_refs(node)[1])
    moved = state is not None and state.target != target
    if state is None or moved or (replicas and state.replicas and state.replicas != replicas):
        info = state.facts.info if state is not None else None
        # Ray puts a replica that is ready in the place of one that served: requests go on meanwhile.
        handed_over = state is not None and not moved and state.facts.alive
        forget_serving(ctx, name)
        # So it is believed until the first answer is there, as a status is after a restart of the operator.
        state = ServingState(facts=ServingFacts(info=info), target=target, proven=was and (info is None or handed_over))
        ctx.world.serving[name] = state
    if replicas:
        state.replicas = replicas
    if state.task is None or state.task.done():
        ended, state.task = state.task, asyncio.create_task(_watch(ctx, node, model, state))
        if ended is not None and not ended.cancelled():
            ended.result()  # it never ends but by a bug, which belongs to the loop's table
    return state.facts, state.settled or not state.proven


async def _watch(ctx: Context, node: InferenceNode, model: str, state: ServingState) -> None:
    told: object = None
    while True:
        delay = await _look(ctx, node, model, state)
        said = _news(state)
        if said != told:
            told = said
            ctx.wake(Key(names.MODEL, model))
        await asyncio.sleep(delay)


def _news(state: ServingState) -> object:
    """Return what of an answer matters to the status."""
    facts, info = state.facts, state.facts.info
    shown = None
    if info is not None:
        peak = info.memory.peak >> _PEAK_STEP
        shown = (info.model_digest, info.context_tokens, info.slots_total, info.dimensions, info.shape, peak)
    return (facts.alive, facts.error, state.alive_since, state.settled, shown)


async def _look(ctx: Context, node: InferenceNode, model: str, state: ServingState) -> float:
    """Ask once, and return the seconds until the next time."""
    intervals = ctx.settings.intervals
    try:
        if state.access is None:
            state.access = await serve_access(ctx, node)
        info = await _ask(ctx, state, state.access)
        _demand(info, model=model, node=node)
        await _prove(ctx, state, info, state.access)
    except OperatorError as error:
        state.access = None  # its Secret may be another one by now
        state.misses += 1
        if (state.facts.alive or (state.proven and not state.settled)) and state.misses < _MISSES:
            return intervals.look_again
        state.alive_at, state.alive_since, state.settled = float("-inf"), None, True
        state.facts = ServingFacts(info=state.facts.info, error=error.message, silent_since=state.silent_since)
        return intervals.loading
    state.misses = 0
    if state.alive_since is None:
        state.alive_since, state.alive_from = ctx.clock(), ctx.now()
    state.proven = state.settled = True
    state.facts = ServingFacts(info=info, alive=True)
    return intervals.look


async def _ask(ctx: Context, state: ServingState, access: Access) -> ServeInfo:
    """Return what it says of itself, and remember since when it says nothing at all."""
    begun = ctx.clock()
    try:
        info = await _within(ctx.model.info(state.target[0], access), ctx.settings.intervals.look_timeout, "GET /info")
    except OperatorError as error:
        answered = isinstance(error.__cause__, HttpStatusError)
        state.silent_since = None if answered else begun if state.silent_since is None else state.silent_since
        raise
    state.silent_since = None
    return info


def _demand(info: ServeInfo, *, model: str, node: InferenceNode) -> None:
    if (info.model_id, info.node) != (model, node.metadata.name):
        said = f"{info.model_id} on {info.node}"
        raise UnreachableError("ProbeFailed", f"{said} answers there, not {model} on {node.metadata.name}")


async def _prove(ctx: Context, state: ServingState, info: ServeInfo, access: Access) -> None:
    """Return if it is alive: tokens were produced since the last look, or a probe computes one. Else OperatorError."""
    intervals, now = ctx.settings.intervals, ctx.clock()
    grew = state.tokens.get(info.pid, info.tokens_produced) < info.tokens_produced
    state.tokens[info.pid] = info.tokens_produced
    if grew:
        _note_proof(state, now)
        return
    if info.slots_busy > 0:
        if _may_be_a_long_prompt(ctx, state, info):
            return
    elif now - state.alive_at < intervals.probe and state.facts.alive:
        state.busy_since = None
        return
    else:
        state.busy_since = None
    await _probe(ctx, state, info, access)


def _may_be_a_long_prompt(ctx: Context, state: ServingState, info: ServeInfo) -> bool:
    """Return whether slots that are busy without a token are believed: reading a prompt produces nothing.

    A probe would only wait behind it. What did not compute when it was asked is not believed, and nothing for ever.
    """
    now, limit = ctx.clock(), ctx.settings.intervals.stalled
    if state.busy_since is None:
        state.busy_since = now
    if not state.proven or state.suspect:
        return False
    if now - state.busy_since < limit:
        return True
    state.suspect, state.misses = True, _MISSES
    busy = f"{info.slots_busy} of {info.slots_total} slots"
    raise UnreachableError("ProbeFailed", f"{busy} are busy for {limit:.0f} s and no token came")


async def _probe(ctx: Context, state: ServingState, info: ServeInfo, access: Access) -> None:
    intervals = ctx.settings.intervals
    limit = intervals.first_probe_timeout
    if state.proven:
        limit = min(limit, max(intervals.probe_timeout, 4 * state.took))
    begun = ctx.clock()
    try:
        await _within(ctx.model.probe(state.target[0], access), limit, "POST /probe")
    except OperatorError as error:
        refused = isinstance(error.__cause__, HttpStatusError) and error.__cause__.status == _BUSY
        if refused and _may_be_a_long_prompt(ctx, state, info):
            return  # a request came between the two questions
        state.suspect = state.suspect or not refused
        raise
    state.took = ctx.clock() - begun
    _note_proof(state, ctx.clock())


def _note_proof(state: ServingState, now: float) -> None:
    state.alive_at, state.busy_since, state.suspect = now, None, False


async def _within(asked: Awaitable[Answer], seconds: float, what: str) -> Answer:
    try:
        async with asyncio.timeout(seconds):
            return await asked
    except TimeoutError as error:
        raise UnreachableError("ProbeFailed", f"{what}: no answer within {seconds:.0f} s") from error
