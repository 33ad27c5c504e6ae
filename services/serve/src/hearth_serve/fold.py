"""Streams to whole answers, and chunks to server-sent events.

Engines only stream: that is what can be cancelled. A whole answer is a fold over its chunks.
"""

import json
from collections.abc import Iterable
from typing import Any

DONE = b"data: [DONE]\n\n"
WHOLE = {"chat.completion.chunk": "chat.completion", "text_completion": "text_completion"}


def event(chunk: bytes) -> bytes:
    """Frame one JSON object without line breaks as a server-sent event."""
    return b"data: " + chunk + b"\n\n"


class Fold:
    """Collects chunks of one answer, whatever its number of choices."""

    def __init__(self) -> None:
        self._head: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}

    def add(self, chunk: bytes) -> None:
        """Take one chunk."""
        data: dict[str, Any] = json.loads(chunk)
        for choice in data.pop("choices", []):
            self._add_choice(choice)
        self._head |= data

    def _add_choice(self, choice: dict[str, Any]) -> None:
        whole = self._choices.setdefault(
            choice.get("index", 0), {"index": choice.get("index", 0), "finish_reason": None}
        )
        if choice.get("finish_reason") is not None:
            whole["finish_reason"] = choice["finish_reason"]
        if "text" in choice:
            whole["text"] = whole.get("text", "") + choice["text"]
        if "delta" in choice:
            _add_delta(whole.setdefault("message", {"role": "assistant", "content": None}), choice["delta"])
        if (choice.get("logprobs") or {}).get("content"):
            held = whole.setdefault("logprobs", {"content": []})
            held["content"] += choice["logprobs"]["content"]

    def whole(self) -> dict[str, Any]:
        """Return the answer so far as a body without `stream`."""
        kind = WHOLE.get(self._head.get("object", ""), "chat.completion")
        choices = [self._choices[index] for index in sorted(self._choices)]
        for choice in choices:
            message = choice.get("message")
            if message is not None and message["content"] is None and "tool_calls" not in message:
                message["content"] = ""
        return {**self._head, "object": kind, "choices": choices}


def _add_delta(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for name in ("content", "reasoning_content", "refusal"):
        if delta.get(name) is not None:
            message[name] = (message.get(name) or "") + delta[name]
    for call in delta.get("tool_calls") or []:
        calls = message.setdefault("tool_calls", [])
        while len(calls) <= call["index"]:
            calls.append({"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
        held = calls[call["index"]]
        held["id"] = call.get("id") or held["id"]
        function = call.get("function") or {}
        held["function"]["name"] += function.get("name") or ""
        held["function"]["arguments"] += function.get("arguments") or ""


def fold(chunks: Iterable[bytes]) -> dict[str, Any]:
    """Return the whole answer of `chunks`."""
    collected = Fold()
    for chunk in chunks:
        collected.add(chunk)
    return collected.whole()
