"""The only writer of an endpoint's Serve document."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import structlog

from hearth_api.kinds import InferenceNode
from hearth_api.reasons import Reason
from hearth_api.wire.weights import MirrorAccess, WantedWeights
from hearth_operator import names
from hearth_operator.clients.http import HttpStatusError
from hearth_operator.clients.ray import RayApi
from hearth_operator.errors import InvalidSpecError
from hearth_operator.plan.aliases import taken_by
from hearth_operator.plan.capacity import Plan
from hearth_operator.plan.guest import Phase
from hearth_operator.plan.revisions import Application, Setback, dress, echo_problem, fingerprint, foreign_writer
from hearth_operator.plan.rollout import Way
from hearth_operator.plan.serve_document import ServePlan, build_application, pin_labels, plan_put
from hearth_operator.plan.serve_schema import check_application, check_document
from hearth_operator.plan.weights import build_weights_application, is_there, loaded_weights, remote_weights
from hearth_operator.reconcile.context import Context
from hearth_operator.reconcile.mirror import mirror_access, mirror_of
from hearth_operator.reconcile.observe import Fleet, observe_fleet
from hearth_operator.reconcile.placing import placements, ready_nodes
from hearth_operator.reconcile.records import load_owner, load_records
from hearth_operator.reconcile.rollout import Rollout, Want, find_setbacks, note_revisions
from hearth_operator.reconcile.weights import forget_weights, watch_weights
from hearth_operator.reconcile.world import EndpointState

log = structlog.get_logger(__name__)
_KEPT = "what served stays"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What an endpoint is to serve. `held`: applications that stay as they are; `broken`: models of which all stay."""

    wants: list[Want]
    held: frozenset[str]
    broken: frozenset[str]
    placed: Plan
    downloads: list[Application]
    """What brings weights, one for each machine that must have some."""


async def sync(ctx: Context, ray: RayApi, state: EndpointState, url: str, *, again: frozenset[str]) -> bool:
    """Compute the document from all ModelDeployments and put it if Ray has another. Returns whether it was put."""
    async with state.lock:
        state.dirty = False
        try:
            fleet = await observe_fleet(ctx)
            await load_owner(ctx)
            state.facts = replace(state.facts, taken=_taken(ctx, fleet, state))
            if state.facts.taken:
                state.dirty = True  # until somebody takes it over, or the other one is gone
                return False
            wishes = await _wishes(ctx, fleet, state)
            await load_records(ctx, state, {w.model.metadata.name: w.model for w in wishes.wants}.values())
            on_the_way = await note_revisions(ctx, state, wishes.wants)
            put = await _put_if_needed(ctx, ray, state, url, fleet=fleet, wishes=wishes, again=again)
            state.dirty = state.dirty or on_the_way or bool(state.waiting)
        except BaseException:
            state.dirty = True
            raise
    return put


def _taken(ctx: Context, fleet: Fleet, state: EndpointState) -> str:
    """Return why nothing is written: another operator does. A managed node's Ray is nobody else's."""
    nodes = [fleet.nodes[name] for name in sorted(state.nodes) if name in fleet.nodes]
    if not any(node.spec.external is not None for node in nodes):
        return ""
    adopted = {node.metadata.annotations.get(names.ANNOTATION_TAKE_OVER, "") for node in nodes}
    other = foreign_writer(state.facts.apps, ours=frozenset({ctx.world.owner, *adopted}))
    if other is None:
        return ""
    return (
        f"another Hearth ({other}) writes to this Ray, and two would take each other's models away: "
        f"remove it there, or annotate the InferenceNode {names.ANNOTATION_TAKE_OVER}={other}"
    )


def _is_left(ctx: Context, node: InferenceNode) -> bool:
    """Whether nothing of ours may be on the node."""
    return node.spec.suspend or ctx.world.stay(node.metadata.name).phase is Phase.AWAY


