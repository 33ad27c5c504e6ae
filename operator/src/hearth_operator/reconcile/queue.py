"""A queue of keys: each at most once in it, each worked on by at most one worker, each with its own delay.

kopf would hold a key back after an exception until its delay ends, even when the spec changes; here a change always
brings the key forward.
"""

import asyncio
import contextlib
import heapq
from collections.abc import Callable
from typing import NamedTuple

HEAD_START_SECONDS = 30.0


class Key(NamedTuple):
    """What is reconciled: a resource, the release as a whole, or a Ray endpoint."""

    kind: str
    name: str


class KeyedQueue:
    """Keys by due time. Not safe for threads; one event loop."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due: dict[Key, tuple[float, float]] = {}
        """Key -> (rank, due): the least rank is taken first."""
        self._heap: list[tuple[float, float, Key]] = []
        self._busy: dict[Key, float] = {}
        self._taken_at = clock()
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        """Return how many keys are due now or overdue."""
        now = self._clock()
        return sum(1 for _, due in self._due.values() if due <= now)

    def add(self, key: Key, *, delay: float = 0.0, urgent: bool = False) -> None:
        """Ask for a key to be worked on after `delay` seconds; the earliest wish wins.

        An urgent one goes before all that have waited for less than `HEAD_START_SECONDS`.
        """
        due = self._clock() + delay
        wish = (due - HEAD_START_SECONDS if urgent else due, due)
        if key in self._due:
            rank, former = self._due[key]
            if rank <= wish[0]:
                return
            wish = (wish[0], min(due, former))
        self._due[key] = wish
        heapq.heappush(self._heap, (*wish, key))
        self._changed.set()

    def longest_due(self) -> tuple[Key, float] | None:
        """Return the key that has waited longest for a worker, and for how many seconds."""
        waiting = ((due, key) for key, (_, due) in self._due.items() if key not in self._busy)
        due, key = min(waiting, default=(float("inf"), Key("", "")))
        age = self._clock() - due
        return (key, age) if age >= 0 else None

    def longest_busy(self) -> tuple[Key, float] | None:
        """Return the key that has been worked on longest, and for how many seconds."""
        since, key = min(((since, key) for key, since in self._busy.items()), default=(0.0, None))
        return (key, self._clock() - since) if key is not None else None

    def idle_while(self, seconds: float) -> float:
        """Return for how many of the last `seconds` no key was taken."""
        return min(seconds, self._clock() - self._taken_at)

    def forget(self, key: Key) -> None:
        """Drop a key's wish."""
        self._due.pop(key, None)

    async def take(self) -> Key:
        """Wait for the next key that is due and not being worked on; call `done` with it afterwards."""
        while True:
            self._changed.clear()
            wait = self._next_wait()
            if isinstance(wait, Key):
                return wait
            # Not wait_for: before Python 3.12 that loses a cancellation that comes together with a change.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._changed.wait()

    def done(self, key: Key) -> None:
        """Say that a key is no longer worked on."""
        self._busy.pop(key, None)
        if key in self._due:
            heapq.heappush(self._heap, (*self._due[key], key))
        self._changed.set()

    def _next_wait(self) -> Key | float | None:
        """Return a key to work on, or the seconds until one is due, or None: nothing is waited for."""
        now = self._clock()
        while self._heap:
            rank, due, key = self._heap[0]
            if self._due.get(key) != (rank, due) or key in self._busy:
                heapq.heappop(self._heap)  # superseded, or pushed again by `done`
                continue
            if due > now:
                return due - now
            heapq.heappop(self._heap)
            del self._due[key]
            self._busy[key] = self._taken_at = now
            if self._heap:
                self._changed.set()
            return key
        return None
