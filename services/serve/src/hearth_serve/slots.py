"""How many requests compute at once in this replica, and how many may wait for that."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hearth_serve.errors import ApiError


class Slots:
    """A bounded queue in front of `total` slots. Used from one event loop."""

    def __init__(self, total: int, *, max_waiting: int) -> None:
        self.total = total
        self.busy = 0
        self.waiting = 0
        self._max_waiting = max_waiting
        self._free = asyncio.Semaphore(total)

    @asynccontextmanager
    async def take(self, *, wait: bool = True) -> AsyncIterator[None]:
        """Hold a slot. Raises ApiError 503 when the queue is full, or a slot is not free and `wait` is False."""
        if self._free.locked() and (not wait or self.waiting >= self._max_waiting):
            raise ApiError(
                503,
                f"All {self.total} slots are busy and {self.waiting} requests wait already.",
                kind="server_error",
                code="overloaded",
                retry_after=1,
            )
        self.waiting += 1
        try:
            await self._free.acquire()
        finally:
            self.waiting -= 1
        self.busy += 1
        try:
            yield
        finally:
            self.busy -= 1
            self._free.release()
