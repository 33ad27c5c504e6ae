"""The fleet as a whole: after a change of one node or model, who else is concerned.

With 300 models a pass over all of them for every change of one is what a small machine cannot do. So one pass compares
what each of the others would see now with what it saw before, and wakes only those that see something else.
"""

from collections.abc import Iterator
from typing import NamedTuple

from hearth_api.kinds import InferenceNode, ModelDeployment
from hearth_api.reasons import Reason
from hearth_operator import names
from hearth_operator.plan.aliases import taken_by
from hearth_operator.plan.capacity import Placement, Plan
from hearth_operator.reconcile.context import ENDPOINT, Context
from hearth_operator.reconcile.observe import Fleet, glance_at_fleet
from hearth_operator.reconcile.placing import glance_at_placements
from hearth_operator.reconcile.queue import Key


class _Sight(NamedTuple):
    """What a pass over one model reads of everything but the model itself."""

    model: ModelDeployment
    placed: tuple[Placement | None, ...]
    """In the order of its variants."""
    nodes: tuple[str, ...]
    """Where its variants are, or are asked to be."""
    alias: tuple[str, str] | None
    """The id that another one holds."""


async def reconcile_fleet(ctx: Context) -> float:
    """Wake whoever sees something else than before; return the seconds until the next look."""
    world, now = ctx.world, ctx.clock()
    world.fleet_at = now
    fleet = await glance_at_fleet(ctx)
    seen = dict(_sights(ctx, fleet, glance_at_placements(ctx, fleet)))
    before, world.fleet_seen = world.fleet_seen, seen
    resync = ctx.settings.intervals.resync
    if now - world.fleet_whole_at >= resync:  # whatever was overlooked is not overlooked for long
        world.fleet_whole_at = now
        world.make_dirty()
    for key, sight in seen.items():
        if before.get(key) == sight:
            continue
        if key.kind == ENDPOINT:
            world.endpoints[key.name].dirty = True
        ctx.wake(key)
    return resync


def _sights(ctx: Context, fleet: Fleet, plan: Plan) -> Iterator[tuple[Key, object]]:
    refused = taken_by(fleet.models)
    everything = tuple((app, p.node, p.reserved) for app, p in plan.items())
    versions = {node: state.version for state in ctx.world.endpoints.values() for node in state.nodes}
    by_node: dict[str, list[_Sight]] = {}
    for model in fleet.models:
        sight = _look(model, plan, refused.get(model.metadata.name))
        for node in sight.nodes:
            by_node.setdefault(node, []).append(sight)
        short = any(p is not None and p.reason is Reason.INSUFFICIENT_MEMORY for p in sight.placed)
        machines = tuple((_mark(fleet.nodes.get(node)), versions.get(node)) for node in sight.nodes)
        # Who has no room is told who would have to yield: that hangs on all others.
        yield Key(names.MODEL, model.metadata.name), (sight.placed, sight.alias, machines, everything if short else ())
    for name in fleet.nodes:
        here = (p for sight in by_node.get(name, ()) for p in sight.placed if p is not None and p.node == name)
        yield Key(names.NODE, name), tuple((p.app, p.reserved) for p in here)
    for url, state in ctx.world.endpoints.items():
        members = tuple((name, _mark(fleet.nodes.get(name))) for name in sorted(state.nodes))
        concerned = {s.model.metadata.name: s for name, _ in members for s in by_node.get(name, ())}
        models = tuple((_mark(s.model), s.placed, s.alias) for s in concerned.values())
        yield Key(ENDPOINT, url), (members, models)


def _look(model: ModelDeployment, plan: Plan, alias: tuple[str, str] | None) -> _Sight:
    placed = tuple(plan.get(names.app_name(model.metadata.name, v.name)) for v in model.spec.variants)
    nodes = {p.node for p in placed if p is not None and p.node} | {
        v.node.name for v in model.spec.variants if v.node.name
    }
    return _Sight(model=model, placed=placed, nodes=tuple(sorted(nodes)), alias=alias)


def _mark(resource: InferenceNode | ModelDeployment | None) -> object:
    """Return what tells one state of a resource's wishes from another."""
    if resource is None:
        return None
    meta = resource.metadata
    return (meta.name, meta.uid, meta.generation, meta.annotations, meta.labels)
