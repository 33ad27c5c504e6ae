"""Nodes and sources: told of in the status, not needed by any request."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hearth_gateway.catalog.fields import read_list, read_part, read_ready, read_text


@dataclass(frozen=True, slots=True)
class Condition:
    """One observed condition. `since` is when its status last changed, RFC 3339."""

    type: str
    status: str
    reason: str
    message: str
    since: str | None


@dataclass(frozen=True, slots=True)
class Node:
    """One machine that serves models, whether or not a model is on it."""

    name: str
    conditions: tuple[Condition, ...]

    def condition(self, kind: str) -> Condition | None:
        """Return the condition of this type."""
        return next((condition for condition in self.conditions if condition.type == kind), None)


@dataclass(frozen=True, slots=True)
class Source:
    """One IngestionSource and its last run, as the operator wrote it."""

    name: str
    knowledge_base: str
    type: str
    suspended: bool
    ready: bool
    message: str
    running: bool
    last_run: Mapping[str, Any] | None
    next_run: str | None


def read_node(item: Mapping[str, Any]) -> Node | None:
    """Read an InferenceNode as the API server gives it; None where it has no name."""
    name = read_part(item, "metadata").get("name")
    if not isinstance(name, str) or not name:
        return None
    return Node(name=name, conditions=read_conditions(read_part(item, "status")))


def read_source(item: Mapping[str, Any]) -> Source | None:
    """Read an IngestionSource as the API server gives it; None where it has no name."""
    name = read_part(item, "metadata").get("name")
    if not isinstance(name, str) or not name:
        return None
    spec, status = read_part(item, "spec"), read_part(item, "status")
    ready, message = read_ready(status)
    return Source(
        name=name,
        knowledge_base=str(read_part(spec, "knowledgeBaseRef").get("name") or ""),
        type=str(spec.get("type") or ""),
        suspended=bool(spec.get("suspend", False)),
        ready=ready,
        message=message,
        running=bool(status.get("activeJob")),
        last_run=read_part(status, "lastRun") or None,
        next_run=read_text(status.get("nextRun")),
    )


def read_conditions(status: Mapping[str, Any]) -> tuple[Condition, ...]:
    """Read `status.conditions`."""
    return tuple(
        Condition(
            type=str(entry.get("type") or ""),
            status=str(entry.get("status") or "Unknown"),
            reason=str(entry.get("reason") or ""),
            message=str(entry.get("message") or ""),
            since=read_text(entry.get("lastTransitionTime")),
        )
        for entry in read_list(status, "conditions")
        if isinstance(entry, Mapping)
    )
