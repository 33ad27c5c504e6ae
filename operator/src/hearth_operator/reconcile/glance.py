"""What passes that only report share: one list of all nodes and models, kept up with the watches, and one plan over it.

With 300 models every change would otherwise make 300 passes list, read and plan 300 models each. Who writes to Ray
never uses it: that list comes straight from the API server, and was begun after it was asked for.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from hearth_api.kinds import AnyResource

F = TypeVar("F")
P = TypeVar("P")


@dataclass(slots=True)
class Glance(Generic[F, P]):
    """A fleet, a plan over it, and what was read before. `lifetime` 0 shares nothing."""

    lifetime: float = 0.0
    """Seconds after which a list is made again also when no change was seen."""
    fleet: F | None = None
    taken_at: float = float("-inf")
    plan: P | None = None
    planned_for: frozenset[str] = frozenset()
    begun: int = 0
    """Lists that were begun."""
    listed: F | None = None
    """The last list as the API server gave it, and which one that was."""
    listed_as: int = 0
    forgotten: int = 0
    noted: list[tuple[str, str, AnyResource | None]] = field(default_factory=list)
    """(kind, name, resource) of what changed while a list is on its way."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    read: dict[tuple[str, str], tuple[str, str, AnyResource]] = field(default_factory=dict)
    """(kind, name) -> (uid, resourceVersion, the resource as it was read then)."""

    def forget(self) -> None:
        """Something changed that cannot be told in detail: the next who asks lists anew."""
        self.forgotten += 1
        self.fleet = self.plan = None
        self.taken_at = float("-inf")

    def known(self, *, now: float) -> F | None:
        """Return the fleet while it is current."""
        return self.fleet if now - self.taken_at < self.lifetime else None
