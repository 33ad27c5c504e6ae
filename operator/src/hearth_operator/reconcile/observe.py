"""Reading all resources of a kind: what can be read as models, and what cannot."""

from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from hearth_api.kinds import InferenceNode, ModelDeployment
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


async def _list(ctx: Context, kind: str, model: type[Kind]) -> tuple[list[Kind], set[str]]:
    good: list[Kind] = []
    broken: set[str] = set()
    for raw in await ctx.kube.list_all(kind):
        try:
            parsed = parse_observed(raw)
        except ParseError as error:
            broken.add(raw["metadata"]["name"])
            log.warning("unreadable", kind=kind, name=raw["metadata"]["name"], problems=error.problems)
            continue
        if isinstance(parsed, model):
            good.append(parsed)
    return good, broken
