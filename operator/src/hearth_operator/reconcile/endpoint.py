"""One Ray endpoint: its heartbeat, what failed there, and when its document is looked at again."""

from dataclasses import replace

import structlog

from hearth_api.kinds import InferenceNode
from hearth_operator import names
from hearth_operator.clients.http import HttpStatusError
from hearth_operator.clients.model import Access
from hearth_operator.clients.ray import RayApi
from hearth_operator.errors import OperatorError, UnreachableError
from hearth_operator.facts import EndpointFacts, RayApp, RayNode, Reach
from hearth_operator.reconcile.context import Context
from hearth_operator.reconcile.document import sync
from hearth_operator.reconcile.placing import placements, ready_nodes
from hearth_operator.reconcile.queue import Key
from hearth_operator.reconcile.world import EndpointState, FailedApp

__all__ = ["placements", "ready_nodes", "reconcile_endpoint", "register"]

log = structlog.get_logger(__name__)
_MISSES = 2
"""Unanswered heartbeats in a row until a machine counts as gone: one may be a busy moment."""


async def reconcile_endpoint(ctx: Context, url: str) -> float | None:
    """One heartbeat, and a PUT where the document must change. Returns the seconds until the next."""
    state = ctx.world.endpoints.get(url)
    if state is None or not state.nodes:
        ctx.world.endpoints.pop(url, None)
        return None
    before, told = state.facts, _digest(state)
    ray = ctx.ray(url, state.token)
    await _beat(ctx, ray, state)
    again = note_failures(ctx, state)
    changed = _apps(state.facts) != _apps(before)
    if state.facts.reachable and (state.dirty or again or changed):
        await _write(ctx, ray, state, url, again=again)
    if _digest(state) != told:
        for node in sorted(state.nodes):
            ctx.wake(Key(names.NODE, node))
        concerned = {app.partition(".")[0] for app in (*before.apps, *state.facts.apps)}
        for model in sorted(concerned & ctx.world.known.get(names.MODEL, set())):
            ctx.wake(Key(names.MODEL, model))
        state.version += 1
        ctx.wake_fleet()  # who else has to do with this machine
    intervals = ctx.settings.intervals
    return intervals.heartbeat if state.misses != 1 else intervals.heartbeat / 4  # soon sure


def note_failures(ctx: Context, state: EndpointState) -> frozenset[str]:
    """Remember what Ray gave up, and return what is due for another try: a missing file may be there by now."""
    intervals = ctx.settings.intervals
    for name, app in state.facts.apps.items():
        known = state.failed.get(name)
        if app.replicas or (known is not None and app.config != known.app.config):
            state.failed.pop(name, None)
            known = None
        if app.status == "DEPLOY_FAILED" and not app.replicas:
            if known is None:
                state.failed[name] = FailedApp(app=app, tries=0, next_at=ctx.clock() + intervals.retry_first)
            else:
                known.app = app
    return frozenset(
        name
        for name, failed in state.failed.items()
        if ctx.clock() >= failed.next_at
        and name in state.facts.apps
        and state.facts.apps[name].status == "DEPLOY_FAILED"
    )


def _postpone(ctx: Context, state: EndpointState, names_: frozenset[str]) -> None:
    intervals = ctx.settings.intervals
    for name in names_:
        failed = state.failed[name]
        failed.tries += 1
        wait = min(intervals.retry_first * 2.0**failed.tries, intervals.retry_most)
        failed.next_at = ctx.clock() + wait


def _apps(facts: EndpointFacts) -> object:
    return tuple(sorted((a.name, a.status, a.message, a.replicas, a.node_ids) for a in facts.apps.values()))


def _digest(state: EndpointState) -> object:
    """Return what of an endpoint matters to others."""
    facts = state.facts
    raylets = tuple(sorted((r.node_id, r.alive) for r in facts.raylets))
    trouble = (state.error, facts.taken, dict(state.setbacks), dict(state.astray))
    return (facts.reach, facts.message, facts.version, raylets, _apps(facts), trouble)


async def _write(ctx: Context, ray: RayApi, state: EndpointState, url: str, *, again: frozenset[str]) -> None:
    """Bring the document up to date. That it cannot be done now never stops the heartbeat."""
    try:
        if await sync(ctx, ray, state, url, again=again):
            _postpone(ctx, state, again)
    except OperatorError as error:
        log.warning("serve_not_written", endpoint=url, error=error.message[:300])


async def _beat(ctx: Context, ray: RayApi, state: EndpointState) -> None:
    """Ask the endpoint; remember what it said."""
    intervals = ctx.settings.intervals
    known, begun = state.facts, ctx.clock()
    try:
        apps = await ray.applications(timeout=intervals.heartbeat_timeout)
        version, raylets = await _identify(ctx, ray, state)
    except (UnreachableError, HttpStatusError) as error:
        _miss(state, error)
        return
    apps = {name: _carry_over(app, known.apps.get(name)) for name, app in apps.items()}
    state.misses, state.heard_at = 0, begun
    state.facts = replace(known, reach=Reach.REACHABLE, message="", version=version, raylets=raylets, apps=apps)


def _carry_over(app: RayApp, before: RayApp | None) -> RayApp:
    """Return an application with the replicas that it had, while Ray names none because it imports the next one."""
    if not app.importing or before is None:
        return app
    return replace(app, replicas=before.replicas, node_ids=before.node_ids)


async def _identify(ctx: Context, ray: RayApi, state: EndpointState) -> tuple[str, tuple[RayNode, ...]]:
    """Return version and raylets: asked for now and then, and always when it came back or has none alive."""
    known = state.facts
    settled = known.reachable and any(r.alive for r in known.raylets)
    if settled and ctx.clock() - state.raylets_at < ctx.settings.intervals.nodes:
        return known.version, known.raylets
    try:
        found = await ray.version(), await ray.nodes()
    except (UnreachableError, HttpStatusError):
        if not settled:
            raise
        # It answers; that its state is slow to tell on a busy machine makes nothing unknown.
        return known.version, known.raylets
    state.raylets_at = ctx.clock()
    return found


def _miss(state: EndpointState, error: OperatorError) -> None:
    state.misses += 1
    refused = error.reason == "RayTokenRefused"
    state.begun.clear()  # nothing is overdue of what could not be watched
    if not refused and state.facts.reachable and state.misses < _MISSES:
        return
    message = error.message
    # Whatever ran there, nothing is known of it now; a Ray that comes back is asked for everything anew.
    garbled = error.reason == "UnexpectedAnswer"
    reach = Reach.REFUSED if refused else Reach.GARBLED if garbled else Reach.OFFLINE
    state.facts = EndpointFacts(reach=reach, message=message)
    state.dirty = True


def register(ctx: Context, node: InferenceNode, *, urls: tuple[str, str], token: Access | str | None) -> EndpointState:
    """Make a node part of its endpoint (and of no other) and return that."""
    name = node.metadata.name
    for url, state in ctx.world.endpoints.items():
        if url != urls[0]:
            state.nodes.discard(name)
    state = ctx.world.endpoints.setdefault(urls[0], EndpointState())
    new = name not in state.nodes
    state.nodes.add(name)
    # Nodes that share a Ray share its document: the first by name says how it is reached, or they would take turns.
    leads = name == min(state.nodes) and (token is not None or len(state.nodes) == 1)
    if new or (leads and (state.token, state.serve_url) != (token, urls[1])):
        if leads or state.token is None:
            state.token, state.serve_url = token, urls[1]
        state.dirty = True
        ctx.wake(Key("Endpoint", urls[0]))
    return state
