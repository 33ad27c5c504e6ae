"""Which nodes may take a model now, and where every variant goes."""

from hearth_operator.plan.capacity import Plan, place
from hearth_operator.plan.serve_document import pin_labels
from hearth_operator.reconcile.context import Context
from hearth_operator.reconcile.observe import Fleet
from hearth_operator.status.node import node_ready


def ready_nodes(ctx: Context, fleet: Fleet) -> set[str]:
    """Return the nodes that may take a model now."""
    result = set()
    for name, node in fleet.nodes.items():
        endpoint = ctx.world.endpoint_of(name)
        if endpoint is not None and node_ready(endpoint.facts, node, pin_labels(node)):
            if ctx.world.stay(name).yields:
                continue
            result.add(name)
    return result


def placements(ctx: Context, fleet: Fleet) -> Plan:
    """Return where every variant goes, by application name."""
    return place(fleet.models, fleet.nodes, ready=ready_nodes(ctx, fleet))


def glance_at_placements(ctx: Context, fleet: Fleet) -> Plan:
    """Return the same for a fleet that several passes look at: planned once for each set of ready nodes."""
    glance = ctx.glance
    ready = frozenset(ready_nodes(ctx, fleet))
    if fleet is not glance.fleet:
        return place(fleet.models, fleet.nodes, ready=set(ready))
    if glance.plan is None or glance.planned_for != ready:
        glance.plan, glance.planned_for = place(fleet.models, fleet.nodes, ready=set(ready)), ready
    plan: Plan = glance.plan
    return plan
