"""Precision and recall by type on sentences made for this, with near misses beside every true one; printed."""

import random
import string
import time
from collections import Counter
from collections.abc import Callable

import pytest

from hearth_ingest.findings.identity import luhn
from hearth_ingest.findings.scan import TYPES, redact, scan

PER_TYPE = 60
FRAMES = (
    "{before}{value}{after}", "Hello,\n\n{before}{value}{after}\n\nBest regards, Kim", "Re: order 20261005-77. {before}{value}{after}",
    "In 2026 we paid 1.234,50 EUR. {before}{value}{after} See section 4.2.1.", "| item | {before}{value}{after} | 42 |",
)  # fmt: skip
NEAR_MISSES = (
    "invoice 2026-0042-118", "order 4111 1111 1111 1112", "version 10.20.30.40", "ticket ABC-12345", "ISBN 978-3-16-148410-0",
    "12:30:45 on 2026-10-05", "1.234.567,89 EUR", "commit 9f8e7d6c5b4a39281706f5e4d3c2b1a098765432", "room 12345678A",
    "DE136695977", "IBAN DE89 3704 0044 0532 0130 01", "part 030 901820", "the password is required", "BIC of the bank",
    "page 12 of Main Street Journal", "on 12 March 1985 it rained", "SSN 000-12-3456", "uuid 123e4567-e89b-12d3-a456-426614174000",
    "EAN 4006381333931", "tracking 1Z999AA10123456784", "0x1234", "foo@bar", "MAC 00:00:00:00:00:00", "127.0.0.1", "3.14159265358",
)  # fmt: skip


def card(rng: random.Random) -> str:
    digits = [4, *(rng.randrange(10) for _ in range(14))]
    last = next(one for one in range(10) if luhn([*digits, one]))
    text = "".join(map(str, [*digits, last]))
    return rng.choice([text, " ".join(text[at : at + 4] for at in range(0, 16, 4))])


def iban(rng: random.Random) -> str:
    account = "".join(str(rng.randrange(10)) for _ in range(18))
    check = 98 - int(account + "131400") % 97
    text = f"DE{check:02d}{account}"
    return rng.choice([text, " ".join(text[at : at + 4] for at in range(0, 22, 4))])


def dni(rng: random.Random) -> str:
    number = rng.randrange(10_000_000, 99_999_999)
    return f"{number}{'TRWAGMYFPDXBNJZSQVHLCKE'[number % 23]}"


def german_tax(rng: random.Random) -> str:
    while True:
        digits = rng.sample(range(10), 9)
        digits.insert(rng.randrange(1, 9), rng.choice(digits))
        if digits[0] == 0:
            continue
        product = 10
        for digit in digits:
            product = 2 * (((digit + product) % 10) or 10) % 11
        text = "".join(map(str, [*digits, (11 - product) % 10]))
        return f"{text[:2]} {text[2:5]} {text[5:8]} {text[8:]}"


def vat(rng: random.Random) -> str:
    digits = [rng.randrange(1, 10), *(rng.randrange(10) for _ in range(7))]
    product = 10
    for digit in digits:
        product = 2 * (((digit + product) % 10) or 10) % 11
    return "DE" + "".join(map(str, [*digits, (11 - product) % 10]))


def word(rng: random.Random, size: int = 8) -> str:
    return "".join(rng.choice(string.ascii_lowercase) for _ in range(size))


MAKERS: dict[str, Callable[[random.Random], tuple[str, str]]] = {
    "card": lambda rng: ("card ", card(rng)),
    "iban": lambda rng: ("IBAN ", iban(rng)),
    "national-id": lambda rng: ("DNI ", dni(rng)),
    "tax-id": lambda rng: ("Steuer-ID ", german_tax(rng)),
    "vat": lambda rng: ("USt-IdNr. ", vat(rng)),
    "email": lambda rng: ("write to ", f"{word(rng)}.{word(rng)}@{word(rng)}.example"),
    "phone": lambda rng: ("call ", f"+49 {rng.choice([30, 40, 89, 221])} {rng.randrange(1_000_000, 9_999_999)}"),
    "ip": lambda rng: ("from ", ".".join(str(rng.randrange(11, 250)) for _ in range(4))),
    "mac": lambda rng: ("nic ", ":".join(f"{rng.randrange(1, 256):02x}" for _ in range(6))),
    "bic": lambda rng: ("BIC ", f"{word(rng, 4).upper()}DE{rng.choice(['FF', 'MM', '2H'])}"),
    "key": lambda rng: (
        "api_key=",
        "".join(rng.choice(string.ascii_letters + string.digits) for _ in range(30)) + "7x",
    ),
    "password": lambda rng: ("password: ", f"{word(rng)}{rng.randrange(10, 99)}!K"),
    "birth-date": lambda rng: (
        rng.choice(["born on ", "geboren am ", "Date of birth: "]),
        f"{rng.randrange(1, 28)}.{rng.randrange(1, 12)}.{rng.randrange(1930, 2010)}",
    ),
    "address": lambda rng: (
        rng.choice(["at ", "to "]),
        f"{word(rng).title()}{rng.choice(['straße', 'weg', 'platz'])} {rng.randrange(1, 200)}, {rng.randrange(10000, 99999)} {word(rng).title()}",
    ),
}


def test_precision_and_recall_by_type(capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(4)
    hits: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for kind, make in MAKERS.items():
        for _ in range(PER_TYPE):
            before, value = make(rng)
            after = rng.choice([".", ", thanks", "\n", " please", ")"])
            text = rng.choice(FRAMES).format(before=before, value=value, after=after)
            total[kind] += 1
            for match in scan(text):
                exact = match.type == kind and text[match.start : match.end] == value
                (hits if exact else wrong)[match.type] += 1
    for miss in NEAR_MISSES:
        for frame in FRAMES:
            wrong.update(match.type for match in scan(frame.format(before="", value=miss, after=".")))
    with capsys.disabled():
        print("\ntype          recall  precision")
        for kind in (kind for kind in TYPES if total[kind]):
            found = hits[kind] + wrong[kind]
            print(f"{kind:13} {hits[kind] / total[kind]:6.2f}  {hits[kind] / found if found else 1:9.2f}")
    for kind in MAKERS:
        assert hits[kind] >= 0.95 * total[kind], kind
        assert hits[kind] >= 0.95 * (hits[kind] + wrong[kind]), kind


def test_a_megabyte_takes_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(5)
    words = [word(rng, rng.randrange(2, 10)) for _ in range(400)]
    lines = [" ".join(rng.choices(words, k=12)) for _ in range(3000)]
    for number in range(0, 3000, 30):
        before, value = MAKERS[rng.choice(list(MAKERS))](rng)
        lines[number] += f" {before}{value}"
    paragraphs = ["\n".join(lines[at : at + 10]) for at in range(0, 3000, 10)]
    size = sum(map(len, paragraphs))
    started = time.process_time()
    masked = [redact(paragraph)[0] for paragraph in paragraphs]
    took = time.process_time() - started
    with capsys.disabled():
        print(f"\nfindings: {size / 1000 / took:,.0f} KB of text per CPU-second")
    assert masked != paragraphs
    assert took < 5


@pytest.mark.parametrize("miss", NEAR_MISSES)
def test_near_misses_are_left(miss: str) -> None:
    assert scan(f"see {miss}.") == ()
