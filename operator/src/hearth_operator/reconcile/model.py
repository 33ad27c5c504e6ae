"""One ModelDeployment: its status from where it goes, what Ray says, and what its own routes say."""

from dataclasses import replace
from typing import Any

from hearth_api.kinds import InferenceNode, ModelDeployment
from hearth_api.kinds.fields import SecretKeyRef
from hearth_api.kinds.model import ModelDeploymentStatus, Variant, VariantState, VariantStatus
from hearth_api.reasons import Reason
from hearth_operator import names
from hearth_operator.errors import ConflictError, InvalidSpecError
from hearth_operator.facts import EndpointFacts, RayApp, Reach, WeightsFacts
from hearth_operator.plan.aliases import taken_by
from hearth_operator.plan.capacity import Placement, Plan
from hearth_operator.plan.difference import covers
from hearth_operator.plan.fit.need import status_of
from hearth_operator.plan.guest import Phase
from hearth_operator.plan.revisions import carries
from hearth_operator.plan.serve_document import build_application, pin_labels
from hearth_operator.plan.weights import is_there, loaded_weights, remote_weights, told_of
from hearth_operator.reconcile.context import Context
from hearth_operator.reconcile.failing_back import hold_back
from hearth_operator.reconcile.observe import Fleet, glance_at_fleet, note_change
from hearth_operator.reconcile.placing import glance_at_placements
from hearth_operator.reconcile.probing import forget_serving, observe_serving
from hearth_operator.reconcile.queue import Key
from hearth_operator.reconcile.report import write_status
from hearth_operator.reconcile.secrets import node_urls, secret_refs
from hearth_operator.reconcile.trouble import with_trouble
from hearth_operator.reconcile.world import EndpointState
from hearth_operator.status.conditions import Verdict, false
from hearth_operator.status.memory import NOT_PLANNED, PlannedMemory
from hearth_operator.status.messages import read_failure
from hearth_operator.status.model import VariantFacts, model_status
from hearth_operator.status.node import judge_version, node_ready

_ROUNDING = 0.05
"""Seconds added to a wait, so that it is over when it is looked at."""


async def reconcile_model(ctx: Context, raw: dict[str, Any], model: ModelDeployment) -> float | None:
    """One pass; returns the seconds until the next."""
    if model.metadata.deleting:
        return await _finish(ctx, raw, model)
    if names.SERVE_FINALIZER not in model.metadata.finalizers:
        await ctx.kube.set_finalizers(raw, [*model.metadata.finalizers, names.SERVE_FINALIZER])
        return 0.0
    fleet = await glance_at_fleet(ctx)
    placed = glance_at_placements(ctx, fleet)
    facts = [_observe(ctx, model, v, fleet, placed) for v in model.spec.variants]
    early = any(f.node is not None and (f.reach is Reach.NOT_OBSERVED or not f.asked) for f in facts)
    if model.status.conditions and early:
        return ctx.settings.intervals.loading  # just started: what is known is better than "not observed"
    facts, ripe_in = hold_back(ctx, model, facts)
    refused = _refusal(fleet, model)
    status = model_status(model, facts=facts, refused=refused, now=ctx.now())
    _note_progress(ctx, model, facts, {e.name: e.state for e in status.variants})
    written = await write_status(ctx, raw, before=model.status.conditions, status=status)
    if written and _planned_by(status) != _planned_by(model.status):
        note_change(ctx, names.MODEL, model.metadata.name, model.model_copy(update={"status": status}))
        ctx.wake_fleet()
    states = {e.state for e in status.variants}
    delay = _next_look(ctx, facts, states)
    return delay if ripe_in is None else min(delay, ripe_in + _ROUNDING)


def _planned_by(status: ModelDeploymentStatus) -> list[tuple[object, ...]]:
    """What the plan reads of a status."""
    return [(e.node, e.memory, e.shape) for e in status.variants]


def _next_look(ctx: Context, facts: list[VariantFacts], states: set[VariantState]) -> float:
    if states & {VariantState.LOADING} or any(f.app is not None and not f.serving.alive for f in facts):
        return ctx.settings.intervals.loading
    return ctx.settings.intervals.catalog if VariantState.AVAILABLE in states else ctx.settings.intervals.not_yet


