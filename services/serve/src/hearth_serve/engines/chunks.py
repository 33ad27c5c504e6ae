"""What an engine needs that has no OpenAI shapes of its own: chunks, and stop sequences over pieces of text."""

import json
from collections.abc import Mapping, Sequence


class Stops:
    """Cuts text before the first stop sequence, wherever the pieces are split."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self.hit = False

    def push(self, piece: str) -> str:
        """Return what can no longer be the beginning of a stop sequence."""
        self._held += piece
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.hit = True
            text, self._held = self._held[: min(found)], ""
            return text
        keep = max((n for stop in self._stops for n in range(1, len(stop)) if self._held.endswith(stop[:n])), default=0)
        cut = len(self._held) - keep
        text, self._held = self._held[:cut], self._held[cut:]
        return text

    def flush(self) -> str:
        """Return what was held back when nothing more comes."""
        text, self._held = self._held, ""
        return text


def encode_chunk(head: Mapping[str, object], choices: list[dict[str, object]]) -> bytes:
    """Return one chunk as JSON."""
    return json.dumps({**head, "choices": choices}, ensure_ascii=False, separators=(",", ":")).encode()


def chat_choice(text: str, *, first: bool = False, finish: str | None = None) -> dict[str, object]:
    """Return a choice of `chat.completion.chunk`."""
    delta: dict[str, object] = {"role": "assistant", "content": ""} if first else {"content": text}
    return {"index": 0, "delta": {} if finish else delta, "finish_reason": finish}


def text_choice(text: str, *, first: bool = False, finish: str | None = None) -> dict[str, object]:  # noqa: ARG001
    """Return a choice of a `text_completion` chunk."""
    return {"index": 0, "text": text, "finish_reason": finish}
