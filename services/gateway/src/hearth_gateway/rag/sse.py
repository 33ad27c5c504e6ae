"""Listens to a stream of server-sent events while its bytes pass, and holds back its end."""

import json
import re
from typing import Any

EVENT_END = re.compile(rb"\r?\n\r?\n")
DONE = b"[DONE]"
MAX_EVENT_BYTES = 1 << 20


class SseTap:
    """Feed bytes, forward what comes back. Collects the answer's text per choice."""

    def __init__(self) -> None:
        self._buffer = b""
        self._texts: dict[int, list[str]] = {}
        self.done = False
        self.head: dict[str, Any] = {}

    def feed(self, chunk: bytes) -> bytes:
        """Return the bytes to forward: whole events, untouched, without `[DONE]` and what follows it."""
        if self.done:
            return b""
        self._buffer += chunk
        out: list[bytes] = []
        start = 0
        for match in EVENT_END.finditer(self._buffer):
            event = self._buffer[start : match.end()]
            start = match.end()
            data = _data(event)
            if data == DONE:
                self.done = True
                break
            self._listen(data)
            out.append(event)
        self._buffer = self._buffer[start:]
        if len(self._buffer) > MAX_EVENT_BYTES:
            out.append(self._buffer)
            self._buffer = b""
        return b"".join(out)

    def texts(self) -> dict[int, str]:
        """Return the answers so far by index of choice."""
        return {index: "".join(parts) for index, parts in sorted(self._texts.items())} or {0: ""}

    def _listen(self, data: bytes) -> None:
        if not data:
            return
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            return
        if not isinstance(value, dict):
            return
        if not self.head:
            self.head = {name: value[name] for name in ("id", "created", "model") if name in value}
        choices = value.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            delta = choice.get("delta") if isinstance(choice, dict) else None
            content = delta.get("content") if isinstance(delta, dict) else None
            index = choice.get("index", 0) if isinstance(choice, dict) else 0
            if isinstance(content, str) and isinstance(index, int):
                self._texts.setdefault(index, []).append(content)


def _data(event: bytes) -> bytes:
    lines = [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines)


def encode_event(value: dict[str, Any]) -> bytes:
    """Return one event."""
    return b"data: " + json.dumps(value, ensure_ascii=False).encode("utf-8", "replace") + b"\n\n"
