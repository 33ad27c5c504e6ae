"""Header fields from raw bytes: encoded words, 8-bit values, parameters (RFC 2231), addresses, message ids."""

import base64
import binascii
import quopri
import re
from dataclasses import dataclass
from email.message import Message
from email.utils import getaddresses
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from hearth_ingest.charset import decode_text

_WORD = re.compile(r"=\?([^?\s]{1,60}?)(?:\*[^?\s]*)?\?([bBqQ])\?([^?]*)\?=")
_BETWEEN_WORDS = re.compile(r"(\?=)[ \t\r\n]+(?==\?)")
_FOLD = re.compile(r"[ \t]*\r?\n[ \t]*|\r")
_MESSAGE_ID = re.compile(r"<([^<>\s]{1,900})>")
_PARAM = re.compile(r';\s*([^\s=;]+)\s*=\s*("(?:[^"\\]|\\.)*"?|[^;]*)', re.DOTALL)
_MAX_ADDRESSES = 2000


@dataclass(frozen=True, slots=True)
class Address:
    """A mailbox as written in a header; `address` is lower case and may be empty."""

    name: str | None
    address: str


def raw_values(message: Message, name: str) -> list[str]:
    """Return all values of a header as the parser stored them (8-bit bytes as surrogates), without touching them."""
    wanted = name.lower()
    return [str(value) for key, value in message.raw_items() if key.lower() == wanted]


def header(message: Message, name: str) -> str:
    """Return the first value of a header as text, "" when absent."""
    values = raw_values(message, name)
    return decode_header(values[0]) if values else ""


def decode_header(value: str) -> str:
    """Return a header value as one line of text. Never raises.

    Adjacent encoded words of one charset are joined as bytes first: senders split inside a character.
    """
    line = _FOLD.sub(" ", value).strip()
    if not line.isascii():
        line = decode_text(line.encode("utf-8", "surrogateescape")).text
    if "=?" not in line:
        return " ".join(line.split())
    line = _BETWEEN_WORDS.sub(r"\1", line)
    out: list[str] = []
    pending, charset, end = b"", "", 0
    for match in _WORD.finditer(line):
        if match.start() != end or match[1].lower() != charset:
            out.append(_flush(pending, charset))
            pending = b""
            out.append(line[end : match.start()])
        pending += _word_bytes(match[2].lower(), match[3])
        charset, end = match[1].lower(), match.end()
    out.extend((_flush(pending, charset), line[end:]))
    return " ".join("".join(out).split())


def _flush(data: bytes, charset: str) -> str:
    return decode_text(data, charset).text if data else ""


def _word_bytes(kind: str, text: str) -> bytes:
    raw = text.encode("utf-8", "replace")
    if kind == "q":
        return quopri.decodestring(raw, header=True)
    return decode_base64(raw)


def decode_base64(raw: bytes) -> bytes:
    """Return what base64 text holds; foreign characters are skipped and missing padding is supplied."""
    kept = re.sub(rb"[^A-Za-z0-9+/]", b"", raw.split(b"=")[0])
    if len(kept) % 4 == 1:
        kept = kept[:-1]
    try:
        return base64.b64decode(kept + b"=" * (-len(kept) % 4))
    except binascii.Error:
        return b""


def params(value: str) -> tuple[str, dict[str, str]]:
    """Return the lower-case main value and the parameters of a structured header. Never raises.

    Handles quoted strings, RFC 2231 continuations and charsets, and encoded words inside quotes (common, if wrong).
    """
    line = _FOLD.sub(" ", value)
    main, _, _ = line.partition(";")
    found: dict[str, str] = {}
    pieces: dict[str, dict[int, tuple[str, bool]]] = {}
    for match in _PARAM.finditer(line):
        name, raw = match[1].lower(), _unquote(match[2].strip())
        base, star, rest = name.partition("*")
        if not star:
            found.setdefault(base, raw)
            continue
        number = rest.removesuffix("*")
        index = int(number) if number.isdecimal() and len(number) < 5 else 0
        pieces.setdefault(base, {})[index] = (raw, rest.endswith("*") or rest == "")
    for base, numbered in pieces.items():
        found[base] = _join_2231(numbered)
    return main.strip().lower(), {k: decode_header(v) if k != "boundary" else v for k, v in found.items()}


def _unquote(raw: str) -> str:
    if raw.startswith('"'):
        return re.sub(r"\\(.)", r"\1", raw[1:].removesuffix('"'))
    return raw


def _join_2231(numbered: dict[int, tuple[str, bool]]) -> str:
    charset = ""
    data = b""
    for index in sorted(numbered):
        text, encoded = numbered[index]
        if encoded and index == min(numbered) and text.count("'") >= 2:
            charset, _, text = text.split("'", 2)
        raw = text.encode("utf-8", "surrogateescape")
        data += unquote_to_bytes(raw) if encoded else raw
    return decode_text(data, charset or None).text


def addresses(message: Message, name: str) -> list[Address]:
    """Return the mailboxes of all headers with this name, in order, each address once."""
    found: dict[str, Address] = {}
    for value in raw_values(message, name):
        for one in _read_addresses(value):
            found.setdefault(one.address or f"name:{one.name}", one)
    return list(found.values())


@lru_cache(maxsize=4096)
def _read_addresses(value: str) -> tuple[Address, ...]:
    """Return the mailboxes of one header value; the same few people write most of a mailbox, hence the cache."""
    line = _FOLD.sub(" ", value)
    if not line.isascii():
        line = decode_text(line.encode("utf-8", "surrogateescape")).text
    found: list[Address] = []
    for display, address in _split_addresses(line)[:_MAX_ADDRESSES]:
        text = decode_header(display).strip("\"' ") or None
        clean = decode_header(address).strip("<> ").lower()
        if "@" not in clean and text is None:
            text, clean = clean or None, ""
        if clean or text:
            found.append(Address(text, clean))
    return tuple(found)


def _split_addresses(line: str) -> list[tuple[str, str]]:
    try:
        return getaddresses([line])
    except (ValueError, IndexError, TypeError, RecursionError):
        return [("", part) for part in re.findall(r"[^\s<>,;]+@[^\s<>,;]+", line)]


def message_ids(value: str) -> tuple[str, ...]:
    """Return the ids between angle brackets in order, each once; a bare id without brackets counts."""
    ids = _MESSAGE_ID.findall(value)
    if not ids:
        bare = value.strip().strip("<>")
        ids = [bare] if bare and not re.search(r"\s", bare) and len(bare) < 900 else []
    return tuple(dict.fromkeys(ids))