async def _wishes(ctx: Context, fleet: Fleet, state: EndpointState) -> Wishes:
    """Return what the specs ask of this endpoint. A resource that cannot be built now keeps what it has there."""
    placed = placements(ctx, fleet)
    ready = ready_nodes(ctx, fleet)
    refused = taken_by(fleet.models)
    wants: list[Want] = []
    held: set[str] = set()
    for model in fleet.models:
        if model.spec.suspend:
            continue
        for order, variant in enumerate(model.spec.variants):
            placement = placed[names.app_name(model.metadata.name, variant.name)]
            node = fleet.nodes.get(placement.node or variant.node.name or "")
            if node is not None and (node.metadata.name not in state.nodes or _is_left(ctx, node)):
                continue
            held.add(placement.app)
            if node is None or not placement.fits or model.metadata.name in refused:
                continue
            # Ray never fails an application whose label no raylet has: it waits for ever. So it is not asked.
            if node.metadata.name not in ready and placement.app not in state.facts.apps:
                continue
            try:
                app = build_application(model, variant, node, mirror=ctx.settings.has_mirror)
            except InvalidSpecError:
                continue  # its own status says so; the others go on
            wants.append(Want(model=model, variant=variant, order=order, app=app, mark=fingerprint(app)))
    broken = fleet.broken | await _still_there(ctx, fleet, state.facts.apps)
    mirror = await mirror_access(ctx)
    downloads, wants = _bring(ctx, fleet, state, wants, held=held, mirror=mirror)
    return Wishes(wants=wants, held=frozenset(held), broken=broken, placed=placed, downloads=downloads)


def _bring(
    ctx: Context,
    fleet: Fleet,
    state: EndpointState,
    wants: list[Want],
    *,
    held: set[str],
    mirror: MirrorAccess | None,
) -> tuple[list[Application], list[Want]]:
    """Return what brings weights to the endpoint's machines, and the wants whose weights are there.

    What runs keeps its weights, also when another revision is wanted: its replica may have to start again.
    """
    wanted: dict[str, dict[WantedWeights, set[str]]] = {name: {} for name in state.nodes}
    there = []
    for want in wants:
        weights = remote_weights(want.variant.model)
        if weights is None:
            there.append(want)
            continue
        node = want.app["args"]["node"]
        wanted[node].setdefault(weights, set()).add(want.model.metadata.name)
        live = state.facts.apps.get(want.name)
        watch = ctx.world.weights.get(node)
        if (live is not None and loaded_weights(live.config) == weights) or is_there(
            watch.report if watch else None, weights
        ):
            there.append(want)
    for name in sorted(held & set(state.facts.apps)):
        config = state.facts.apps[name].config
        weights, node = loaded_weights(config), ((config or {}).get("args") or {}).get("node")
        if weights is not None and node in wanted:
            wanted[node].setdefault(weights, set()).add(name.partition(".")[0])
    downloads = []
    for name, found in sorted(wanted.items()):
        resource = fleet.nodes.get(name)
        if resource is None or not found:
            forget_weights(ctx, name)
            continue
        watch_weights(ctx, resource, found)
        where = mirror_of(ctx, resource, mirror)
        made = build_weights_application(resource, found, pin=pin_labels(resource), mirror=where)
        downloads.append(dress(made, owner=ctx.world.owner, surge=None))
    return downloads, there


async def _still_there(ctx: Context, fleet: Fleet, apps: Iterable[str]) -> frozenset[str]:
    """Return ModelDeployments that the list lacked although they exist: nothing of theirs is taken away."""
    listed = {model.metadata.name for model in fleet.models}
    found = set()
    seen = {app.partition(".")[0] for app in apps if not app.startswith("_")}  # no model's
    for name in sorted(seen - listed - fleet.broken):
        raw = await ctx.kube.get(names.MODEL, name)
        if raw is not None and not raw["metadata"].get("deletionTimestamp"):
            log.warning("model_not_listed", model=name)
            found.add(name)
    return frozenset(found)


async def _put_if_needed(
    ctx: Context,
    ray: RayApi,
    state: EndpointState,
    url: str,
    *,
    fleet: Fleet,
    wishes: Wishes,
    again: frozenset[str],
) -> bool:
    plan = make_plan(ctx, state, fleet=fleet, wishes=wishes, again=again)
    asked = {app["name"] for app in plan.document["applications"]} | again
    state.failed = {name: failed for name, failed in state.failed.items() if name in asked}
    if plan.digest == state.last_digest:
        state.astray = _astray(state, plan)
    if not plan.put:
        state.error = None
        return False
    again_already = plan.digest == state.last_digest or state.error is not None
    if again_already and ctx.clock() - state.put_at < ctx.settings.intervals.re_put:
        state.dirty = True  # just put: give Ray a moment to show it
        return False
    await _put(ctx, ray, state, plan, url)
    return True


