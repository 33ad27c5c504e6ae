"""Finding instructions to a model in text, also when they are hidden from filters."""

import base64
import binascii
import re
from collections.abc import Iterator

from hearth_ingest.untrusted.folding import Folded, fold, readings, unwrap
from hearth_ingest.untrusted.patterns import HINTS, MARKERS, ORDERS, SQUEEZED

INSTRUCTION = "instruction-to-model"

_BASE64 = re.compile(
    r"(?<![A-Za-z0-9+/=_-])(?:[A-Za-z0-9+/_-]{4}[\r\n]{0,2}){6,4000}[A-Za-z0-9+/_-]{0,3}={0,2}(?![A-Za-z0-9+/=_-])"
)
_HEX = re.compile(r"(?<![0-9A-Fa-f])(?:[0-9A-Fa-f]{2} ?){20,4000}(?![0-9A-Fa-f])")
_MARKER_HINTS = ("<", "[", "{", ":", "##", "begin", "end of", "start of")
_MAX_WRAPPED = 200
_WINDOW = 20_000
_OVERLAP = 400


def find_instructions(text: str) -> tuple[tuple[int, int], ...]:
    """Return [start, end) code points of what speaks to a model, in order. Never raises for any text."""
    spans: list[tuple[int, int]] = []
    for start in range(0, max(len(text), 1), _WINDOW):
        piece = text[start : start + _WINDOW + _OVERLAP]
        spans.extend((start + left, start + right) for left, right in _scan(piece))
        spans.extend((start + left, start + right) for left, right in _unwrapped(piece))
    return _merge(spans)


def _merge(spans: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    out: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    return tuple(out)


def _scan(text: str) -> Iterator[tuple[int, int]]:
    folded = fold(text)
    yield from _match(folded)
    for reading in readings(folded):
        yield from _match(reading)
        yield from _spans(SQUEEZED, reading)


def _match(folded: Folded) -> Iterator[tuple[int, int]]:
    if any(hint in folded.text for hint in _MARKER_HINTS):
        yield from _spans(MARKERS, folded)
    if any(hint in folded.text for hint in HINTS):
        yield from _spans(ORDERS, unwrap(_single_blanks(folded)))


def _single_blanks(folded: Folded) -> Folded:
    """Return the text with runs of blanks, line breaks and quote marks as one blank."""
    if "\n" not in folded.text and "\u2019" not in folded.text:
        return folded
    chars: list[str] = []
    places: list[int] = []
    for char, place in zip(folded.text, folded.places, strict=True):
        out = " " if char in "\n>" else "'" if char == "\u2019" else char
        if out == " " and chars and chars[-1] == " ":
            continue
        chars.append(out)
        places.append(place)
    return Folded("".join(chars), tuple(places))


def _spans(pattern: re.Pattern[str], folded: Folded) -> Iterator[tuple[int, int]]:
    for match in pattern.finditer(folded.text):
        # The end of the sentence before tells that a line begins; it is not part of the order.
        start = match.start() + len(match[0]) - len(match[0].lstrip(" \n.!?"))
        if match.end() > start:
            yield folded.span(start, match.end())


def _unwrapped(text: str) -> Iterator[tuple[int, int]]:
    """Yield spans that are encodings of text which speaks to a model."""
    for pattern, decode in ((_BASE64, _decode_base64), (_HEX, _decode_hex)):
        for number, match in enumerate(pattern.finditer(text)):
            if number >= _MAX_WRAPPED:
                break
            inner = decode(match[0])
            if inner and any(True for _ in _scan(inner)):
                yield match.span()
    if "%2" in text or "&#" in text or "\\u0" in text:
        yield from _unescaped(text)


def _unescaped(text: str) -> Iterator[tuple[int, int]]:
    for number, match in enumerate(re.finditer(r"[^\n]{20,2000}", text)):
        if number >= _MAX_WRAPPED:
            return
        line = match[0]
        if "%2" not in line and "&#" not in line and "\\u0" not in line:
            continue
        plain = re.sub(r"&#x([0-9A-Fa-f]{1,6});", lambda m: _char(m[1], 16), line)
        plain = re.sub(r"&#([0-9]{1,7});", lambda m: _char(m[1], 10), plain)
        plain = re.sub(r"(?:%|\\u00)([0-9A-Fa-f]{2})", lambda m: _char(m[1], 16), plain)
        if plain != line and any(True for _ in _scan(plain)):
            yield match.span()


def _char(digits: str, base: int) -> str:
    number = int(digits, base)
    return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else ""


def _decode_base64(text: str) -> str:
    packed = re.sub(r"\s+", "", text).translate(str.maketrans("-_", "+/")).rstrip("=")
    packed = packed[: len(packed) - (len(packed) % 4 == 1)]
    try:
        return _readable(base64.b64decode(packed + "=" * (-len(packed) % 4)))
    except (binascii.Error, ValueError):
        return ""


def _decode_hex(text: str) -> str:
    try:
        return _readable(bytes.fromhex(text.replace(" ", "")))
    except ValueError:
        return ""


def _readable(data: bytes) -> str:
    """Return bytes as text if they are text."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return ""
    shown = sum(char.isprintable() or char.isspace() for char in text)
    return text if text and shown >= 0.95 * len(text) else ""
