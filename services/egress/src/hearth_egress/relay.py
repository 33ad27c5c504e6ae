"""Passing bytes both ways until both sides are done, nobody says anything, or the time is over."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

_CHUNK = 65_536
End = Literal["done", "idle", "total"]


@dataclass(slots=True)
class Flow:
    """What went through so far: `sent` to the server, `received` from it, in bytes; when something last did."""

    active: float
    sent: int = 0
    received: int = 0


async def relay(
    client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    *,
    flow: Flow,
    idle_seconds: float,
    total_seconds: float,
    monotonic: Callable[[], float] = time.monotonic,
) -> End:
    """Relay and return why it ended. `flow` is kept up to date all the time; writers are left to the caller."""

    def count_sent(size: int) -> None:
        flow.sent += size
        flow.active = monotonic()

    def count_received(size: int) -> None:
        flow.received += size
        flow.active = monotonic()

    end = monotonic() + total_seconds
    flow.active = monotonic()
    pumps = {
        asyncio.create_task(_pump(client[0], server[1], count_sent)),
        asyncio.create_task(_pump(server[0], client[1], count_received)),
    }
    try:
        while pumps:
            left = min(flow.active + idle_seconds, end) - monotonic()
            if left <= 0:
                return "total" if monotonic() >= end else "idle"
            _, pumps = await asyncio.wait(pumps, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        return "done"
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: Callable[[int], None]) -> None:
    """Copy until the reader ends; then tell the other side so, which may go on talking."""
    with suppress(OSError, RuntimeError):  # a side that is gone ends its direction; the other ends with it
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
            count(len(data))
        if writer.can_write_eof():
            writer.write_eof()
        return
    writer.close()
