"""Reading all resources of a kind: what can be read as models, and what cannot."""

from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import structlog

from hearth_api.kinds import AnyResource, InferenceNode, ModelDeployment
from hearth_api.kinds.base import Resource
from hearth_api.parse import ParseError, parse_observed
from hearth_operator import names
from hearth_operator.reconcile.context import Context

log = structlog.get_logger(__name__)
Kind = TypeVar("Kind", bound=Resource)


@dataclass(frozen=True, slots=True)
class Fleet:
    """All nodes and models, straight from the API server: never a cache that may lag or be empty."""

    nodes: dict[str, InferenceNode]
    models: tuple[ModelDeployment, ...]
    """Those that are not being deleted."""
    broken: frozenset[str] = field(default_factory=frozenset)
    """Names of ModelDeployments that cannot be read."""


async def observe_fleet(ctx: Context) -> Fleet:
    """Return all nodes and models, listed after this was called. Any failure raises: a part of the truth would delete
    models. Those who ask while another list is on its way share the next one.
    """
    asked = ctx.glance.begun
    async with ctx.glance.lock:
        return await _list_fleet(ctx, asked)


async def _list_fleet(ctx: Context, asked: int) -> Fleet:
    """List, unless a list was begun after number `asked`; only with the lock."""
    glance = ctx.glance
    if glance.listed is not None and glance.listed_as > asked:
        shared: Fleet = glance.listed
        return shared
    glance.begun += 1
    number, forgotten, now = glance.begun, glance.forgotten, ctx.clock()
    glance.noted.clear()
    fleet = await _list_all(ctx)
    glance.listed, glance.listed_as = fleet, number
    current = fleet
    for kind, name, resource in glance.noted:  # they came while it was listed
        current = _with(current, kind, name, resource)
    if glance.forgotten == forgotten:
        glance.fleet, glance.plan, glance.taken_at = current, None, now
    return fleet


async def _list_all(ctx: Context) -> Fleet:
    nodes, _ = await _list(ctx, names.NODE, InferenceNode)
    models, broken = await _list(ctx, names.MODEL, ModelDeployment)
    return Fleet(
        nodes={n.metadata.name: n for n in nodes if not n.metadata.deleting},
        models=tuple(m for m in models if not m.metadata.deleting),
        broken=frozenset(broken),
    )


async def glance_at_fleet(ctx: Context) -> Fleet:
    """Return all nodes and models as a pass that only reports may see them: the last list, and what changed since."""
    glance = ctx.glance
    known: Fleet | None = glance.known(now=ctx.clock())
    if known is not None:
        return known  # also while the next list is on its way
    async with glance.lock:
        again: Fleet | None = glance.known(now=ctx.clock())
        if again is not None:
            return again
        fleet = await _list_fleet(ctx, glance.begun)
        current: Fleet | None = glance.fleet
        return current if current is not None else fleet


def note_change(ctx: Context, kind: str, name: str, resource: AnyResource | None) -> None:
    """Put a node or model that changed (None: is gone) into the fleet that passes look at, without listing all anew."""
    glance = ctx.glance
    if glance.lock.locked():
        glance.noted.append((kind, name, resource))
    if glance.fleet is not None:
        glance.fleet, glance.plan = _with(glance.fleet, kind, name, resource), None


def _with(fleet: Fleet, kind: str, name: str, resource: AnyResource | None) -> Fleet:
    """Return a fleet with one resource as it is now, or without it."""
    if resource is not None and resource.metadata.deleting:
        resource = None
    if kind == names.NODE:
        nodes = {n: node for n, node in fleet.nodes.items() if n != name}
        if isinstance(resource, InferenceNode):
            nodes[name] = resource
        return replace(fleet, nodes=dict(sorted(nodes.items())))
    models = [m for m in fleet.models if m.metadata.name != name]
    if isinstance(resource, ModelDeployment):
        models.append(resource)
    ordered = tuple(sorted(models, key=lambda m: m.metadata.name))
    return replace(fleet, models=ordered, broken=fleet.broken - {name})


async def _list(ctx: Context, kind: str, model: type[Kind]) -> tuple[list[Kind], set[str]]:
    good: list[Kind] = []
    broken: set[str] = set()
    found = await ctx.kube.list_all(kind)
    there = {(kind, str(raw["metadata"]["name"])) for raw in found}
    for gone in [key for key in ctx.glance.read if key[0] == kind and key not in there]:
        del ctx.glance.read[gone]
    for raw in found:
        try:
            parsed = _read(ctx, kind, raw)
        except ParseError as error:
            broken.add(raw["metadata"]["name"])
            log.warning("unreadable", kind=kind, name=raw["metadata"]["name"], problems=error.problems)
            continue
        if isinstance(parsed, model):
            good.append(parsed)
    return good, broken


def _read(ctx: Context, kind: str, raw: dict[str, Any]) -> AnyResource:
    """Read an object, or return what it was read as: the same resourceVersion is the same object."""
    uid, version = raw["metadata"].get("uid"), raw["metadata"].get("resourceVersion")
    if not uid or not version or ctx.glance.lifetime <= 0:
        return parse_observed(raw)
    key = (kind, str(raw["metadata"]["name"]))
    before = ctx.glance.read.get(key)
    if before is not None and before[:2] == (uid, version):
        return before[2]
    parsed = parse_observed(raw)
    ctx.glance.read[key] = (uid, version, parsed)
    return parsed