def _refusal(fleet: Fleet, model: ModelDeployment) -> Verdict | None:
    taken = taken_by(fleet.models).get(model.metadata.name)
    if taken is None:
        return None
    return false(Reason.ALIAS_TAKEN, f"{taken[0]} belongs to ModelDeployment {taken[1]}, which is older")


def _observe(ctx: Context, model: ModelDeployment, variant: Variant, fleet: Fleet, placed: Plan) -> VariantFacts:
    app_name = names.app_name(model.metadata.name, variant.name)
    placement = placed.get(app_name)
    node = fleet.nodes.get((placement.node if placement else None) or variant.node.name or "")
    facts = VariantFacts(variant=variant, before=status_of(model, variant.name))
    if placement is not None:
        facts = replace(facts, memory=_planned_memory(placement), fits=placement.fits, fit_reason=placement.reason)
        facts = replace(facts, fit_message=placed.explain(app_name))
    if node is None:
        forget_serving(ctx, app_name)
        return facts
    facts = _with_node(ctx, facts, model, node)
    endpoint = ctx.world.endpoint_of(node.metadata.name)
    ray = endpoint.facts if endpoint is not None else EndpointFacts()
    wanted, invalid = _wanted(ctx, model, variant, node)
    app = _visible_app(endpoint, app_name, wanted)
    facts = replace(
        facts,
        node_supported=judge_version(ray.version).status.value != "False"
        and (not ray.reachable or node_ready(ray, node, pin_labels(node))),
        reach=ray.reach,
        reach_message=ray.message,
        app=app,
        invalid=invalid,
        weights=_weights(ctx, variant, endpoint, app, node.metadata.name) if facts.fits else None,
        current=app is not None and _is_current(app, wanted, endpoint.last_digest if endpoint else None),
    )
    if endpoint is not None:
        facts = with_trouble(facts, endpoint, app_name, owner=ctx.world.owner)
    if model.spec.suspend:
        forget_serving(ctx, app_name)
        return facts
    if node.spec.suspend or ray.taken or ctx.world.stay(node.metadata.name).phase is Phase.AWAY:
        forget_serving(ctx, app_name)
        return facts
    serving, asked = observe_serving(
        ctx,
        node,
        names_=(model.metadata.name, app_name),
        url=facts.url or "",
        app=app,
        reach=ray.reach,
        was=facts.before is not None and facts.before.node == node.metadata.name and _served(facts.before),
    )
    silent = serving.silent_since is not None and (endpoint is None or endpoint.heard_at <= serving.silent_since)
    facts = replace(facts, serving=serving, asked=asked, silent=silent)
    return replace(facts, overdue=_overdue(ctx, model, facts))


def _served(before: VariantStatus) -> bool:
    return before.state is VariantState.AVAILABLE or before.reason == Reason.RECOVERING


def _planned_memory(placement: Placement) -> PlannedMemory:
    need = placement.need
    if need is None:
        return NOT_PLANNED
    return PlannedMemory(estimate=need.total, source=need.source, words=need.words, reserved=placement.reserved)


def _visible_app(endpoint: EndpointState | None, name: str, wanted: dict[str, Any] | None) -> RayApp | None:
    """Return the application; while a failed one is tried again in vain, what it failed of."""
    if endpoint is None:
        return None
    app = endpoint.facts.apps.get(name)
    failed = endpoint.failed.get(name)
    if failed is None or not endpoint.facts.reachable or (app is not None and app.replicas):
        return app
    return failed.app if wanted is not None and covers(failed.app.config, wanted) else app


def _with_node(ctx: Context, facts: VariantFacts, model: ModelDeployment, node: InferenceNode) -> VariantFacts:
    serve_url = node_urls(node, namespace=ctx.settings.namespace)[1]
    secret = secret_refs(node)[1]
    return replace(
        facts,
        node=node.metadata.name,
        node_suspended=node.spec.suspend,
        yielding=(stay.reason, f"InferenceNode {node.metadata.name} is left to its owner: {stay.message}")
        if (stay := ctx.world.stay(node.metadata.name)).yields
        else None,
        url=serve_url + names.route_prefix(model.metadata.name, facts.variant.name),
        token_ref=SecretKeyRef(name=secret, key="token"),
        ca_ref=SecretKeyRef(name=secret, key="ca.crt"),
    )


