"""What llama.cpp's server is asked for a chat, so that it answers and refuses as the other engines do.

llama.cpp knows no several answers beyond its slots, and leaves a demanded call to models whose template knows tools: so
each answer is a request of its own, and a demanded call is a JSON schema whose text becomes `tool_calls` here.
"""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hearth_serve.engines.protocol import Body
from hearth_serve.engines.tokens.answers import plain_message, told_of
from hearth_serve.engines.tokens.calls import read_tools
from hearth_serve.engines.tokens.constraints import read_schema
from hearth_serve.engines.tokens.job import mapping, number, read_sampling, sequence

_STREAMED: Mapping[str, object] = {"stream": True, "stream_options": {"include_usage": True}}


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaAsk:
    """A request in llama.cpp's form."""

    requests: tuple[dict[str, Any], ...]
    """One for each answer."""
    calls: bool = False
    """The text is a call that was demanded."""
    schema_of: str | None = None
    """Field with the schema that is kept to: what is named where llama.cpp cannot."""


def ask_chat(body: Body, *, vocabulary: int) -> LlamaAsk:
    """Return what to ask for a chat. Raises ApiError 400 that names the field."""
    tools = read_tools(sequence(body.get("tools")), body.get("tool_choice"))
    schema = read_schema(mapping(body.get("response_format")))
    request = {**body, **_STREAMED}
    if request.pop("continue_final_message", False):
        request |= {"continue_final_message": True, "add_generation_prompt": False}
    if tools.forced or not tools.given:
        request.pop("tools", None)
        request.pop("tool_choice", None)
    if tools.forced:
        request["messages"] = told_of(tools, [plain_message(message) for message in sequence(body["messages"])])
        request["response_format"] = {"type": "json_schema", "json_schema": {"name": "call", "schema": tools.schema()}}
    held = "tools" if tools.forced else "response_format" if schema is not None else None
    return LlamaAsk(requests=_answers(request, vocabulary=vocabulary), calls=tools.forced, schema_of=held)


def ask_completion(body: Body, *, vocabulary: int) -> LlamaAsk:
    """Return what to ask for a completion. Raises ApiError 400 that names the field."""
    return LlamaAsk(requests=_answers({**body, **_STREAMED}, vocabulary=vocabulary))


def _answers(request: dict[str, Any], *, vocabulary: int) -> tuple[dict[str, Any], ...]:
    sampling = read_sampling(request, vocabulary=vocabulary)
    count = int(number(request, "n", 1))
    request.pop("n", None)
    if count == 1 or sampling.seed is None:
        return (request,) * count
    return tuple({**request, "seed": (sampling.seed + index) % 2**32} for index in range(count))


class CallCollector:
    """Holds the text of a demanded call until it is whole, and gives it out as OpenAI's `tool_calls`."""

    def __init__(self) -> None:
        self._text = ""

    def take(self, chunk: dict[str, Any]) -> dict[str, Any] | None:
        """Return the chunk to send instead of one of llama.cpp's; None: nothing yet. A text that was cut stays one."""
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta") or {}
            self._text += delta.pop("content", None) or ""
            if choice.get("finish_reason") is None:
                return chunk if delta.get("role") else None
            if (call := self._call()) is None:
                choice["delta"] = {"content": self._text}
            else:
                choice["delta"], choice["finish_reason"] = {"tool_calls": [call]}, "tool_calls"
        return chunk

    def _call(self) -> dict[str, Any] | None:
        try:
            made = json.loads(self._text)
            function = {"name": str(made["name"]), "arguments": json.dumps(made["arguments"], ensure_ascii=False)}
        except (ValueError, KeyError, TypeError):
            return None
        return {"index": 0, "id": f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": function}
