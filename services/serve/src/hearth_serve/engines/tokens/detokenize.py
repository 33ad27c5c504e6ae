"""Tokens to text, piece by piece: nothing is told before it can no longer change."""

from collections.abc import Callable, Sequence

_CONTEXT = 8
"""Tokens of the prompt that the first piece is read together with: some tokenizers drop a leading space otherwise."""
_UNFINISHED = "\ufffd"
_LONGEST = 64
"""Tokens held for one character: more than any has. After that what there is is told as it is."""


class Detokenizer:
    """Text of one answer."""

    def __init__(self, decode: Callable[[list[int]], str], *, prompt: Sequence[int], skip: frozenset[int]) -> None:
        self._decode = decode
        self._skip = skip
        self._ids = [token for token in prompt[-_CONTEXT:] if token not in skip]
        self._begin = 0
        self._told = len(self._ids)

    def push(self, token: int) -> str:
        """Return the text that is certain with one more token."""
        if token in self._skip:
            return ""
        self._ids.append(token)
        return self._tell(final=len(self._ids) - self._told > _LONGEST)

    def flush(self) -> str:
        """Return what was held back when nothing more comes."""
        return self._tell(final=True) if len(self._ids) > self._told else ""

    def _tell(self, *, final: bool) -> str:
        before = self._decode(self._ids[self._begin : self._told])
        now = self._decode(self._ids[self._begin :])
        if now.endswith(_UNFINISHED) and not final:
            return ""
        self._begin, self._told = self._told, len(self._ids)
        if self._begin > 4096:  # the history is never read again
            del self._ids[: self._begin]
            self._begin, self._told = 0, len(self._ids)
        return now[len(before) :]
