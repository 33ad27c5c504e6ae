"""Numbers that states give to persons and firms, told from other numbers by their check digits.

Where a checksum alone is weak (one digit: every tenth number passes) the word that names it must stand before it.
"""

# ruff: noqa: E501 (a table of patterns reads best with one to a line)

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date

_BEFORE = 48


@dataclass(frozen=True, slots=True)
class _Rule:
    type: str
    pattern: re.Pattern[str]
    check: Callable[[str], bool]
    context: re.Pattern[str] | None = None
    score: float = 0.95


def _digits(text: str) -> list[int]:
    return [int(char) for char in text if char.isdigit()]


def _weighted(digits: list[int], weights: tuple[int, ...]) -> int:
    return sum(digit * weight for digit, weight in zip(digits, weights, strict=False))


def luhn(digits: list[int]) -> bool:
    """Tell whether the last digit is Luhn's check digit."""
    total = sum(n if place % 2 == 0 else sum(divmod(2 * n, 10)) for place, n in enumerate(reversed(digits)))
    return total % 10 == 0


def _iso_7064(digits: list[int]) -> bool:
    """ISO 7064 MOD 11,10, as German tax and VAT numbers have it."""
    product = 10
    for digit in digits[:-1]:
        product = 2 * (((digit + product) % 10) or 10) % 11
    return (11 - product) % 10 == digits[-1]


def _is_day(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def _german_tax(text: str) -> bool:
    digits = _digits(text)
    counts = [digits[:10].count(digit) for digit in set(digits[:10])]
    return len(digits) == 11 and digits[0] != 0 and max(counts) in (2, 3) and _iso_7064(digits)


def _german_pension(text: str) -> bool:
    packed = re.sub(r"\s", "", text)
    digits = _digits(packed[:8] + f"{ord(packed[8]) - 64:02d}" + packed[9:])
    sums = sum(sum(divmod(d * w, 10)) for d, w in zip(digits, (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1), strict=False))
    return len(digits) == 13 and sums % 10 == digits[-1] and 1 <= int(packed[4:6]) <= 12


def _social_security(text: str) -> bool:
    area, group, serial = text.split("-")
    return area not in {"000", "666"} and area < "900" and group != "00" and serial != "0000"


def _nhs(text: str) -> bool:
    digits = _digits(text)
    return len(digits) == 10 and (11 - _weighted(digits, (10, 9, 8, 7, 6, 5, 4, 3, 2)) % 11) % 11 == digits[9]


def _nino(text: str) -> bool:
    prefix = text[:2].upper()
    return prefix not in {"BG", "GB", "KN", "NK", "NT", "TN", "ZZ"}


def _bsn(text: str) -> bool:
    digits = _digits(text)
    return len(digits) == 9 and any(digits) and _weighted(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0


def _nir(text: str) -> bool:
    packed = re.sub(r"[\s.-]", "", text).upper()
    number = packed[:13].replace("2A", "19").replace("2B", "18")
    return number.isdigit() and 97 - int(number) % 97 == int(packed[13:])


def _dni(text: str) -> bool:
    packed = re.sub(r"[\s.-]", "", text).upper()
    number = packed[:-1].translate(str.maketrans("XYZ", "012"))
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == packed[-1]


_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)


def _codice(text: str) -> bool:
    values = [int(char, 36) - 10 if char.isalpha() else int(char) for char in text.upper()]
    total = sum(_ODD[value] if place % 2 == 0 else value for place, value in enumerate(values[:15]))
    return total % 26 == values[15]


def _pesel(text: str) -> bool:
    digits = _digits(text)
    month = (digits[2] * 10 + digits[3]) % 20
    sound = (10 - _weighted(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)) % 10) % 10 == digits[10]
    return sound and 1 <= month <= 12 and 1 <= digits[4] * 10 + digits[5] <= 31


def _ahv(text: str) -> bool:
    digits = _digits(text)
    return (10 - _weighted(digits, (1, 3) * 6) % 10) % 10 == digits[12]


def _swedish(text: str) -> bool:
    digits = _digits(text)[-10:]
    return luhn(digits) and _is_day(2000, digits[2] * 10 + digits[3], digits[4] * 10 + digits[5])


def _belgian(text: str) -> bool:
    packed = "".join(map(str, _digits(text)))
    return any(97 - int(lead + packed[:9]) % 97 == int(packed[9:]) for lead in ("", "2"))


def _finnish(text: str) -> bool:
    packed = text.upper()
    return "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(packed[:6] + packed[7:10]) % 31] == packed[10] and _is_day(
        2000, int(packed[2:4]), int(packed[:2])
    )


