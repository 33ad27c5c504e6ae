"""Bytes to text when the declared charset may be absent, unknown or a lie."""

import codecs
import re
from dataclasses import dataclass

from charset_normalizer import from_bytes

_SAMPLE_BYTES = 16_384
_ALIASES = {
    # What mail programs write, and what they mean.
    "iso-8859-1": "cp1252",
    "latin-1": "cp1252",
    "latin1": "cp1252",
    "us-ascii": "cp1252",
    "ascii": "cp1252",
    "ansi": "cp1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "ks_c_5601-1987": "cp949",
    "euc-kr": "cp949",
    "shift_jis": "cp932",
    "x-sjis": "cp932",
    "iso-8859-8-i": "iso-8859-8",
    "unicode-1-1-utf-7": "utf-7",
    "x-unknown": "",
    "unknown-8bit": "",
    "8bit": "",
    "binary": "",
    "default": "",
}
_WESTERN = frozenset("ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜßàáâãäåæçèéêëìíîïñòóôõöøùúûüÿŒœŠšŽž€‚„…‘’“”•–—«»°§´·¿¡\u00a0")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Control characters have no meaning in a document; tab and line feed do.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Decoded:
    """Text with LF line ends; `warning` is a code when the declaration could not be followed."""

    text: str
    warning: str | None = None
    detail: str = ""


def decode_text(data: bytes, declared: str | None = None) -> Decoded:
    """Return text for bytes. Never raises.

    A byte order mark wins, then UTF-8 that is valid and not plain ASCII by chance, then the declaration, then a guess.
    """
    for mark, name in _BOMS:
        if data.startswith(mark):
            return Decoded(clean(data.decode(name, "replace")))
    wanted = _codec(declared)
    if wanted and _is_multibyte(wanted):
        text = _try(data, wanted)
        if text is not None:
            return Decoded(clean(text))
    text = _try(data, "utf-8")
    if text is not None and _looks_like_text(data):
        lied = declared and wanted not in (None, "utf-8", "utf-8-sig") and not data.isascii()
        return Decoded(clean(text), "charset-wrong" if lied else None, f"declared {declared}, is utf-8" if lied else "")
    if wanted and wanted != "utf-8":
        text = _try(data, wanted)
        if text is not None:
            return Decoded(clean(text))
    return _guess(data, declared, wanted)


def clean(text: str) -> str:
    """Return text with LF line ends and without control characters or lone surrogates."""
    return _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def _codec(declared: str | None) -> str | None:
    if not declared:
        return None
    name = declared.strip().strip("\"'").lower()
    name = _ALIASES.get(name, name)
    try:
        codec = codecs.lookup(name)
    except (LookupError, ValueError):
        return None
    # Codecs such as "rot13" or "hex" are registered, too, and are not charsets.
    return codec.name if getattr(codec, "_is_text_encoding", True) and name not in {"idna", "punycode"} else None


def _is_multibyte(codec: str) -> bool:
    return codec.startswith(("utf-16", "utf-32", "utf-7", "iso2022", "hz"))


def _looks_like_text(data: bytes) -> bool:
    return data[:_SAMPLE_BYTES].count(0) == 0


def _try(data: bytes, codec: str) -> str | None:
    try:
        return data.decode(codec)
    except (UnicodeError, LookupError, ValueError):
        return None


def _guess(data: bytes, declared: str | None, wanted: str | None) -> Decoded:
    codec = _likely(data[:_SAMPLE_BYTES])
    if codec is None:
        best = from_bytes(data[:_SAMPLE_BYTES], steps=5, chunk_size=512).best() if data else None
        codec = best.encoding if best is not None else "cp1252"
    code = "charset-unknown" if declared and wanted is None else "charset-guessed"
    detail = f"declared {declared[:40] if declared else 'nothing'}, read as {codec}"
    return Decoded(clean(data.decode(codec, "replace")), code, detail)


def _likely(sample: bytes) -> str | None:
    """Return the codec where plain evidence is better than statistics, which need more text than most mails have.

    UTF-8 with single broken bytes stays UTF-8; few high bytes that are all Western letters or marks are Windows-1252.
    """
    high = sum(byte > 0x7F for byte in sample)
    broken = sample.decode("utf-8", "replace").count("\ufffd")
    if high and broken * 10 < high:
        return "utf-8"
    western = _try(sample, "cp1252")
    if western is not None and high * 3 <= len(sample) and all(c in _WESTERN for c in western if ord(c) > 0x7F):
        return "cp1252"
    return None
