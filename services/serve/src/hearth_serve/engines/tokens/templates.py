"""A model's chat template, rendered within bounds of time and memory."""

import json
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hearth_serve.errors import StartError, invalid

RENDER_SECONDS = 10.0
"""A long conversation takes a template some milliseconds."""
_START_SECONDS = 30.0
_CHILD = Path(__file__).with_name("template_child.py")
_CONTINUE = "\u2063hearth-goes-on-here\u2063"
"""Put behind an unfinished message to find where it ends in the prompt."""


class TemplateTimeoutError(Exception):
    """The rendering process was ended."""


class ChatTemplate:
    """Renders prompts. One process, one rendering at a time; used from threads."""

    def __init__(self, text: str, *, special: Mapping[str, str], seconds: float = RENDER_SECONDS) -> None:
        self.text = text
        self.knows_tools = "tools" in text
        self._special = dict(special)
        self._seconds = seconds
        self._lock = threading.Lock()
        self._child: subprocess.Popen[str] | None = None

    def check(self) -> None:
        """Compile it. Raises StartError."""
        try:
            with self._lock:
                self._ready()
        except (TemplateTimeoutError, ValueError, OSError) as error:
            raise StartError(f"The model's chat template cannot be used: {error}.") from error

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        options: Mapping[str, Any] | None = None,
        go_on: bool = False,
    ) -> str:
        """Return the prompt; with `go_on` it ends within the last message. Raises ApiError 400."""
        given = [dict(message) for message in messages]
        if go_on:
            given[-1]["content"] = f"{given[-1].get('content') or ''}{_CONTINUE}"
        values = {
            **self._special,
            **(options or {}),
            "messages": given,
            "tools": list(tools) or None,
            "documents": None,
            "add_generation_prompt": not go_on,
        }
        try:
            with self._lock:
                text = self._ask(self._ready(), json.dumps(values), seconds=self._seconds)
        except (TemplateTimeoutError, ValueError, OSError) as error:
            raise invalid(f"The chat template refuses these messages: {error}.", param="messages") from error
        if not go_on:
            return text
        before, mark, _ = text.rpartition(_CONTINUE)
        if not mark:
            raise invalid("The chat template drops the message that is to be continued.", param="messages")
        return before

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _ready(self) -> "subprocess.Popen[str]":
        if self._child is not None and self._child.poll() is None:
            return self._child
        self._end()
        self._child = subprocess.Popen(
            [sys.executable, "-I", str(_CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"LC_ALL": "C.UTF-8"},
            encoding="utf-8",
        )
        self._ask(self._child, json.dumps({"template": self.text}), seconds=_START_SECONDS)
        return self._child

    def _ask(self, child: "subprocess.Popen[str]", line: str, *, seconds: float) -> str:
        assert child.stdin is not None
        assert child.stdout is not None
        timer = threading.Timer(seconds, child.kill)
        timer.start()
        try:
            child.stdin.write(f"{line}\n")
            child.stdin.flush()
            reply = child.stdout.readline()
        except OSError:
            reply = ""
        finally:
            timer.cancel()
        if not reply:
            self._end()
            raise TemplateTimeoutError(f"it ran longer than {seconds:g} s or died")
        answer: dict[str, str] = json.loads(reply)
        if "error" in answer:
            raise ValueError(answer["error"].rstrip("."))
        return answer["text"]

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    try:
                        pipe.close()
                    except OSError:  # what was still to be written has nobody to read it
                        continue
            child.wait()
