"""Which variant of a model serves, and which one that came back has to wait first.

A variant that is more preferred than the one that serves takes over only after it answered for a while without a
break. Each loss that follows another doubles that while, until it stayed for long: a machine that comes and goes does
not take the model with it. What answers is never held back when nothing else does.

Times are seconds of a monotonic clock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

LONGEST_WAIT = 600.0
"""No wait grows beyond this."""
CALM = 600.0
"""After so long without a loss since it took over, earlier losses are forgotten."""
_MOST_LOSSES = 32


@dataclass(frozen=True, slots=True)
class Past:
    """One variant: since when it answers (None: it does not), and how often it was lost without calm in between."""

    since: float | None = None
    losses: int = 0

    def wait(self, stable: float) -> float:
        """Return how long it has to answer before it takes over."""
        return min(stable * 2.0 ** min(_MOST_LOSSES, max(0, self.losses - 1)), max(stable, LONGEST_WAIT))


@dataclass(frozen=True, slots=True)
class Memory:
    """What is kept from one decision to the next. After a restart only `serving` is known, from the status."""

    serving: str | None = None
    """Who served last; it stays when nothing answers."""
    past: Mapping[str, Past] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A variant that answers since `since` and takes over at `until`, after `wait` seconds."""

    since: float
    wait: float

    @property
    def until(self) -> float:
        """When it takes over."""
        return self.since + self.wait


@dataclass(frozen=True, slots=True)
class Decision:
    """Who serves now (None: nothing answers), who waits, and what to remember."""

    serving: str | None
    held: Mapping[str, Hold]
    memory: Memory


def decide(memory: Memory, answers: Sequence[tuple[str, float | None]], *, stable: float, now: float) -> Decision:
    """Return who serves. `answers` has every variant, most wanted first, and since when it answers without a break."""
    past = {name: _go_on(memory.past.get(name, Past()), since, stable=stable, now=now) for name, since in answers}
    order = [name for name, since in answers if since is not None]
    ripe = [name for name in order if _is_ripe(past[name], stable=stable, now=now)]
    candidates = [name for name in order if name in ripe or name == memory.serving] or order
    serving = candidates[0] if candidates else None
    before = order[: order.index(serving)] if serving is not None else []
    held = {
        name: Hold(since=since, wait=past[name].wait(stable))
        for name in before
        if (since := past[name].since) is not None
    }
    return Decision(serving, held, Memory(serving or memory.serving, past))


def _is_ripe(past: Past, *, stable: float, now: float) -> bool:
    return past.since is not None and now - past.since >= past.wait(stable)


def _go_on(past: Past, since: float | None, *, stable: float, now: float) -> Past:
    """Return what is known after another look: a later `since` means that it was lost in between."""
    if past.since is None:
        return Past(since, past.losses)
    lost = since is None or since > past.since
    answered = (now if since is None or not lost else since) - past.since
    calm = answered >= past.wait(stable) + CALM
    losses = (0 if calm else past.losses) + (1 if lost else 0)
    return Past(since if lost else past.since, min(losses, _MOST_LOSSES))
