"""JSON to records, in pieces: a broken element of an array is refused alone, and one is held at a time."""

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

_CHUNK = 1 << 20
_SPACE = re.compile(r"[\s,\\\ufeff\x00;]*")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_SCALAR = re.compile(r"[^,\]}\s]*")
_KEY = re.compile(r'"((?:[^"\\]|\\.){0,500})"\s*:\s*', re.DOTALL)
_DECODER = json.JSONDecoder(strict=False)
STREAMED = frozenset({"value", "messages", "conversations", "MessageList", "replies", "chats", "channels", "members",
                      "contacts", "users"})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Broken:
    """A stretch of the file that is no JSON. `code` is `record-broken`, `too-large` or `file-truncated`."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Record:
    """One object, and what is known of the objects around it (their plain fields, the innermost last)."""

    value: dict[str, Any]
    around: tuple[dict[str, Any], ...] = ()
    key: str = ""


class _Text:
    """The characters of a file with a buffer that grows only while one record does."""

    def __init__(self, file: IO[bytes], *, limit: int) -> None:
        head = file.read(_CHUNK)
        self._file = file
        self._decoder = codecs.getincrementaldecoder(_encoding(head))("replace")
        self.limit = limit
        self.ended = not head
        self.at = 0
        self.buffer = self._decoder.decode(head, final=self.ended)

    def fill(self) -> bool:
        """Read on, dropping what was passed. False at the end."""
        if self.ended:
            return False
        # Doubling keeps the work linear when a record is cut by the end of the buffer again and again.
        data = self._file.read(max(_CHUNK, len(self.buffer) - self.at))
        self.ended = not data
        self.buffer = self.buffer[self.at :] + self._decoder.decode(data, final=self.ended)
        self.at = 0
        return True

    def peek(self) -> str:
        """Pass white space and commas and return the next character, "" at the end."""
        while True:
            match = _SPACE.match(self.buffer, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self.buffer):
                return self.buffer[self.at]
            if not self.fill():
                return ""


def _encoding(head: bytes) -> str:
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if head[:1] in b"[{" and head[1:2] == b"\x00":
        return "utf-16-le"
    if head[:1] == b"\x00" and head[1:2] in (b"[", b"{"):
        return "utf-16-be"
    return "utf-8-sig"


def read_records(file: IO[bytes], *, limit: int) -> Iterator[Record | Broken]:
    """Yield the objects of a file: of arrays, pages, lines and nested lists of messages. Never raises for any bytes.

    `limit` is in characters of one record. OSError of the file itself passes through.
    """
    text = _Text(file, limit=limit)
    while (mark := text.peek()) != "":
        if mark == "[":
            text.at += 1
            yield from _array(text, (), "")
        elif mark == "{":
            yield from _object(text, (), "")
        else:
            yield from _garbage(text)


def _garbage(text: _Text) -> Iterator[Broken]:
    """Pass to the next line: after a broken line of NDJSON the next one is good again."""
    while (end := text.buffer.find("\n", text.at)) < 0:
        text.at = len(text.buffer)
        if not text.fill():
            break
    text.at = len(text.buffer) if end < 0 else end + 1
    yield Broken("record-broken", "characters that belong to no object")


def _array(text: _Text, around: tuple[dict[str, Any], ...], key: str) -> Iterator[Record | Broken]:
    while True:
        mark = text.peek()
        if mark == "":
            yield Broken("file-truncated", "it ends inside a list")
            return
        if mark == "]":
            text.at += 1
            return
        if mark == "{":
            yield from _object(text, around, key)
        elif mark == "}":
            text.at += 1
            yield Broken("record-broken", "a brace too many")
        elif isinstance(value := _value(text), Broken):
            yield value


def _object(text: _Text, around: tuple[dict[str, Any], ...], key: str) -> Iterator[Record | Broken]:
    """Yield a record. One that is an envelope of lists is walked, its fields given to what is inside."""
    if not _is_envelope(text):
        value = _value(text)
        if isinstance(value, Broken):
            yield value
        elif isinstance(value, dict):
            yield Record(value, around, key)
        return
    text.at += 1
    fields: dict[str, Any] = {}
    inner = (*around, fields)
    while True:
        mark = text.peek()
        if mark in ("", "}"):
            text.at += len(mark)
            if not mark:
                yield Broken("file-truncated", "it ends inside an object")
            break
        if text.ended is False and len(text.buffer) - text.at < 1000:
            text.fill()
        match = _KEY.match(text.buffer, text.at)
        if match is None:
            yield from _garbage(text)
            continue
        text.at = match.end()
        name = match[1]
        if text.peek() == "[" and name in STREAMED:
            text.at += 1
            fields.setdefault(f"{name}[]", True)
            yield from _array(text, inner, name)
        elif isinstance(value := _value(text), Broken):
            yield value
        else:
            fields[name] = value
    yield Record(fields, around, key)


_HEAD_KEY = re.compile(r'"([^"\\]{1,60})"\s*:\s*(\[)?')


def _is_envelope(text: _Text) -> bool:
    """Tell whether the object at hand holds a list of records: looked for among its own first keys, not deeper."""
    while (found := _holds_list(text)) is None:
        if len(text.buffer) - text.at > _CHUNK or not text.fill():
            return False
    return found


def _holds_list(text: _Text) -> bool | None:
    """Return None if the buffer ends before the object tells."""
    depth, at, end = 0, text.at, len(text.buffer)
    while at < end:
        match = _TOKEN.search(text.buffer, at, end)
        if match is None:
            return None
        token = match[0]
        at = match.end()
        if token in ("{", "["):
            depth += 1
        elif token in ("}", "]"):
            depth -= 1
            if depth <= 0:
                return False
        elif depth == 1 and token[1:-1] in STREAMED - {"replies", "members"}:
            found = _HEAD_KEY.match(text.buffer, match.start())
            if found and found[2]:
                return True
    return None


def _value(text: _Text) -> Any | Broken:
    """Read one value, pass it in any case. What is not JSON is passed by its brackets."""
    while True:
        try:
            value, end = _DECODER.raw_decode(text.buffer, text.at)
        except (ValueError, RecursionError):
            end = -1
            value = None
        if end >= 0 and (end < len(text.buffer) or text.ended):
            text.at = end
            return value
        span = _end_of(text)
        if span is not None and (span < len(text.buffer) or text.ended):
            text.at = max(span, text.at + 1)
            return Broken("record-broken", "it is not JSON")
        if len(text.buffer) - text.at > text.limit:
            text.at = len(text.buffer)
            return Broken("too-large", f"a record of more than {text.limit} characters")
        if not text.fill():
            line = text.buffer.find("\n", text.at)
            text.at = len(text.buffer) if line < 0 else line + 1
            return Broken("file-truncated" if line < 0 else "record-broken", "it is not closed")


def _end_of(text: _Text) -> int | None:
    """Return where the value's brackets close, or None if they do not inside the buffer."""
    if text.buffer[text.at : text.at + 1] not in ("{", "["):
        match = _SCALAR.match(text.buffer, text.at)
        return match.end() if match else None
    depth = 0
    for match in _TOKEN.finditer(text.buffer, text.at):
        if match[0] in ("{", "["):
            depth += 1
        elif match[0] in ("}", "]"):
            depth -= 1
            if depth == 0:
                return match.end()
    return None
