"""Finding personal and secret data in text: credentials, accounts, numbers of persons, addresses.

Cheap tests on the whole text come first, so that most text costs a few substring searches. Offsets are code points.
"""

# ruff: noqa: E501 (a table of patterns reads best with one to a line)

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hearth_ingest.findings.checks import iban_length, is_card, is_iban
from hearth_ingest.findings.identity import find_identities
from hearth_ingest.findings.network import find_money, find_network
from hearth_ingest.findings.phones import find_phones
from hearth_ingest.findings.places import find_places


@dataclass(frozen=True, slots=True, order=True)
class Match:
    """One finding: [start, end) in code points, `score` 0 to 1."""

    start: int
    end: int
    type: str
    score: float


TYPES = (
    "private-key", "password", "key", "card", "iban", "crypto", "national-id", "tax-id", "vat", "bic", "email", "mac", "ip",
    "birth-date", "address", "phone",
)  # fmt: skip
"""All types, the one that wins an overlap first."""

_RANK = {name: rank for rank, name in enumerate(TYPES)}
_PLACEHOLDER = re.compile(r"\[(?:" + "|".join(TYPES) + r")\]")

_EMAIL = re.compile(
    r"(?<![\w.%+@-])[A-Za-z0-9](?:[A-Za-z0-9._%+'-]{0,62}[A-Za-z0-9_+-])?@"
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24}(?![\w@-])"
)
_CARD = re.compile(r"(?<![\w.,-])[2-6]\d{3}(?:[ -]?\d{2,7}){2,4}(?![\w-])", re.ASCII)
_CARD_GROUPS = re.compile(r"[2456]\d{3}([ -])\d{4}\1\d{4}\1\d{4}(?=[ -])", re.ASCII)
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}", re.ASCII)
_PRIVATE_KEY = re.compile(
    r"-----BEGIN (?P<kind>[A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?)-----.*?(?:-----END (?P=kind)-----|\Z)", re.DOTALL
)
_TOKENS = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}(?![A-Za-z0-9])"
    r"|gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{60,255}|glpat-[A-Za-z0-9_-]{20,255}"
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,255}|sk-[A-Za-z0-9_-]{20,255}|hearth_[a-z2-7]{10}_[A-Za-z0-9_-]{43}"
    r"|AIza[A-Za-z0-9_-]{35}|eyJ[A-Za-z0-9_-]{5,4096}\.eyJ[A-Za-z0-9_-]{5,8192}\.[A-Za-z0-9_-]{5,2048})"
)
_NAMED_KEY = re.compile(
    r"(?i)\b(?:api|access|secret|auth|private|client|signing|encryption|bearer|account)?[ _-]?"
    r"(?:key|token|secret|schlüssel)(?:[ _-]?id)?[\"']?[ \t]{0,3}(?:=|:|=>|:=|lautet|is)[ \t]{0,3}[\"'`]?"
    r"(?P<value>[A-Za-z0-9_+/=.~-]{16,512})"
)
_PASSWORD = re.compile(
    r"(?i)(?<![A-Za-z])(?:password|passwort|kennwort|passwd|passphrase|pwd|pw|mot de passe|contraseña|mdp|wachtwoord)"
    # "The password for the demo account is ...": what it is for, up to the verb.
    r"(?:[\"']?(?:[ \t]+(?:for|of|to|on|in|at|für|zum|zur|von|vom|im|am|pour|de|du|des|voor|para)\b[^\n.:;=!?]{1,60}?)?)"
    r"[\"']?[ \t]{0,3}(?:(?:(?:is|was|lautet|ist|war|est)[ \t]?)?[=:]|"
    r"\b(?:is|was|lautet|ist|war|est)\b(?:[ \t]+(?:now|still|jetzt|nun|noch))?"
    r"(?=[ \t]+[:\"'`„“«]?[^\s\"'`]*[0-9!@#$%^&*+_]))"
    r"[ \t]{0,3}[:\"'`„“«]?[ \t]?"
    r"(?P<value>[^\s\"'`“”«»<>]{4,128})"
)
_PASSWORD_HINTS = ("pass", "kennwort", "pwd", "pw", "mot de", "contrase", "mdp", "wachtwoord")
_KEY_HINTS = ("key", "token", "secret", "schlüssel")
_TOKEN_HINTS = ("AKIA", "ASIA", "ABIA", "ACCA", "gh", "glpat-", "xox", "sk-", "hearth_", "AIza", "eyJ")
_DIGITS = re.compile(r"\d[\d ().\-/]{5,}\d", re.ASCII)
_NUMBERS = re.compile(r"\d[^\n]{0,12}\d", re.ASCII)
_MIN_ENTROPY_BITS = 3.2
_MAX_PASSES = 10


