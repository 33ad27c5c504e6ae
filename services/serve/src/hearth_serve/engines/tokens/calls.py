"""Tool calls: how a model is told of tools, and how its text becomes OpenAI's `tool_calls`.

Models write calls in the form that their template taught them. Where a template knows no tools they are described in
the system message, in the form that most models were trained with. A call that is demanded (`tool_choice`) is not left
to the model: a grammar holds it to one of the tools and its arguments' schema.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hearth_serve.errors import invalid

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_MISTRAL = "[TOOL_CALLS]"
_ARGS = "[ARGS]"
"""Between name and arguments of newer Mistral models."""
_PYTHON = "<|python_tag|>"
_MARKS = (_OPEN, _MISTRAL, _PYTHON)
CALL_TOKENS = frozenset({_OPEN, _CLOSE, _MISTRAL, _ARGS, _PYTHON})
"""Tokens that are text for a request with tools, also where the tokenizer calls them special."""
_MOST_HELD = 65_536
_NAME = re.compile(r"^[A-Za-z0-9_.-]{1,64}$")

_DESCRIPTION = """You can call these functions. Their signatures are JSON:
<tools>
{tools}
</tools>
To call one, write only a JSON object with its name and arguments within <tool_call></tool_call>:
<tool_call>
{{"name": <name>, "arguments": <arguments>}}
</tool_call>"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call."""

    name: str
    arguments: str
    """JSON text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """The tools of a request."""

    given: tuple[Mapping[str, Any], ...] = ()
    forced: bool = False
    """The answer is a call."""

    @property
    def names(self) -> frozenset[str]:
        """Names of the functions."""
        return frozenset(str(tool["function"]["name"]) for tool in self.given)

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of one call."""
        calls = [_call_schema(tool["function"]) for tool in self.given]
        return calls[0] if len(calls) == 1 else {"anyOf": calls}

    def described(self) -> str:
        """Return the tools as text, for models whose template has no place for them."""
        return _DESCRIPTION.format(tools="\n".join(json.dumps(tool, ensure_ascii=False) for tool in self.given))


def _call_schema(function: Mapping[str, Any]) -> dict[str, Any]:
    arguments = function.get("parameters") or {"type": "object"}
    return {
        "type": "object",
        "properties": {"name": {"const": function["name"]}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def read_tools(given: Sequence[Any], choice: object) -> Tools:
    """Return the tools that a request allows. Raises ApiError 400."""
    tools: list[Mapping[str, Any]] = []
    for tool in given:
        function = tool.get("function") if isinstance(tool, Mapping) else None
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(tool, Mapping) or not isinstance(name, str) or not _NAME.match(name):
            raise invalid("tools: each has type function, and a function with a name.", param="tools")
        tools.append(tool)
    if isinstance(choice, Mapping):
        wanted = (choice.get("function") or {}).get("name") if isinstance(choice.get("function"), Mapping) else None
        tools = [tool for tool in tools if tool["function"]["name"] == wanted]
        if not tools:
            raise invalid(f"tool_choice names {wanted!r}, which is not among the tools.", param="tool_choice")
        return Tools(given=tuple(tools), forced=True)
    if choice not in (None, "none", "auto", "required"):
        raise invalid("tool_choice is none, auto, required or a function.", param="tool_choice")
    if choice == "required" and not tools:
        raise invalid("tool_choice is required, but there are no tools.", param="tool_choice")
    return Tools() if choice == "none" else Tools(given=tuple(tools), forced=choice == "required")


class CallParser:
    """Splits an answer's text into what is said and what is called. Text is passed on as soon as it is certain."""

    def __init__(self, tools: Tools) -> None:
        self._names = tools.names
        self._forced = tools.forced
        self._held = ""
        self._inside = tools.forced
        self._began = False
        self._after = False
        self.calls = 0

    def push(self, piece: str) -> tuple[str, list[Call]]:
        """Return text for the caller, and calls that are complete."""
        self._held += piece
        said, calls = "", []
        while True:
            if self._inside:
                found = self._closed()
                if found is None:
                    break
                text, made = found
                said += text
                calls += made
            else:
                said += self._opened()
                if not self._inside:
                    break
        self.calls += len(calls)
        return said, calls

    def flush(self) -> tuple[str, list[Call]]:
        """Return what was held back when nothing more comes: calls where it is one, else text."""
        text, self._held = self._held, ""
        calls = self._read(_stripped(text)) if self._inside else []
        self.calls += len(calls)
        return ("" if calls else text), calls

    def _opened(self) -> str:
        """Look for the beginning of a call; return the text before it that is certain."""
        if self._after:  # blanks between two calls are nobody's words
            self._held = self._held.lstrip()
            self._after = not self._held
        if not self._began and self._held.lstrip()[:1] in ("{", "") and self._names:
            if self._held.lstrip():
                self._began = self._inside = True  # an answer that begins as JSON: perhaps a bare call
            return ""
        self._began = True
        at = min((n for mark in _MARKS if (n := self._held.find(mark)) >= 0), default=-1)
        if at >= 0:
            text, self._held = self._held[:at], self._held[at:]
            self._inside = True
            return text
        keep = max((n for mark in _MARKS for n in range(1, len(mark)) if self._held.endswith(mark[:n])), default=0)
        text, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return text

    def _closed(self) -> tuple[str, list[Call]] | None:
        """Return a call that is complete; text that turned out to be none; or None while neither is certain."""
        if self._held.startswith(_OPEN):
            at = self._held.find(_CLOSE)
            if at < 0:
                return self._too_long()
            whole, self._held = self._held[: at + len(_CLOSE)], self._held[at + len(_CLOSE) :]
            self._inside = False
            calls = self._read(_stripped(whole))
            self._after = bool(calls)
            return ("" if calls else whole), calls
        return self._too_long()

    def _too_long(self) -> tuple[str, list[Call]] | None:
        if self._forced or len(self._held) <= _MOST_HELD:
            return None
        text, self._held, self._inside = self._held, "", False
        return text, []

    def _read(self, text: str) -> list[Call]:
        """Return the calls in a JSON text; none where it is not one or names no tool."""
        name, separator, rest = text.partition(_ARGS)
        try:
            data = {"name": name, "arguments": json.loads(rest)} if separator else json.loads(text)
        except (ValueError, RecursionError):
            return []
        calls = [self._one(item) for item in (data if isinstance(data, list) else [data])]
        return [call for call in calls if call is not None] if all(calls) else []

    def _one(self, item: object) -> Call | None:
        if not isinstance(item, Mapping) or item.get("name") not in self._names:
            return None
        arguments = item.get("arguments", item.get("parameters", {}))
        if isinstance(arguments, str):
            return Call(name=str(item["name"]), arguments=arguments)
        return Call(name=str(item["name"]), arguments=json.dumps(arguments, ensure_ascii=False))


def _stripped(text: str) -> str:
    for mark in (*_MARKS, _CLOSE):
        text = text.replace(mark, "")
    return text.strip()
