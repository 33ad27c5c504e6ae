"""Whether an engine hangs: somebody waits for it and nothing comes, for longer than any prompt takes to read.

Only waiting for the engine counts. A caller who reads slowly holds a slot too, and is no reason to replace a replica.
"""

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager

SHORTEST = 600.0
"""Seconds that every model is given."""
_SLOWEST = 10
"""Tokens of a prompt per second, below which a machine counts as hanging and not as slow."""


def patience(context_tokens: int) -> float:
    """Return the seconds without a sign of life after which an engine of this context hangs."""
    return max(SHORTEST, context_tokens / _SLOWEST)


class Watchdog:
    """Sees who waits for the engine, and since when. Used from one event loop."""

    def __init__(self, *, limit: float, tokens: Callable[[], int], clock: Callable[[], float]) -> None:
        self._limit, self._tokens, self._clock = limit, tokens, clock
        self._waits: dict[int, float] = {}
        self._count = 0
        self._seen, self._moved_at = tokens(), clock()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Wait for the engine inside."""
        number = self._number()
        self._waits[number] = self._clock()
        try:
            yield
        finally:
            del self._waits[number]

    async def follow(self, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """Yield what an engine writes; time between two chunks counts as the caller's."""
        number = self._number()
        async with aclosing(chunks) as running:
            while True:
                self._waits[number] = self._clock()  # what `waiting` does, cheaper: this is done for every token
                try:
                    chunk = await anext(running)
                except StopAsyncIteration:
                    return
                finally:
                    del self._waits[number]
                yield chunk

    def _number(self) -> int:
        self._count += 1
        return self._count

    def silent_for(self) -> float:
        """Return since how many seconds somebody waits and no token came; 0.0 while nobody does."""
        now, tokens = self._clock(), self._tokens()
        if tokens != self._seen:
            self._seen, self._moved_at = tokens, now
        if not self._waits:
            return 0.0
        return now - max(min(self._waits.values()), self._moved_at)

    @property
    def hangs(self) -> bool:
        """Whether the engine is to be given up."""
        return self.silent_for() > self._limit
