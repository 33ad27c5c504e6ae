"""Where messages begin and end in a mailbox file, whatever its size.

The file is mapped, not read: an index of a 10 GB mailbox costs its page cache, not memory of the process.
Variants: mboxo and mboxrd quote body lines that begin with "From "; mboxcl2 does not and has Content-Length instead.
"""

import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass

FROM_LINE = re.compile(rb"From (?P<sender>\S*) *(?P<rest>[^\r\n]*)\r?\n")
_DATED = re.compile(rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? .*\b\d\d:\d\d")
_HEADER = re.compile(rb"[!-9;-~]+[ \t]*:")
_HEADER_END = re.compile(rb"\r?\n\r?\n")
_LENGTH = re.compile(rb"^Content-Length:[ \t]*(\d{1,12})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_QUOTED = re.compile(rb"^>(>*From )", re.MULTILINE)
_HEADER_LIMIT = 262_144


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes [start, end) of one message without its "From " line; `envelope` is the date on that line."""

    start: int
    end: int
    envelope: str


def is_mbox(head: bytes) -> bool:
    """Tell from a file's first bytes whether it is a mailbox file."""
    body = head.lstrip(b"\r\n")
    match = FROM_LINE.match(body)
    return match is not None and (bool(_DATED.search(match["rest"])) or bool(_HEADER.match(body, match.end())))


def iter_spans(data: mmap.mmap) -> Iterator[Span]:
    """Yield the messages of a mapped mailbox in file order."""
    size = len(data)
    position = 0
    while position < size and data[position] in b"\r\n":
        position += 1
    while position < size:
        match = FROM_LINE.match(data, position)
        if match is None:
            return
        start = match.end()
        following = _next_from(data, start, size)
        end = following
        while end > start and data[end - 1] in b"\r\n":
            end -= 1
        # One line end belongs to the message, the blank line before the next "From " to the mailbox.
        end = min(end + (2 if data[end : end + 2] == b"\r\n" else 1), following)
        yield Span(start, end, match["rest"].decode("ascii", "replace"))
        position = following


def _next_from(data: mmap.mmap, start: int, size: int) -> int:
    """Return where the next "From " line begins, or the end of the file."""
    at = _after_content_length(data, start, size)
    while (found := data.find(b"\nFrom ", at - 1 if at > start else at)) >= 0:
        line = found + 1
        if _is_separator(data, line):
            return line
        at = line + 1
    return size


def _is_separator(data: mmap.mmap, line: int) -> bool:
    match = FROM_LINE.match(data, line)
    if match is None:
        return False
    header_follows = _HEADER.match(data, match.end()) is not None
    dated = _DATED.search(match["rest"]) is not None
    blank_before = data[line - 2 : line] == b"\n\n" or data[line - 3 : line] == b"\n\r\n"
    # Some exporters leave the blank line out; then both other signs must be there.
    return (dated or header_follows) if blank_before else (dated and header_follows)


def _after_content_length(data: mmap.mmap, start: int, size: int) -> int:
    """Return where the body ends by its Content-Length, if a mailbox boundary is really there, else `start`."""
    end = _HEADER_END.search(data, start, min(size, start + _HEADER_LIMIT))
    if end is None:
        return start
    length = _LENGTH.search(data, start, end.start() + 1)
    if length is None:
        return start
    stop = end.end() + int(length[1])
    if stop > size:
        return start
    rest = data[stop : stop + 8].lstrip(b"\r\n")
    return stop if not rest or rest.startswith(b"From ") else start


def unquote(message: bytes) -> bytes:
    """Return a message with one ">" taken from body lines that a mailbox writer quoted."""
    if b"\n>From " not in message and b"\n>>" not in message:
        return message
    end = _HEADER_END.search(message)
    if end is None:
        return message
    return message[: end.end()] + _QUOTED.sub(rb"\1", message[end.end() :])