def scan(text: str) -> tuple[Match, ...]:
    """Return findings in order without overlaps. Never raises for any text."""
    if len(text) < 6:
        return ()
    lower = text.lower()
    # A letter that changes length when lowered would shift nothing: `lower` only answers whether a word occurs.
    found: list[Match] = []
    if "@" in text:
        found.extend(_plain(_EMAIL, text, "email", 0.95))
    if "PRIVATE KEY" in text:
        found.extend(_plain(_PRIVATE_KEY, text, "private-key", 1.0))
    if any(hint in text for hint in _TOKEN_HINTS):
        found.extend(_plain(_TOKENS, text, "key", 0.98))
    if any(hint in lower for hint in _KEY_HINTS):
        found.extend(_named_keys(text))
    if any(hint in lower for hint in _PASSWORD_HINTS):
        found.extend(_passwords(text))
    if _DIGITS.search(text):
        found.extend(_checked(_CARD, text, "card", _card_end))
        found.extend(_phones(text))
    if _NUMBERS.search(text):
        found.extend(Match(*one) for one in find_identities(text))
        found.extend(Match(*one) for one in find_network(text))
        found.extend(Match(*one) for one in find_places(text))
    elif "::" in text or lower.count(":") > 4:
        found.extend(Match(*one) for one in find_network(text))
    found.extend(Match(*one) for one in find_money(text))
    found.extend(_checked(_IBAN, text, "iban", _iban_end))
    return resolve(found)


def resolve(found: list[Match]) -> tuple[Match, ...]:
    """Return matches without overlaps: of those that touch the same text the first in `TYPES`, then the longer, stays.

    What the loser covered beyond the winner is added to the winner: nothing that was found may stay readable.
    """
    out: list[Match] = []
    for match in sorted(found):
        if out and match.start < out[-1].end:
            last = out[-1]
            best = min(last, match, key=lambda m: (_RANK[m.type], m.start - m.end))
            out[-1] = Match(last.start, max(last.end, match.end), best.type, best.score)
        else:
            out.append(match)
    return tuple(out)


def mask(text: str, matches: tuple[Match, ...]) -> str:
    """Return text with each finding replaced by its type in brackets."""
    parts: list[str] = []
    at = 0
    for match in matches:
        parts.extend((text[at : match.start], f"[{match.type}]"))
        at = match.end
    parts.append(text[at:])
    return "".join(parts)


def redact(text: str) -> tuple[str, tuple[Match, ...]]:
    """Return masked text and the findings in the original. Masking again changes nothing."""
    first = scan(text)
    masked = mask(text, first)
    # What a mask put side by side may read as something new; such rests are masked until none is left.
    for _ in range(_MAX_PASSES):
        again = scan(masked)
        if not again:
            break
        masked = mask(masked, again)
    return masked, first


def _plain(pattern: re.Pattern[str], text: str, kind: str, score: float) -> Iterator[Match]:
    for match in pattern.finditer(text):
        yield Match(match.start(), match.end(), kind, score)


def _checked(pattern: re.Pattern[str], text: str, kind: str, end_of: Callable[[str], int]) -> Iterator[Match]:
    at = 0
    while match := pattern.search(text, at):
        length = end_of(match[0])
        if length:
            yield Match(match.start(), match.start() + length, kind, 0.99)
        at = match.start() + (length or 1)


def _card_end(candidate: str) -> int:
    """Return how many characters of the candidate are a card: in groups of four another number may follow it."""
    if is_card(re.sub(r"[ -]", "", candidate)):
        return len(candidate)
    grouped = _CARD_GROUPS.match(candidate)
    return grouped.end() if grouped and is_card(re.sub(r"[ -]", "", grouped[0])) else 0


def _iban_end(candidate: str) -> int:
    """Return how many characters of the candidate are an IBAN: words may follow it after a space."""
    wanted = iban_length(candidate[:2])
    kept = 0
    for place, char in enumerate(candidate):
        kept += char != " "
        if kept == wanted:
            text = candidate[: place + 1].replace(" ", "")
            follows = candidate[place + 1 : place + 2]
            return place + 1 if is_iban(text) and not follows.isalnum() else 0
    return 0


def _phones(text: str) -> Iterator[Match]:
    for start, end, score in find_phones(text):
        yield Match(start, end, "phone", score)


def _named_keys(text: str) -> Iterator[Match]:
    for match in _NAMED_KEY.finditer(text):
        value = match["value"].rstrip(".")
        if len(value) >= 16 and entropy(value) >= _MIN_ENTROPY_BITS and any(c.isdigit() for c in value):
            yield Match(match.start("value"), match.start("value") + len(value), "key", 0.85)


def _passwords(text: str) -> Iterator[Match]:
    for match in _PASSWORD.finditer(text):
        value = match["value"].rstrip(".,;:)")
        if len(value) < 4 or _PLACEHOLDER.search(value) or re.fullmatch(r"([*•.x_-])\1*", value):
            continue
        yield Match(match.start("value"), match.start("value") + len(value), "password", 0.8)


def entropy(text: str) -> float:
    """Return Shannon's entropy of the characters in bits per character."""
    counts = [text.count(char) for char in set(text)]
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts)