def _cpf(text: str) -> bool:
    digits = _digits(text)
    one = _weighted(digits[:9], (10, 9, 8, 7, 6, 5, 4, 3, 2)) * 10 % 11 % 10
    two = _weighted(digits[:10], (11, 10, 9, 8, 7, 6, 5, 4, 3, 2)) * 10 % 11 % 10
    return len(set(digits)) > 1 and [one, two] == digits[9:]


def _austrian(text: str) -> bool:
    digits = _digits(text)
    return _weighted(digits, (3, 7, 9, 0, 5, 8, 4, 2, 1, 6)) % 11 == digits[3] and digits[0] != 0


def _portuguese(text: str) -> bool:
    digits = _digits(text)
    left = 11 - _weighted(digits, (9, 8, 7, 6, 5, 4, 3, 2)) % 11
    return (0 if left > 9 else left) == digits[8]


def _vat(text: str) -> bool:
    packed = re.sub(r"[\s.-]", "", text).upper()
    check = _VAT.get(packed[:2])
    try:
        return check is not None and check(packed[2:])
    except (ValueError, IndexError):
        return False


def _vat_austria(text: str) -> bool:
    digits = _digits(text)
    total = sum(sum(divmod(d * w, 10)) for d, w in zip(digits, (1, 2, 1, 2, 1, 2, 1), strict=False))
    return text[0] == "U" and len(digits) == 8 and (96 - total) % 10 == digits[7]


def _vat_belgium(text: str) -> bool:
    return len(text) == 10 and text[0] in "01" and 97 - int(text[:8]) % 97 == int(text[8:])


def _vat_britain(text: str) -> bool:
    total = _weighted(_digits(text), (8, 7, 6, 5, 4, 3, 2))
    return len(text) == 9 and (total + int(text[7:])) % 97 in (0, 42)


def _vat_netherlands(text: str) -> bool:
    old = len(text) == 12 and text[9] == "B" and _bsn(text[:9])
    return old or (len(text) == 12 and text[9] == "B" and int("2321" + text[:9] + "11" + text[10:]) % 97 == 1)


def _vat_poland(text: str) -> bool:
    digits = _digits(text)
    return len(text) == 10 and _weighted(digits, (6, 5, 7, 2, 3, 4, 5, 6, 7)) % 11 == digits[9]


