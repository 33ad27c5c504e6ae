"""IMAP's grammar as far as a reader of mail needs it: responses with literals, nested lists, mailbox names.

Pure but for the file that it reads from. Nothing here trusts the server: lines, literals and nesting have bounds.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import BinaryIO

MAX_LINE_BYTES = 1 << 20
MAX_DEPTH = 32
_LITERAL = re.compile(rb"~?\{(\d{1,18})\+?\}$")
_STATUS = (b"OK", b"NO", b"BAD", b"BYE", b"PREAUTH")
_CODE = re.compile(rb"\[([A-Za-z0-9!-Z^-~-]+)(?: ([^\]]*))?\]\s*")

Value = bytes | None | list["Value"]
"""A token: an atom, string or literal as bytes, NIL as None, a parenthesised list as a list."""


class WireError(Exception):
    """The server sent what is not IMAP, or closed the connection. Carries no content."""


class LiteralTooLargeError(WireError):
    """A literal is larger than was allowed; the connection stands in the middle of it and is of no more use."""

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(f"the server announced {size} bytes")


@dataclass(frozen=True, slots=True)
class Response:
    """One response: `tag` is "*", "+" or a command's tag, `chunks` are text and literals by turns."""

    tag: bytes
    chunks: tuple[bytes, ...]

    @property
    def text(self) -> bytes:
        """What stands before the first literal."""
        return self.chunks[0]

    @property
    def word(self) -> bytes:
        """The first word in upper case, as OK or LIST."""
        return self.text.split(b" ", 1)[0].upper()

    def status(self) -> tuple[bytes, bytes, str]:
        """Return (code, its argument, the sentence) of OK, NO, BAD and BYE; the code is upper case or empty."""
        rest = self.text[len(self.word) :].strip()
        match = _CODE.match(rest)
        code = (match[1].upper(), match[2] or b"") if match else (b"", b"")
        sentence = rest[match.end() :] if match else rest
        return (*code, " ".join(sentence.decode("utf-8", "replace").split())[:300])


def read_response(file: BinaryIO, *, literal_limit: int) -> Response:
    """Read one response. Raises WireError; OSError and TimeoutError pass through."""
    line = _read_line(file)
    tag, _, rest = line.partition(b" ")
    chunks = [rest]
    if rest.split(b" ", 1)[0].upper() in _STATUS:
        return Response(tag, (rest,))  # a sentence for people may end in braces
    left = literal_limit
    while match := _LITERAL.search(chunks[-1]):
        size = int(match[1])
        if size > left:
            raise LiteralTooLargeError(size)
        left -= size
        chunks[-1] = chunks[-1][: match.start()]
        chunks.extend((_read_exactly(file, size), _read_line(file)))
        left -= len(chunks[-1])
    return Response(tag, tuple(chunks))


def _read_line(file: BinaryIO) -> bytes:
    line = file.readline(MAX_LINE_BYTES + 1)
    if not line:
        raise WireError("the server closed the connection")
    if not line.endswith(b"\n"):
        raise WireError("the server sent a line that is too long, or closed the connection in the middle of one")
    return line.rstrip(b"\r\n")


def _read_exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise WireError("the server closed the connection in the middle of a mail")
    return data


def parse_values(chunks: tuple[bytes, ...]) -> list[Value]:
    """Return the tokens of a response's text with its literals in place. Raises WireError."""
    stack: list[list[Value]] = [[]]
    for number, chunk in enumerate(chunks):
        if number % 2:
            stack[-1].append(chunk)
            continue
        _parse_text(chunk, stack)
    if len(stack) != 1:
        raise WireError("the server sent a list without an end")
    return stack[0]


def _parse_text(text: bytes, stack: list[list[Value]]) -> None:
    at = 0
    while at < len(text):
        char = text[at : at + 1]
        if char == b" ":
            at += 1
        elif char == b"(":
            if len(stack) > MAX_DEPTH:
                raise WireError("the server sent lists nested too deeply")
            inner: list[Value] = []
            stack[-1].append(inner)
            stack.append(inner)
            at += 1
        elif char == b")":
            if len(stack) == 1:
                raise WireError("the server sent a list without a beginning")
            stack.pop()
            at += 1
        elif char == b'"':
            value, at = _quoted(text, at + 1)
            stack[-1].append(value)
        else:
            value, at = _atom(text, at)
            stack[-1].append(None if value.upper() == b"NIL" else value)


def _quoted(text: bytes, at: int) -> tuple[bytes, int]:
    match = re.compile(rb'((?:[^"\\]|\\.)*)"', re.DOTALL).match(text, at)
    if match is None:
        raise WireError("the server sent a string without an end")
    return re.sub(rb"\\(.)", rb"\1", match[1], flags=re.DOTALL), match.end()


def _atom(text: bytes, at: int) -> tuple[bytes, int]:
    """Read an atom; brackets belong to it with everything inside, as in BODY[HEADER.FIELDS (DATE)]<0>."""
    start = at
    depth = 0
    while at < len(text):
        char = text[at : at + 1]
        if char == b"[":
            depth += 1
        elif char == b"]":
            depth = max(0, depth - 1)
        elif depth == 0 and char in b' ()"':
            break
        at += 1
    return text[start:at], at


def quote(value: bytes) -> bytes:
    """Return a quoted string. Raises ValueError for what no quoted string can hold."""
    if re.search(rb"[\r\n\0]", value):
        raise ValueError("a line break or NUL cannot be sent")
    return b'"' + re.sub(rb'(["\\])', rb"\\\1", value) + b'"'


def decode_mailbox(raw: bytes) -> str:
    """Return a mailbox name from modified UTF-7 (RFC 3501, 5.1.3); names that are not are taken as UTF-8."""
    text = raw.decode("utf-8", "backslashreplace")
    return re.sub(r"&([^-&]*)-", _decode_shift, text) if "&" in text else text


def _decode_shift(match: re.Match[str]) -> str:
    if not match[1]:
        return "&"
    try:
        packed = match[1].replace(",", "/")
        data = base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
        return data.decode("utf-16-be")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return match[0]
