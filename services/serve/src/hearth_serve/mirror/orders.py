"""The operator's orders, in a mounted Secret that changes while we run."""

from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from hearth_api.wire.mirror import MirrorOrders
from hearth_api.wire.weights import WantedWeights
from hearth_serve.logs import log

GRACE = 900.0
"""Seconds that a source stays wanted after the last order that named it: an operator that starts anew learns only
bit by bit what is wanted."""


@dataclass(slots=True)
class Orders:
    """What is ordered now. `seen` holds when each source was last ordered."""

    path: Path
    current: MirrorOrders = field(default_factory=MirrorOrders)
    seen: dict[WantedWeights, float] = field(default_factory=dict)
    _stamp: tuple[int, int] | None = None

    def read(self) -> None:
        """Take the file where it has changed. What cannot be read changes nothing."""
        try:
            stat = self.path.stat()
            stamp = (stat.st_mtime_ns, stat.st_ino)
            if stamp == self._stamp:
                return
            self.current = MirrorOrders.model_validate_json(self.path.read_bytes())
        except (OSError, ValidationError) as error:
            log.warning("mirror_orders_unreadable", path=str(self.path), error=type(error).__name__)
            return
        self._stamp = stamp
        log.info("mirror_orders", sources=len(self.current.wanted), readers=len(self.current.readers))

    def wanted(self, now: float) -> list[WantedWeights]:
        """Return what is to be there: what is ordered, and what was a little while ago."""
        for one in self.current.wanted:
            self.seen[one] = now
        self.seen = {one: when for one, when in self.seen.items() if now - when < GRACE}
        return list(self.seen)
