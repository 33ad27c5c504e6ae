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
_FRENCH_PAIRS = re.compile(r"0[1-9](?:[ .]\d\d){4}$", re.ASCII)
# Mobile ranges are told from part numbers by their prefix: "0171 1234567", "07700 900123". Others need a word before.
_MOBILE = re.compile(r"0(?:1[5-7]\d|7\d{3})[ /-]\d{3,8}(?:[ -]\d{2,4}){0,2}$", re.ASCII)
_MOBILE_REGIONS = ("DE", "GB")
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
        return _graded(found, None, valid=0.99, possible=0.8)
    if found.startswith("00"):
        return _graded("+" + found[2:], None, valid=0.9, possible=0.7)
    if _NORTH_AMERICA.match(found):
        return _graded(found, "US", valid=0.85, possible=0.7)
    if _FRENCH_PAIRS.match(found):
        return _graded(found, "FR", valid=0.8, possible=0.7)
    if _CONTEXT.search(before):
        return max(_graded(found, region, valid=0.75, possible=0.6) for region in _REGIONS)
    if _MOBILE.match(found):
        return max(_graded(found, region, valid=0.7, possible=0.6) for region in _MOBILE_REGIONS)
    return 0.0


@lru_cache(maxsize=8192)
def _graded(text: str, region: str | None, *, valid: float, possible: float) -> float:
    """Return the score for a number of the plan, or for one that only has its shape.

    Ranges kept for fiction and numbers newer than the library's plan are possible but not valid; leaving them
    readable would be worse than masking one number too many.
    """
    try:
        number = phonenumbers.parse(text.replace("(0)", ""), region)
    except phonenumbers.NumberParseException:
        return 0.0
    if phonenumbers.is_valid_number(number):
        return valid
    return possible if phonenumbers.is_possible_number(number) else 0.0
