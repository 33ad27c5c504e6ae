"""Ends a wait for a model that fell silent.

One timer serves a whole stream. Setting one for every token and taking it back costs more than passing the token on;
this one is looked at when it is due, and set again where bytes came in the meantime.
"""

import asyncio
from typing import Protocol


class Content(Protocol):
    """What is read from, as aiohttp has it."""

    total_bytes: int

    async def readany(self) -> bytes:
        """Return the bytes that are here, once there are any; b"" at the end."""
        ...

    def set_exception(self, exc: BaseException) -> None:
        """Raise it in who waits, and in who reads next."""
        ...


class Deadline:
    """The end of a request, on the loop's clock, and the nearer ends within it."""

    def __init__(self, *, total_seconds: float) -> None:
        self.loop = asyncio.get_running_loop()
        self.end = self.loop.time() + total_seconds

    def at(self, seconds: float) -> float:
        """Return when `seconds` from now are over, never later than the end."""
        return min(self.end, self.loop.time() + seconds)


class PatientReader:
    """Reads from `content`; TimeoutError where one wait takes longer than `seconds` or passes the deadline."""

    def __init__(self, content: Content, *, deadline: Deadline, seconds: float) -> None:
        self._content = content
        self._deadline = deadline
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self._until: float | None = None
        self._seen = 0

    async def read(self) -> bytes:
        """Return what is here, once there is something; b"" at the end. Only waiting in here counts."""
        self._seen = self._content.total_bytes
        self._until = self._deadline.at(self._seconds)
        if self._timer is None:
            self._timer = self._deadline.loop.call_at(self._until, self._look)
        try:
            return await self._content.readany()
        finally:
            self._until = None

    def stop(self) -> None:
        """Forget the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._until is None or self._content.total_bytes != self._seen:
            return  # nobody waits, or not for long: the next read sets the timer
        if self._deadline.loop.time() < self._until:
            self._timer = self._deadline.loop.call_at(self._until, self._look)
        else:
            self._content.set_exception(TimeoutError())
