"""What `/v1/status` tells, as plain values: nodes, models, knowledge bases, sources and queues."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from hearth_gateway.catalog.beside import Condition, Node, Source
from hearth_gateway.catalog.model import Catalog, Model, Variant
from hearth_gateway.errors import GatewayError
from hearth_gateway.knowledge import AWAY
from hearth_gateway.state import State

KNOWLEDGE_SECONDS = 2.0  # a status that waits is no status
RUN_FIELDS = ("started", "finished", "outcome", "counts", "privacy", "withheld", "firstError")


def node_status(catalog: Catalog) -> list[dict[str, Any]]:
    """Return every node: those that were made, and those that only a model's status names."""
    placed: dict[str, list[tuple[Model, Variant]]] = {name: [] for name in catalog.nodes}
    for model in catalog.models.values():
        for variant in model.variants:
            if variant.node:  # else not placed yet
                placed.setdefault(variant.node, []).append((model, variant))
    return [_node(name, node=catalog.nodes.get(name), placed=found) for name, found in placed.items()]


def _node(name: str, *, node: Node | None, placed: Sequence[tuple[Model, Variant]]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": name,
        "available": sum(variant.usable for _, variant in placed),
        "models": [f"{model.name}.{variant.name}" for model, variant in placed],
    }
    if node is None:
        return told
    for word, kind in (("ready", "Ready"), ("reachable", "Reachable")):
        condition = node.condition(kind)
        # None: nobody could say yet. "Unknown" about reachability means that it does not answer.
        told[word] = None if condition is None else condition.status == "True"
    condition = next(
        (found for kind in ("Reachable", "Ready") if (found := _failed(node, kind))), node.condition("Ready")
    )
    if condition is not None:
        told |= {"reason": condition.reason, "message": condition.message, "since": condition.since}
    return told


def _failed(node: Node, kind: str) -> Condition | None:
    condition = node.condition(kind)
    return condition if condition is not None and condition.status != "True" else None


def model_status(state: State, *, model: Model) -> dict[str, Any]:
    """Return one model's variants in the owner's order, slots and queue."""
    waiting = state.admission.waiting(model.name)
    return {
        "name": model.name,
        "task": model.task,
        "ready": bool(model.candidates),
        "message": model.message,
        "since": model.since,
        "suspended": model.suspended,
        "queue": {priority.value: count for priority, count in waiting.items()},
        "variants": [
            {
                "name": variant.name,
                "node": variant.node,
                "engine": variant.engine,
                "state": variant.state,
                "reason": variant.reason,
                "resting": state.admission.resting(model.name, variant),
                "slots": {"total": variant.slots, "busy": state.admission.busy(model.name, variant)},
            }
            for variant in model.variants
        ],
    }


async def knowledge_status(state: State, *, name: str) -> dict[str, Any]:
    """Return what waits to be indexed and whether the index is whole; the reason where it cannot be told."""
    base = state.catalog.knowledge_bases[name]
    told: dict[str, Any] = {"name": name, "ready": base.ready, "message": base.message}
    try:
        async with asyncio.timeout(KNOWLEDGE_SECONDS):
            status = await state.knowledge.status(name)
    except GatewayError as error:
        return told | {"error": error.message}
    except TimeoutError:
        return told | {"error": AWAY}
    return told | {
        "documents": status.documents,
        "chunks": status.chunks,
        "queue": {"pending": status.queue.pending, "failed": status.queue.failed},
        "consistent": status.consistency.consistent,
        "quarantined": status.quarantined,
    }


def source_status(catalog: Catalog, *, bases: Sequence[str]) -> list[dict[str, Any]]:
    """Return the sources of these knowledge bases: what the index says of them, and how their last run went."""
    counted = {
        (name, str(entry.get("source"))): entry for name in bases for entry in catalog.knowledge_bases[name].sources
    }
    made = {(source.knowledge_base, source.name): source for source in catalog.sources.values()}
    return [
        {"knowledge_base": base, "source": name} | dict(counted.get((base, name), {})) | _run(made.get((base, name)))
        for base, name in sorted(set(counted) | {key for key in made if key[0] in bases})
    ]


def _run(source: Source | None) -> dict[str, Any]:
    if source is None:
        return {}
    last = {name: source.last_run[name] for name in RUN_FIELDS if name in source.last_run} if source.last_run else None
    return {
        "type": source.type,
        "suspended": source.suspended,
        "ready": source.ready,
        "message": source.message,
        "running": source.running,
        "last_run": last,
        "next_run": source.next_run,
    }


def time_now() -> str:
    """Return the gateway's own time, so that a reader with a wrong clock still reads ages rightly."""
    return datetime.now(UTC).isoformat(timespec="seconds")
