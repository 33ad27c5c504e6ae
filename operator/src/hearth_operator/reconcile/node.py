"""One InferenceNode: Secrets and objects of a managed one, and what is known of its machine."""

from typing import Any

from hearth_api.kinds import InferenceNode
from hearth_operator import names
from hearth_operator.errors import NotYetError
from hearth_operator.facts import EndpointFacts, PodFacts, Reach
from hearth_operator.manifests.node import build_node
from hearth_operator.plan.capacity import allocatable, planned_memory
from hearth_operator.plan.serve_document import pin_labels
from hearth_operator.reconcile.context import Context
from hearth_operator.reconcile.endpoint import register
from hearth_operator.reconcile.guest import forget_guest, guest_facts, watch_guest
from hearth_operator.reconcile.objects import apply_objects
from hearth_operator.reconcile.observe import glance_at_fleet
from hearth_operator.reconcile.placing import glance_at_placements
from hearth_operator.reconcile.renewal import renew_certificate
from hearth_operator.reconcile.report import write_status
from hearth_operator.reconcile.secrets import ensure_node_secrets, node_urls, ray_access
from hearth_operator.reconcile.wake_on_lan import forget_wakes, wake_where_due
from hearth_operator.reconcile.weights import forget_weights
from hearth_operator.restart import asked_restart
from hearth_operator.status.node import node_status

_ROUNDING = 0.05
"""Seconds, so that what is due at a moment is due when it is looked at."""
_STUCK = frozenset(
    {
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "RunContainerError",
    }
)


async def reconcile_node(ctx: Context, raw: dict[str, Any], node: InferenceNode) -> float | None:
    """One pass; returns the seconds until the next."""
    name = node.metadata.name
    if node.metadata.deleting:
        forget_node(ctx, name)
        return None
    urls = node_urls(node, namespace=ctx.settings.namespace)
    if node.spec.managed is not None:
        await ensure_node_secrets(ctx, node)
        await apply_objects(ctx, build_node(node, settings=ctx.settings).all(), of=f"{names.NODE} {name}")
    facts = await _observe(ctx, node, urls)
    if facts.reachable:
        await renew_certificate(ctx, node, url=urls[0])
    if node.status.conditions and facts.reach is Reach.NOT_OBSERVED:
        return ctx.settings.intervals.loading  # just started: what is known is better than "not observed"
    pod = PodFacts()
    if node.spec.managed is not None and not facts.reachable:
        pod = pod_facts(await ctx.kube.list_all("Pod", labels={names.LABEL_KIND: names.NODE, names.LABEL_NAME: name}))
    guest = watch_guest(ctx, node, url=urls[0])
    fleet = await glance_at_fleet(ctx)
    placed = [p for p in glance_at_placements(ctx, fleet).values() if p.reserved is not None and p.node == name]
    room = allocatable(node)
    wake = await wake_where_due(ctx, raw, node, facts=facts, fleet=fleet)
    status = node_status(
        node,
        facts=facts,
        pod=pod,
        pin=pin_labels(node),
        urls=urls,
        memory=room.memory,
        millicores=room.millicores,
        planned=planned_memory(placed, name),
        models=[p.app for p in placed],
        guest=guest_facts(node, guest),
        wake=wake,
        # The Deployment carries it by now; a machine of somebody else's is not ours to restart.
        last_restart=asked_restart(node) if node.spec.managed is not None else node.status.last_restart,
        now=ctx.now(),
    )
    await write_status(ctx, raw, before=node.status.conditions, status=status)
    if facts.reachable:
        return ctx.settings.intervals.resync
    return (
        min(ctx.settings.intervals.not_yet, wake.next_in + _ROUNDING)
        if wake.next_in
        else ctx.settings.intervals.not_yet
    )


async def _observe(ctx: Context, node: InferenceNode, urls: tuple[str, str]) -> EndpointFacts:
    try:
        access = await ray_access(ctx, node)
    except NotYetError as error:
        register(ctx, node, urls=urls, token=None)
        return EndpointFacts(reach=Reach.NO_SECRET, message=error.message)
    return register(ctx, node, urls=urls, token=access if access.ca is not None else access.token).facts


def forget_node(ctx: Context, name: str) -> None:
    """Drop a node that is gone from its endpoint."""
    forget_guest(ctx, name)
    forget_wakes(ctx, name)
    forget_weights(ctx, name)
    for state in ctx.world.endpoints.values():
        if name in state.nodes:
            state.nodes.discard(name)
            state.dirty = True


def pod_facts(pods: list[dict[str, Any]]) -> PodFacts:
    """Return what the pods of a managed node say: a state that does not pass by itself, with its message."""
    for pod in pods:
        status = pod.get("status") or {}
        for condition in status.get("conditions") or ():
            if condition.get("reason") == "Unschedulable":
                return PodFacts(exists=True, failure=f"Unschedulable: {condition.get('message', '')}"[:500])
        for container in status.get("containerStatuses") or ():
            waiting = (container.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") in _STUCK:
                return PodFacts(exists=True, failure=f"{waiting['reason']}: {waiting.get('message', '')}"[:500])
    return PodFacts(exists=bool(pods))