def _wanted(
    ctx: Context, model: ModelDeployment, variant: Variant, node: InferenceNode
) -> tuple[dict[str, Any] | None, str | None]:
    try:
        return build_application(model, variant, node, mirror=ctx.settings.has_mirror), None
    except InvalidSpecError as error:
        return None, error.message


def _weights(
    ctx: Context, variant: Variant, endpoint: EndpointState | None, app: RayApp | None, node: str
) -> WeightsFacts | None:
    wanted = remote_weights(variant.model)
    if wanted is None or endpoint is None:
        return None
    watch = ctx.world.weights.get(node)
    report = watch.report if watch is not None else None
    downloads = endpoint.facts.apps.get(names.weights_app_name(node))
    failed = downloads is not None and downloads.status == "DEPLOY_FAILED" and not downloads.replicas
    return WeightsFacts(
        source=wanted.source,
        there=is_there(report, wanted) or (app is not None and loaded_weights(app.config) == wanted),
        told=told_of(report, wanted),
        trouble=read_failure(downloads.message).message if downloads is not None and failed else None,
    )


def _is_current(app: RayApp, wanted: dict[str, Any] | None, last_digest: str | None) -> bool:
    if wanted is None:
        return False
    if carries(app.config, wanted):
        return app.status not in {"DEPLOYING", "DEPLOY_FAILED"}
    # Ray may write a value in its own way; then `args`, which it does not touch, decide.
    return last_digest is not None and (app.config or {}).get("args") == wanted["args"]


def _overdue(ctx: Context, model: ModelDeployment, facts: VariantFacts) -> bool:
    begun = ctx.world.rollouts.get((model.metadata.uid or "", facts.variant.name))
    if begun is None or begun[0] != model.metadata.generation or not facts.node_supported:
        return False
    return ctx.clock() - begun[1] > model.spec.progress_deadline_seconds


def _note_progress(
    ctx: Context, model: ModelDeployment, facts: list[VariantFacts], states: dict[str, VariantState]
) -> None:
    """Remember since when each variant is on its way: the clock runs only while its machine could do it."""
    generation = model.metadata.generation
    for fact in facts:
        key = (model.metadata.uid or "", fact.variant.name)
        state = states[fact.variant.name]
        brought = fact.weights is None or fact.weights.there  # a download takes what it takes
        if (
            not brought
            or state in {VariantState.SUSPENDED, VariantState.UNREACHABLE}
            or ((state is VariantState.AVAILABLE or fact.recovering) and fact.current)
        ):
            ctx.world.rollouts.pop(key, None)
        elif key not in ctx.world.rollouts or ctx.world.rollouts[key][0] != generation:
            ctx.world.rollouts[key] = (generation, ctx.clock())


async def _finish(ctx: Context, raw: dict[str, Any], model: ModelDeployment) -> float | None:
    """Let the resource go once no reachable endpoint lists its applications. A machine that is off is not waited
    for: when it comes back, its next document lacks them.
    """
    if names.SERVE_FINALIZER not in model.metadata.finalizers:
        return None
    prefix = f"{model.metadata.name}."
    left = [
        url
        for url, state in ctx.world.endpoints.items()
        if state.facts.reachable and not state.facts.taken and any(name.startswith(prefix) for name in state.facts.apps)
    ]
    for url in left:
        ctx.world.endpoints[url].dirty = True
        ctx.wake(Key("Endpoint", url))
    if left:
        return ctx.settings.intervals.loading
    for variant in model.spec.variants:
        forget_serving(ctx, names.app_name(model.metadata.name, variant.name))
    ctx.world.failback.pop(model.metadata.uid or "", None)
    rest = [f for f in model.metadata.finalizers if f != names.SERVE_FINALIZER]
    try:
        await ctx.kube.set_finalizers(raw, rest)
    except ConflictError:
        return 0.0
    return None
