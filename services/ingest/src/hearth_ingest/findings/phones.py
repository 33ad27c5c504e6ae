"""Phone numbers by real numbering plans, without calling every number a phone."""

import re
from collections.abc import Iterator
from functools import lru_cache

import phonenumbers

_REGIONS = ("DE", "US", "GB", "FR", "AT", "CH", "NL", "IT", "ES")
_CANDIDATE = re.compile(r"(?<![\w.,/@#$€£:=-])(?:\+|00)?\(?\d[\d \u00a0().\-/]{5,22}\d(?![\w@])", re.ASCII)
_CONTEXT = re.compile(
    r"(?i)(?:\b(?:tel|telefon|telephone|phone|mobile|mobil|handy|cell|fax|call|ruf|durchwahl|tél|portable|whatsapp|sms)"
    r"[\w .:()/-]{0,20}|[☎📞📱]\s*)$"
)
_NORTH_AMERICA = re.compile(r"(?:\(\d{3}\) ?|\d{3}[-.])\d{3}[-.]\d{4}$", re.ASCII)
_CONTEXT_CHARS = 40


def find_phones(text: str) -> Iterator[tuple[int, int, float]]:
    """Yield (start, end, score). A number needs a country code, or a word before it that says what it is."""
    for match in _CANDIDATE.finditer(text):
        found = match[0].rstrip(" \u00a0(/.-")
        score = _score(found, text[max(0, match.start() - _CONTEXT_CHARS) : match.start()])
        if score:
            yield match.start(), match.start() + len(found), score


def _score(found: str, before: str) -> float:
    digits = sum(char.isdigit() for char in found)
    if not 7 <= digits <= 15:
        return 0.0
    if found.startswith("+"):
        return 0.99 if _is_valid(found, None) else 0.0
    if found.startswith("00"):
        return 0.9 if _is_valid("+" + found[2:], None) else 0.0
    if _NORTH_AMERICA.match(found) and _is_valid(found, "US"):
        return 0.85
    if _CONTEXT.search(before) and any(_is_valid(found, region) for region in _REGIONS):
        return 0.75
    return 0.0


@lru_cache(maxsize=8192)
def _is_valid(text: str, region: str | None) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(text.replace("(0)", ""), region))
    except phonenumbers.NumberParseException:
        return False
