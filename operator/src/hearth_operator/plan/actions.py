"""A plan: what to apply, with a sentence for each action."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hearth_operator.plan.difference import covers

Manifest = dict[str, Any]
ObjectKey = tuple[str, str]
"""Kind and name."""


@dataclass(frozen=True, slots=True)
class Action:
    """Apply one object."""

    manifest: Manifest
    sentence: str


def key_of(manifest: Manifest) -> ObjectKey:
    """Return kind and name."""
    return str(manifest["kind"]), str(manifest["metadata"]["name"])


def plan_objects(wanted: Iterable[Manifest], live: Mapping[ObjectKey, Manifest | None]) -> tuple[Action, ...]:
    """Return what must be applied so that every wanted object is there, in the given order."""
    actions = []
    for manifest in wanted:
        kind, name = key_of(manifest)
        there = live.get((kind, name))
        if there is None:
            actions.append(Action(manifest, f"create {kind} {name}"))
        elif not covers(there, manifest):
            actions.append(Action(manifest, f"update {kind} {name}"))
    return tuple(actions)
