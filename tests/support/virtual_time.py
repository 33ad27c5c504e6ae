"""An event loop whose time passes at once whenever nothing is left to do now."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any


class _Jump(selectors.DefaultSelector):
    def __init__(self, skip: Callable[[float], None]) -> None:
        super().__init__()
        self._skip = skip

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready now; otherwise let the time go by that would have been waited."""
        ready = super().select(0)
        if timeout is None and not ready:
            return super().select(None)
        # Every turn takes a moment, or the rest of a rounding would be waited for without end.
        self._skip(1e-6 if ready or timeout is None else timeout + 1e-6)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its clock starts at 1000 s and moves only while everything sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        super().__init__(_Jump(self._advance))

    def _advance(self, seconds: float) -> None:
        # A little more than asked for, or the rest of a rounding would be waited for without end.
        self.now += seconds + 1e-6 if seconds > 0 else 0.0

    def time(self) -> float:
        """Return the virtual time."""
        return self.now


def run_virtually(main: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