def make_plan(
    ctx: Context, state: EndpointState, *, fleet: Fleet, wishes: Wishes, again: frozenset[str] = frozenset()
) -> ServePlan:
    """Return the plan: each application as it is to be now, checked against Ray's schema."""
    state.setbacks = find_setbacks(state, wishes.wants)
    rollout = Rollout(ctx=ctx, fleet=fleet, state=state, placed=wishes.placed, extra={})
    for want in wishes.wants:
        rollout.note_surge(want)
    chosen: list[Application] = []
    how: dict[str, str] = {}
    for want in wishes.wants:
        application, step = rollout.step(want)
        problems = check_application(application) if application is not None and step.way is not Way.WAIT else ()
        if problems:
            application = _refuse_own(state, want, problems)
        if application is not None:
            chosen.append(application)
            how[want.name] = step.sentence
    chosen += wishes.downloads
    return plan_put(
        chosen,
        state.facts.apps,
        held=wishes.held,
        broken=wishes.broken,
        serve_url=state.serve_url,
        last_digest=state.last_digest,
        again=again,
        how=how,
    )


def _refuse_own(state: EndpointState, want: Want, problems: tuple[str, ...]) -> Application | None:
    """Note that we made something that Ray would not understand: a bug. What Ray has stays."""
    text = f"not put, for Ray would not take it as it is meant: {'; '.join(problems[:5])}"
    log.error("serve_document_invalid", app=want.name, problems=problems[:20])
    state.refused[want.name] = Setback(fingerprint=want.mark, reason=Reason.INTERNAL_ERROR, message=text, outcome=_KEPT)
    state.setbacks[want.name] = state.refused[want.name]
    live = state.facts.apps.get(want.name)
    return live.config if live is not None else None


def _astray(state: EndpointState, plan: ServePlan) -> dict[str, str]:
    """Return what Ray keeps otherwise than in the document that it took."""
    found = {}
    for app in plan.document["applications"]:
        live = state.facts.apps.get(app["name"])
        if live is None or app.get("import_path") != names.IMPORT_PATH:
            continue
        if problem := echo_problem(live.config, app):
            found[app["name"]] = problem
    return found


async def _put(ctx: Context, ray: RayApi, state: EndpointState, plan: ServePlan, url: str) -> None:
    own = [app for app in plan.document["applications"] if app.get("import_path") == names.IMPORT_PATH]
    if problems := check_document({**plan.document, "applications": own}):
        state.error = f"not put, for Ray would not take it as it is meant: {'; '.join(problems[:5])}"
        log.error("serve_document_invalid", endpoint=url, problems=problems[:20])
        return
    state.put_at = ctx.clock()
    try:
        await ray.put_applications(plan.document, first=not state.facts.apps)
    except HttpStatusError as error:
        state.error = error.message
        state.dirty = True
        log.warning("serve_put_refused", endpoint=url, error=error.message[:1000])
        if error.status in {400, 422}:
            await _put_one_by_one(ray, state, plan, url)
        return
    state.error = None
    state.last_digest = plan.digest
    # Look once more: what Ray shows next is compared with what was wanted.
    state.dirty = True
    log.info("serve_put", endpoint=url, plan=list(plan.sentences), digest=plan.digest[:12])


async def _put_one_by_one(ray: RayApi, state: EndpointState, plan: ServePlan, url: str) -> None:
    """Ray refused the document as a whole: find the application that it does not take, so that the others go on."""
    if len(plan.changed) == 0:
        return
    by_name = {app["name"]: app for app in plan.document["applications"]}
    there = {n: a.config for n, a in state.facts.apps.items() if a.config is not None and a.status != "DELETING"}
    taken = {name: there[name] if name in plan.changed else app for name, app in by_name.items() if name in there}
    for name in plan.changed:
        if name not in by_name:
            continue
        trial = {**taken, name: by_name[name]}
        document = {**plan.document, "applications": [trial[n] for n in sorted(trial)]}
        try:
            await ray.put_applications(document)
        except HttpStatusError as error:
            mark = fingerprint(by_name[name])
            state.unputtable.add(mark)
            if mark == state.marks.get(name):
                state.refused[name] = Setback(
                    fingerprint=mark, reason=Reason.DEPLOY_FAILED, message=error.message, outcome=_KEPT
                )
            log.warning("serve_application_refused", endpoint=url, app=name, error=error.message[:1000])
            continue
        taken = trial
        state.error = None
