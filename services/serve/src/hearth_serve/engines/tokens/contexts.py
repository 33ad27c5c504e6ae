"""Contexts of ended answers: the next prompt that begins the same is read from where they end.

Bounded by the slots: an answer that runs and a context that is kept take the same room, which was planned for.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

LEAST = 16
"""Tokens that must be the same: fewer are read anew in no time."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Keys and values of these tokens."""

    tokens: tuple[int, ...]
    context: Any


class KeptContexts:
    """The latest contexts. `cut(context, n)` takes the last n tokens away, or says that it cannot."""

    def __init__(self, slots: int, *, cut: Callable[[Any, int], bool]) -> None:
        self._slots = slots
        self._cut = cut
        self._kept: OrderedDict[int, Kept] = OrderedDict()
        self._next = 0
        self.reused = 0
        """Tokens that were not read again, since the start."""

    def __len__(self) -> int:
        return len(self._kept)

    def take(self, prompt: Sequence[int], *, running: int) -> Kept | None:
        """Return the context that shares most of the prompt's beginning, and make room for one more that runs.

        At least the prompt's last token is left to be read: its scores are needed.
        """
        best, shared = None, LEAST - 1
        for number, kept in self._kept.items():
            same = min(_same(kept.tokens, prompt), len(prompt) - 1)
            if same > shared:
                best, shared = number, same
        found = None
        if best is not None:
            kept = self._kept.pop(best)
            if self._cut(kept.context, len(kept.tokens) - shared):
                found = Kept(kept.tokens[:shared], kept.context)
                self.reused += shared
        self._bound(self._slots - running - 1)
        return found

    def put(self, tokens: tuple[int, ...], context: Any, *, running: int) -> None:
        """Keep a context while there is room for it."""
        self._kept[self._next] = Kept(tokens, context)
        self._next += 1
        self._bound(self._slots - running)

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()

    def _bound(self, most: int) -> None:
        while len(self._kept) > max(0, most):
            self._kept.popitem(last=False)


def _same(one: Sequence[int], other: Sequence[int]) -> int:
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count
