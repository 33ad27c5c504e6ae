"""Reading all resources of a kind: what can be read as models, and what cannot."""

from dataclasses import dataclass, field
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
    """Return all nodes and models. Any failure raises: a part of the truth would delete models."""
    nodes, _ = await _list(ctx, names.NODE, InferenceNode)
    models, broken = await _list(ctx, names.MODEL, ModelDeployment)
    return Fleet(
        nodes={n.metadata.name: n for n in nodes if not n.metadata.deleting},
        models=tuple(m for m in models if not m.metadata.deleting),
        broken=frozenset(broken),
    )


async def glance_at_fleet(ctx: Context) -> Fleet:
    """Return all nodes and models as a pass that only reports may see them: listed after the last change that was
    watched, and by whoever asked first.
    """
    glance = ctx.glance
    async with glance.lock:
        now = ctx.clock()
        known: Fleet | None = glance.known(now=now)
        if known is not None:
            return known
        before = glance.changes
        fleet = await observe_fleet(ctx)
        if glance.changes == before:  # else a change came while it was listed
            glance.fleet, glance.taken_at = fleet, now
        return fleet


async def _list(ctx: Context, kind: str, model: type[Kind]) -> tuple[list[Kind], set[str]]:
    good: list[Kind] = []
    broken: set[str] = set()
    for raw in await ctx.kube.list_all(kind):
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