_VAT: dict[str, Callable[[str], bool]] = {
    "AT": _vat_austria,
    "BE": _vat_belgium,
    "DE": lambda text: len(text) == 9 and text[0] != "0" and _iso_7064(_digits(text)),
    "DK": lambda text: len(text) == 8 and _weighted(_digits(text), (2, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0,
    "FI": lambda text: len(text) == 8 and (11 - _weighted(_digits(text), (7, 9, 10, 5, 8, 4, 2)) % 11) % 11 == int(text[7]),
    "FR": lambda text: len(text) == 11 and text.isdigit() and (12 + 3 * (int(text[2:]) % 97)) % 97 == int(text[:2]),
    "GB": _vat_britain,
    "IT": lambda text: len(text) == 11 and luhn(_digits(text)),
    "LU": lambda text: len(text) == 8 and int(text[:6]) % 89 == int(text[6:]),
    "NL": _vat_netherlands,
    "PL": _vat_poland,
    "PT": lambda text: len(text) == 9 and _portuguese(text),
    "ES": lambda text: len(text) == 9 and text[:8].translate(str.maketrans("XYZ", "012")).isdigit() and _dni(text),
}  # fmt: skip


def _words(*words: str) -> re.Pattern[str]:
    return re.compile(r"(?i)(?<![^\W\d_])(?:" + "|".join(words) + r")[^\n]{0,30}$")


_A = re.ASCII
_TAX_WORDS = _words(
    "steuer-?id",
    "idnr",
    "steuer-?identifikationsnummer",
    "steuerliche identifikationsnummer",
    "tax[ -]?id",
    "tin",
    "tax number",
)
_RULES = (
    _Rule("national-id", re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])", _A), _social_security, score=0.85),
    _Rule("national-id", re.compile(r"(?<![\w.-])756[. ]?\d{4}[. ]?\d{4}[. ]?\d{2}(?![\w-])", _A), _ahv),
    _Rule("national-id", re.compile(r"(?<![\w.-])[123478][ .]?\d{2}[ .]?(?:0[1-9]|1[0-2]|[2-9]\d)[ .]?(?:\d{2}|2[AB])[ .]?\d{3}[ .]?\d{3}[ .]?\d{2}(?![\w-])", _A), _nir),
    _Rule("national-id", re.compile(r"(?<![A-Za-z0-9])[A-Z]{6}\d{2}[A-EHLMPR-T]\d{2}[A-Z]\d{3}[A-Z](?![A-Za-z0-9])", _A | re.IGNORECASE), _codice, score=0.99),
    _Rule("national-id", re.compile(r"(?<![\w.-])(?:\d{8}[ -]?[A-HJ-NP-TV-Z]|\d{2}\.\d{3}\.\d{3}[ -]?[A-HJ-NP-TV-Z]|[XYZ][ -]?\d{7}[ -]?[A-HJ-NP-TV-Z])(?![\w-])", _A), _dni, score=0.8),
    _Rule("national-id", re.compile(r"(?<![\w.-])\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}(?![\w-])", _A), _belgian),
    _Rule("national-id", re.compile(r"(?<![\w.-])\d{6}[-+A]\d{3}[0-9A-FHJ-NPR-Y](?![\w-])", _A), _finnish),
    _Rule("national-id", re.compile(r"(?<![\w.-])\d{3}\.\d{3}\.\d{3}-\d{2}(?![\w-])", _A), _cpf, score=0.99),
    _Rule("national-id", re.compile(r"(?<![\w.-])(?:19|20)\d{6}[-+]\d{4}(?![\w-])", _A), _swedish, score=0.9),
    _Rule("national-id", re.compile(r"(?<![\w.-])\d{6}[-+]\d{4}(?![\w-])", _A), _swedish, _words("personnummer", "pnr", "swedish id")),
    _Rule("national-id", re.compile(r"(?<![\w.-])\d{2} ?\d{6} ?[A-Z] ?\d{3}(?![\w-])", _A), _german_pension),
    _Rule("national-id", re.compile(r"(?<![A-Za-z0-9])[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D](?![A-Za-z0-9])", _A), _nino, score=0.85),
    _Rule("national-id", re.compile(r"(?<![\w.-])\d{3}[ -]?\d{3}[ -]?\d{4}(?![\w-])", _A), _nhs, _words("nhs")),
    _Rule("national-id", re.compile(r"(?<![\w-])\d{9}(?![\w-])|(?<![\w-])\d{4}\.\d{2}\.\d{3}(?![\w-])", _A), _bsn, _words("bsn", "burgerservicenummer", "sofi-?nummer", "citizen service number")),
    _Rule("national-id", re.compile(r"(?<![\w-])\d{11}(?![\w-])", _A), _pesel, _words("pesel")),
    _Rule("national-id", re.compile(r"(?<![\w-])\d{4} ?\d{6}(?![\w-])", _A), _austrian, _words("svnr", "sv-?nummer", "sozialversicherungsnummer", "versicherungsnummer")),
    _Rule("tax-id", re.compile(r"(?<![\w.-])\d{2} \d{3} \d{3} \d{3}(?![\w-])", _A), _german_tax, score=0.9),
    _Rule("tax-id", re.compile(r"(?<![\w-])\d{11}(?![\w-])", _A), _german_tax, _TAX_WORDS),
    _Rule("tax-id", re.compile(r"(?<![\w-])\d{3} ?\d{3} ?\d{3}(?![\w-])", _A), _portuguese, _words("nif", "contribuinte")),
    _Rule("vat", re.compile(r"(?<![A-Za-z0-9])(?:AT ?U ?\d{8}|BE ?[01](?:[ .]?\d{3}){3}|DE ?\d{3} ?\d{3} ?\d{3}|(?:DK|FI|LU) ?\d{8}|FR ?\d{2}(?: ?\d{3}){3}|GB ?\d{3} ?\d{4} ?\d{2}|IT ?\d{11}|NL ?\d{9} ?B ?\d{2}|PL ?\d{10}|PT ?\d{9}|ES ?[XYZ0-9]\d{7}[A-Z])(?![A-Za-z0-9])", _A), _vat, score=0.97),
)  # fmt: skip


def find_identities(text: str) -> Iterator[tuple[int, int, str, float]]:
    """Yield (start, end, type, score). Text without seven digits near each other holds none and costs nothing."""
    for rule in _RULES:
        for match in rule.pattern.finditer(text):
            if rule.context and not rule.context.search(text[max(0, match.start() - _BEFORE) : match.start()]):
                continue
            if rule.check(match[0]):
                yield match.start(), match.end(), rule.type, rule.score
