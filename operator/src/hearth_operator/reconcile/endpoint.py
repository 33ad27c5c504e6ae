"""One Ray endpoint: its heartbeat, and the only writer of its Serve document."""

from dataclasses import replace

import structlog

from hearth_api.kinds import InferenceNode
from hearth_operator import names
from hearth_operator.clients.http import HttpStatusError
from hearth_operator.clients.ray import RayApi
from hearth_operator.errors import InvalidSpecError, OperatorError, UnreachableError
from hearth_operator.facts import EndpointFacts, RayNode, Reach
from hearth_operator.plan.aliases import taken_by
from hearth_operator.plan.capacity import Plan, place
from hearth_operator.plan.serve_document import Application, ServePlan, build_application, pin_labels, plan_put
from hearth_operator.reconcile.context import Context
from hearth_operator.reconcile.observe import Fleet, observe_fleet
from hearth_operator.reconcile.queue import Key
from hearth_operator.reconcile.world import EndpointState, FailedApp
from hearth_operator.status.node import node_ready

log = structlog.get_logger(__name__)
_MISSES = 2
"""Unanswered heartbeats in a row until a machine counts as gone: one may be a busy moment."""


async def reconcile_endpoint(ctx: Context, url: str) -> float | None:
    """One heartbeat, and a PUT where the document must change. Returns the seconds until the next."""
    state = ctx.world.endpoints.get(url)
    if state is None or not state.nodes:
        ctx.world.endpoints.pop(url, None)
        return None
    before = state.facts
    ray = ctx.ray(url, state.token)
    await _beat(ctx, ray, state)
    again = note_failures(ctx, state)
    if state.facts.reachable and (state.dirty or again or state.facts.apps.keys() != before.apps.keys()):
        await _sync(ctx, ray, state, url, again=again)
    if _digest(state.facts) != _digest(before):
        for node in sorted(state.nodes):
            ctx.wake(Key(names.NODE, node))
        ctx.wake_all(names.MODEL)
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


def _digest(facts: EndpointFacts) -> object:
    """Return what of an endpoint matters to others."""
    apps = tuple(sorted((a.name, a.status, a.message, a.replicas) for a in facts.apps.values()))
    raylets = tuple(sorted((r.node_id, r.alive) for r in facts.raylets))
    return (facts.reach, facts.message, facts.version, raylets, apps)


async def _beat(ctx: Context, ray: RayApi, state: EndpointState) -> None:
    """Ask the endpoint; remember what it said."""
    intervals = ctx.settings.intervals
    known = state.facts
    try:
        apps = await ray.applications(timeout=intervals.heartbeat_timeout)
        version, raylets = await _identify(ctx, ray, state)
    except (UnreachableError, HttpStatusError) as error:
        _miss(state, error)
        return
    state.misses = 0
    state.facts = replace(known, reach=Reach.REACHABLE, message="", version=version, raylets=raylets, apps=apps)


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
    if not refused and state.facts.reachable and state.misses < _MISSES:
        return
    message = error.message
    # Whatever ran there, nothing is known of it now; a Ray that comes back is asked for everything anew.
    state.facts = EndpointFacts(reach=Reach.REFUSED if refused else Reach.OFFLINE, message=message)
    state.dirty = True


async def _sync(ctx: Context, ray: RayApi, state: EndpointState, url: str, *, again: frozenset[str]) -> None:
    """Compute the document from all ModelDeployments and put it if it differs from what Ray has."""
    async with state.lock:
        state.dirty = False
        try:
            fleet = await observe_fleet(ctx)
            plan = plan_endpoint(ctx, fleet, state, again=again)
            asked = {app["name"] for app in plan.document["applications"]} | again
            state.failed = {name: failed for name, failed in state.failed.items() if name in asked}
            if not plan.put:
                state.error = None
                return
            if plan.digest == state.last_digest and ctx.clock() - state.put_at < ctx.settings.intervals.re_put:
                state.dirty = True  # just put: give Ray a moment to show it
                return
            await _put(ctx, ray, state, plan, url)
            _postpone(ctx, state, again)
        except BaseException:
            state.dirty = True
            raise


async def _put(ctx: Context, ray: RayApi, state: EndpointState, plan: ServePlan, url: str) -> None:
    state.put_at = ctx.clock()
    try:
        await ray.put_applications(plan.document)
    except HttpStatusError as error:
        if error.status >= 500:
            raise UnreachableError("RayUnreachable", error.message) from error
        state.error = error.message
        log.warning("serve_put_refused", endpoint=url, error=error.message[:1000])
        return
    state.error = None
    state.last_digest = plan.digest
    # Look once more: what Ray shows next is compared with what was wanted.
    state.dirty = True
    log.info("serve_put", endpoint=url, plan=list(plan.sentences), digest=plan.digest[:12])


def ready_nodes(ctx: Context, fleet: Fleet) -> set[str]:
    """Return the nodes that may take a model now."""
    result = set()
    for name, node in fleet.nodes.items():
        endpoint = ctx.world.endpoint_of(name)
        if endpoint is not None and node_ready(endpoint.facts, node, pin_labels(node)):
            result.add(name)
    return result


def placements(ctx: Context, fleet: Fleet) -> Plan:
    """Return where every variant goes, by application name."""
    return place(fleet.models, fleet.nodes, ready=ready_nodes(ctx, fleet))


def plan_endpoint(
    ctx: Context, fleet: Fleet, state: EndpointState, *, again: frozenset[str] = frozenset()
) -> ServePlan:
    """Return the plan of one endpoint. A resource that cannot be built now keeps what it has there."""
    placed = placements(ctx, fleet)
    ready = ready_nodes(ctx, fleet)
    refused = taken_by(fleet.models)
    wanted: list[Application] = []
    held: set[str] = set()
    for model in fleet.models:
        if model.spec.suspend:
            continue
        for variant in model.spec.variants:
            placement = placed[names.app_name(model.metadata.name, variant.name)]
            node = fleet.nodes.get(placement.node or variant.node.name or "")
            if node is not None and (node.metadata.name not in state.nodes or node.spec.suspend):
                continue
            held.add(placement.app)
            if node is None or not placement.fits or model.metadata.name in refused:
                continue
            # Ray never fails an application whose label no raylet has: it waits for ever. So it is not asked.
            if node.metadata.name not in ready and placement.app not in state.facts.apps:
                continue
            try:
                wanted.append(build_application(model, variant, node))
            except InvalidSpecError:
                continue  # its own status says so; the others go on
    return plan_put(
        wanted,
        state.facts.apps,
        held=frozenset(held),
        broken=fleet.broken,
        serve_url=state.serve_url,
        last_digest=state.last_digest,
        again=again,
    )


def register(ctx: Context, node: InferenceNode, *, urls: tuple[str, str], token: str | None) -> EndpointState:
    """Make a node part of its endpoint (and of no other) and return that."""
    name = node.metadata.name
    for url, state in ctx.world.endpoints.items():
        if url != urls[0]:
            state.nodes.discard(name)
    state = ctx.world.endpoints.setdefault(urls[0], EndpointState())
    if name not in state.nodes or state.token != token or state.serve_url != urls[1]:
        state.nodes.add(name)
        state.token, state.serve_url = token, urls[1]
        state.dirty = True
        ctx.wake(Key("Endpoint", urls[0]))
    return state
