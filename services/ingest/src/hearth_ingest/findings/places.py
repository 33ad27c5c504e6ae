"""Dates of birth that are called so, and street addresses that have all their parts."""

# ruff: noqa: E501 (a table of patterns reads best with one to a line)

import re
from collections.abc import Iterator

_MONTHS = "jan|feb|mar|mär|apr|may|mai|jun|jul|aug|sep|sept|oct|okt|nov|dec|dez|ene|abr|ago|dic|janv|févr|fevr|avr|juin|juil|août|aout|déc|gen|mag|giu|lug|set|ott"
_DATE = (
    r"(?:\d{1,2}[./-]\d{1,2}[./-](?:19|20)?\d{2}|(?:19|20)\d{2}[-/.]\d{1,2}[-/.]\d{1,2}"
    rf"|\d{{1,2}}(?:st|nd|rd|th|er|\.)?(?: de| of)? (?:{_MONTHS})[a-zéûäç]{{0,9}}\.?,?(?: de)? (?:19|20)\d{{2}}"
    rf"|(?:{_MONTHS})[a-zéûäç]{{0,9}}\.? \d{{1,2}}(?:st|nd|rd|th)?,? (?:19|20)\d{{2}})"
)
_BORN = re.compile(
    r"(?i)\b(?:date of birth|birth ?date|birthday|d\.?o\.?b\.?|born(?: on)?|geboren(?: am)?|geb\.(?: am)?|geburtsdatum|geburtstag|"
    r"née?(?:\(e\))? le|date de naissance|fecha de nacimiento|nacid[oa] el|data di nascita|nat[oa] il|geboortedatum|geboren op)"
    rf"[ \t]{{0,3}}(?:is|ist|was|war|:|=|-|\|)?[ \t]{{0,3}}(?P<date>{_DATE})(?!\w)"
)
_BORN_HINTS = (
    "birth",
    "born",
    "dob",
    "d.o.b",
    "geb",
    "naissance",
    "née",
    "né ",
    "né(",
    "nacimiento",
    "nacid",
    "nascita",
    "nato",
    "nata",
    "geboort",
)

_W = r"[A-ZÀ-ÖØ-Þ][\wÀ-ÿ'.-]{0,30}"
_CITY = r"[A-ZÀ-ÖØ-Þ][\wÀ-ÿ'-]{0,30}"
_NUMBER = r"\d{1,4}(?: ?[a-zA-Z](?![a-zA-Z]))?(?: ?[-/] ?\d{1,4})?"
_ADDRESSES = (
    # Hauptstraße 12, 10115 Berlin; An der Alten Mühle 3a, 50667 Köln
    re.compile(rf"(?<!\w)(?:{_W}(?:[ -]{_W}){{0,3}} ?)?(?:[Ss]tra(?:ß|ss)e|[Ss]tr\.|[Ww]eg|[Pp]latz|[Aa]llee|[Gg]asse|[Rr]ing|[Dd]amm|[Uu]fer|[Cc]haussee|laan|straat|plein|gracht)(?<=\w{{4}}|.tr\.) {_NUMBER},?[ \n]{{1,2}}(?:[A-Z]{{1,2}}-)?\d{{4,5}}(?: ?[A-Z]{{2}})? {_CITY}(?:[ -]{_CITY})?"),
    # 221 Baker Street, London NW1 6XE; 1600 Amphitheatre Parkway, Mountain View, CA 94043
    re.compile(rf"(?<![\w.])\d{{1,5}}[A-Za-z]? (?:[NSEW]\.? )?{_W}(?: {_W}){{0,3}} (?:Street|St\.?|Avenue|Ave\.?|Road|Rd\.?|Boulevard|Blvd\.?|Lane|Ln\.?|Drive|Dr\.?|Court|Ct\.?|Way|Place|Pl\.?|Parkway|Pkwy\.?|Square|Sq\.?|Terrace|Close|Crescent)(?:,? (?:Apt|Suite|Unit|Flat|#)\.? ?\w{{1,6}})?,?[ \n]{{1,2}}(?:{_W}(?: {_W}){{0,3}},? (?:[A-Z]{{2}} \d{{5}}(?:-\d{{4}})?|[A-Z]{{1,2}}\d[A-Z\d]? ?\d[A-Z]{{2}}))(?!\w)"),
    # 12 bis, rue de la Paix, 75002 Paris; Calle Mayor 5, 28013 Madrid; Via Roma 3, 00184 Roma
    re.compile(rf"(?<!\w)\d{{1,4}}(?: ?(?:bis|ter|quater))?,? (?:rue|avenue|boulevard|bd|place|allée|chemin|impasse|quai|route|cours|square)(?: (?:de|du|des|la|le|les|{_W}|l'{_W}|d'{_W})){{1,6}},?[ \n]{{1,2}}\d{{5}} {_CITY}(?:[ -]{_CITY}){{0,2}}"),
    re.compile(rf"(?<!\w)(?:Calle|C/|Avenida|Avda\.?|Plaza|Paseo|Via|Viale|Piazza|Corso|Rua)(?: (?:de|del|la|las|los|dei|della|da|do|{_W})){{1,5}},? {_NUMBER},?[ \n]{{1,2}}\d{{4,5}}(?:-\d{{3}})? {_CITY}"),
)  # fmt: skip
_DIGIT_LETTER = re.compile(r"\d{4}")


def find_places(text: str) -> Iterator[tuple[int, int, str, float]]:
    """Yield (start, end, type, score)."""
    lower = text.lower()
    if any(hint in lower for hint in _BORN_HINTS):
        for match in _BORN.finditer(text):
            yield match.start("date"), match.end("date"), "birth-date", 0.9
    if _DIGIT_LETTER.search(text) or "street" in lower or "road" in lower:
        for pattern in _ADDRESSES:
            for match in pattern.finditer(text):
                yield match.start(), match.end(), "address", 0.85
