"""Tokens to OpenAI's chunks: text, stop sequences, calls, probabilities, the end and what was used."""

import time
import uuid
from collections.abc import Callable
from typing import Any, Literal

from hearth_serve.engines.chunks import Stops, encode_chunk
from hearth_serve.engines.tokens.calls import Call, CallParser, Tools
from hearth_serve.engines.tokens.detokenize import Detokenizer
from hearth_serve.engines.tokens.job import Token

Kind = Literal["chat.completion.chunk", "text_completion"]


class Writer:
    """Writes one choice of an answer."""

    def __init__(
        self,
        *,
        head: dict[str, object],
        index: int,
        text: Detokenizer,
        stops: Stops,
        tools: Tools,
        spell: Callable[[int], str] | None,
    ) -> None:
        self._head = head
        self._chat = head["object"] == "chat.completion.chunk"
        self._index = index
        self._text = text
        self._stops = stops
        self._calls = CallParser(tools) if tools.given else None
        self._spell = spell
        self._probable: list[dict[str, Any]] = []
        self._told_calls = 0

    @property
    def stopped(self) -> bool:
        """Whether a stop sequence was found."""
        return self._stops.hit

    def first(self) -> bytes:
        """Return the chunk that says who answers."""
        return self._chunk({"role": "assistant", "content": ""} if self._chat else {"text": ""})

    def push(self, token: Token) -> list[bytes]:
        """Return the chunks that one more token makes."""
        if self._spell is not None and token.logprob is not None:
            self._probable.append(self._entry(token))
        return self._tell(self._stops.push(self._text.push(token.id)))

    def end(self, reason: str) -> list[bytes]:
        """Return the last chunks."""
        chunks = []
        if not self._stops.hit:
            chunks += self._tell(self._stops.push(self._text.flush()))
        chunks += self._tell(self._stops.flush())
        if self._calls is not None:
            chunks += self._tell_parts(*self._calls.flush())
        if self._told_calls and reason == "stop":
            reason = "tool_calls"
        chunks.append(self._chunk({} if self._chat else {"text": ""}, finish=reason))
        return chunks

    def _tell(self, text: str) -> list[bytes]:
        if not text:
            return []
        if self._calls is None:
            return [self._said(text)]
        return self._tell_parts(*self._calls.push(text))

    def _tell_parts(self, text: str, calls: list[Call]) -> list[bytes]:
        chunks = [self._said(text)] if text else []
        for call in calls:
            function = {"name": call.name, "arguments": call.arguments}
            name = f"call_{uuid.uuid4().hex[:24]}"
            made = {"index": self._told_calls, "id": name, "type": "function", "function": function}
            self._told_calls += 1
            chunks.append(self._chunk({"tool_calls": [made]}))
        return chunks

    def _said(self, text: str) -> bytes:
        return self._chunk({"content": text} if self._chat else {"text": text})

    def _chunk(self, content: dict[str, Any], *, finish: str | None = None) -> bytes:
        choice: dict[str, object] = {"index": self._index, "finish_reason": finish}
        choice |= {"delta": content} if self._chat else content
        if self._probable:
            choice["logprobs"] = {"content": self._probable}
            self._probable = []
        return encode_chunk(self._head, [choice])

    def _entry(self, token: Token) -> dict[str, Any]:
        top = [self._spelled(number, logprob) for number, logprob in token.top]
        return self._spelled(token.id, token.logprob or 0.0) | {"top_logprobs": top}

    def _spelled(self, number: int, logprob: float) -> dict[str, Any]:
        assert self._spell is not None
        text = self._spell(number)
        return {"token": text, "logprob": max(logprob, -9999.0), "bytes": list(text.encode(errors="replace"))}


def new_head(kind: Kind, *, model: str) -> dict[str, object]:
    """Return what all chunks of an answer have in common."""
    name = "chatcmpl" if kind == "chat.completion.chunk" else "cmpl"
    return {"id": f"{name}-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": model}
