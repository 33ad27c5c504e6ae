"""Passive health: a variant that failed is left alone for a while, then tried with one request."""

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

FIRST_PAUSE = 1.0
LAST_PAUSE = 15.0
FAILURES_TO_OPEN = 2


@dataclass(slots=True)
class _State:
    failures: int = 0
    open_until: float = 0.0
    pause: float = FIRST_PAUSE
    trial: bool = False


class Circuits:
    """One breaker per key. Two failures in a row open it for 1 s, doubling to 15 s while the trial fails too."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._states: dict[Hashable, _State] = {}

    def allows(self, key: Hashable) -> bool:
        """Whether a request may be sent now."""
        state = self._states.get(key)
        if state is None or state.failures < FAILURES_TO_OPEN:
            return True
        return not state.trial and self._monotonic() >= state.open_until

    def wait(self, key: Hashable) -> float:
        """Return seconds until a trial is allowed; 0 when it is now."""
        state = self._states.get(key)
        if state is None or state.failures < FAILURES_TO_OPEN:
            return 0.0
        return max(0.0, state.open_until - self._monotonic())

    def begin(self, key: Hashable) -> None:
        """Note that a request starts; for an open circuit it is the only trial."""
        state = self._states.get(key)
        if state is not None and state.failures >= FAILURES_TO_OPEN:
            state.trial = True

    def succeed(self, key: Hashable) -> None:
        """Close the circuit."""
        self._states.pop(key, None)

    def fail(self, key: Hashable) -> None:
        """Count a failure before the first byte."""
        state = self._states.setdefault(key, _State())
        state.failures += 1
        if state.failures >= FAILURES_TO_OPEN:
            state.open_until = self._monotonic() + state.pause
            state.pause = min(LAST_PAUSE, state.pause * 2)
        state.trial = False

    def abandon(self, key: Hashable) -> None:
        """Note that a request ended and told nothing, as when its client went away."""
        state = self._states.get(key)
        if state is not None:
            state.trial = False

    def reset(self, key: Hashable) -> None:
        """Forget everything: the catalog says that the variant is another one now."""
        self._states.pop(key, None)
