"""What a run will do, decided before anything is fetched: a pure comparison with a sentence for each decision."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from hearth_api.wire.documents import ManifestLine
from hearth_ingest.item import Item, Listing


class Verb(StrEnum):
    """What happens to an item."""

    ADD = "add"
    UPDATE = "update"
    DELETE = "delete"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One decision. `item` is None where the source has nothing any more; `held` is what is stored of the item now."""

    verb: Verb
    key: str
    reason: str
    item: Item | None = None
    held: tuple[ManifestLine, ...] = ()
    resume: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """All decisions: what the source lists in its order, then what it no longer has."""

    actions: tuple[Action, ...]

    def count(self, verb: Verb) -> int:
        """Return how many items get this verb."""
        return sum(action.verb is verb for action in self.actions)

    def lines(self) -> Iterator[str]:
        """Yield one line for each decision and a sum."""
        for action in self.actions:
            yield f"{action.verb.value:<9} {action.key}  ({action.reason})"
        yield self.summary()

    def summary(self) -> str:
        """Return the sum in one line."""
        changes = [f"{self.count(verb)} to {verb.value}" for verb in (Verb.ADD, Verb.UPDATE, Verb.DELETE)]
        return ", ".join([*changes, f"{self.count(Verb.UNCHANGED)} unchanged"])


def build_plan(
    listing: Listing,
    manifest: Iterable[ManifestLine],
    *,
    pipeline: str,
    owner: Callable[[str], str],
    pending: Collection[str] = (),
) -> Plan:
    """Compare on key, fingerprint and pipeline. `pending` are keys that an interrupted run may have left half done."""
    held: dict[str, list[ManifestLine]] = {}
    for line in manifest:
        held.setdefault(owner(line.key), []).append(line)
    unfinished = frozenset(pending)
    actions = [
        _decide(item, tuple(held.pop(item.key, ())), pipeline=pipeline, resume=item.key in unfinished)
        for item in listing.items
    ]
    actions.extend(_decide_gone(key, tuple(lines), listing=listing) for key, lines in sorted(held.items()))
    return Plan(tuple(actions))


def _decide(item: Item, held: tuple[ManifestLine, ...], *, pipeline: str, resume: bool) -> Action:
    own = next((line for line in held if line.key == item.key), None)
    if own is None:
        verb, reason = Verb.ADD, "an earlier run stopped in the middle of it" if held else "not in the knowledge base"
    elif resume:
        verb, reason = Verb.UPDATE, "the last run stopped before it was acknowledged"
    elif any(line.fingerprint != item.fingerprint for line in held):
        verb, reason = Verb.UPDATE, "changed at the source"
    elif any(line.pipeline != pipeline for line in held):
        verb, reason = Verb.UPDATE, "was read by another version or with other settings"
    else:
        verb, reason = Verb.UNCHANGED, "same fingerprint"
    return Action(verb=verb, key=item.key, reason=reason, item=item, held=held, resume=resume)


def _decide_gone(key: str, held: tuple[ManifestLine, ...], *, listing: Listing) -> Action:
    if not listing.complete:
        return Action(verb=Verb.UNCHANGED, key=key, reason="not seen, but part of the source is unreadable", held=held)
    return Action(verb=Verb.DELETE, key=key, reason="gone at the source", held=held)
