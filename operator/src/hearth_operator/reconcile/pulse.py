"""Whether the operator is alive: a process that answers while its loops stand still is of no use to anybody.

Errors are no trouble here: a key that fails is taken again and again. Trouble is what only a restart ends.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from hearth_operator.reconcile.queue import KeyedQueue
from hearth_operator.settings import Bounds

TICK_SECONDS = 1.0


@dataclass(slots=True)
class Heart:
    """One event loop's beat: when it turned last, and how late. Read from any thread."""

    clock: Callable[[], float]
    beat_at: float | None = None
    """None: it has not started, or was told to end."""
    lag: float = 0.0
    """By how many seconds the last turn came late."""

    async def beat(self) -> None:
        """Beat in the running loop until cancelled."""
        self.beat_at = self.clock()
        try:
            while True:
                await asyncio.sleep(TICK_SECONDS)
                now = self.clock()
                self.lag = max(0.0, now - self.beat_at - TICK_SECONDS)
                self.beat_at = now
        finally:
            self.beat_at = None

    def silence(self) -> float:
        """Return the seconds since the last beat; 0 before the first."""
        return 0.0 if self.beat_at is None else self.clock() - self.beat_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """What liveness asks."""

    queue: KeyedQueue
    bounds: Bounds
    work: Heart
    """The loop of the workers, which also answers the probe: when it stands, the probe gets no answer at all."""
    watch: Heart
    """The loop of the watches, in a thread of its own."""

    def trouble(self) -> str | None:
        """Return what stands still, in one sentence, or None."""
        if (busy := self.queue.longest_busy()) is not None and busy[1] > self.bounds.longest_pass:
            return f"{busy[0].kind} {busy[0].name} has been worked on for {busy[1]:.0f} s"
        if (due := self.queue.longest_due()) is not None and self.queue.idle_while(due[1]) > self.bounds.untaken:
            return f"no worker took {due[0].kind} {due[0].name}, which has been due for {due[1]:.0f} s"
        if self.watch.silence() > self.bounds.silence:
            return f"the watches' loop has stood still for {self.watch.silence():.0f} s"
        if self.work.lag > self.bounds.lag:
            return f"the workers' loop was {self.work.lag:.0f} s late"
        return None
