"""Personal and secret data: what is found, what is not, and that masking is exact and final."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hearth_ingest.findings.checks import is_card, is_iban
from hearth_ingest.findings.scan import redact, scan

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NSJ9.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----"

FOUND = [
    ("write to anna.berg+x@mail.example.org, please", "email", "anna.berg+x@mail.example.org"),
    ("<a@example.org>", "email", "a@example.org"),
    ("call +49 30 901820.", "phone", "+49 30 901820"),
    ("call +1 (415) 555-2671 now", "phone", "+1 (415) 555-2671"),
    ("call 0033 1 42 68 53 00", "phone", "0033 1 42 68 53 00"),
    ("Tel.: 030 901820", "phone", "030 901820"),
    ("Mobil 0171 1234567", "phone", "0171 1234567"),
    ("(415) 555-2671", "phone", "(415) 555-2671"),
    ("or 415-555-0123 (fictional)", "phone", "415-555-0123"),
    ("call +33 6 39 98 27 41", "phone", "+33 6 39 98 27 41"),
    ("ring +44 1632 960417 first", "phone", "+44 1632 960417"),
    ("or 06 12 34 56 78 after six", "phone", "06 12 34 56 78"),
    ("then 0171 1234567 it is", "phone", "0171 1234567"),
    ("card 4111 1111 1111 1111 exp 12/27", "card", "4111 1111 1111 1111"),
    ("card 4111-1111-1111-1111", "card", "4111-1111-1111-1111"),
    ("amex 378282246310005", "card", "378282246310005"),
    ("IBAN DE89 3704 0044 0532 0130 00 please", "iban", "DE89 3704 0044 0532 0130 00"),
    ("GB82WEST12345698765432", "iban", "GB82WEST12345698765432"),
    ("FR14 2004 1010 0505 0001 3M02 606", "iban", "FR14 2004 1010 0505 0001 3M02 606"),
    ("aws AKIAIOSFODNN7EXAMPLE ok", "key", "AKIAIOSFODNN7EXAMPLE"),
    ("ghp_" + "a1B2" * 9, "key", "ghp_" + "a1B2" * 9),
    (f"Authorization: Bearer {JWT}", "key", JWT),
    ("api_key=9f8e7d6c5b4a39281706", "key", "9f8e7d6c5b4a39281706"),
    ('"secret": "q8Zt71LmNp03XyRs"', "key", "q8Zt71LmNp03XyRs"),
    (f"x\n{KEY}\ny", "private-key", KEY),
    ("-----BEGIN PRIVATE KEY-----\ncut off", "private-key", "-----BEGIN PRIVATE KEY-----\ncut off"),
    ("password: hunter2", "password", "hunter2"),
    ("Das Passwort lautet: Sommer2026!", "password", "Sommer2026!"),
    ("Passwort = geheim", "password", "geheim"),
    ("mot de passe : soleil99", "password", "soleil99"),
    ("the password is S3cret!", "password", "S3cret!"),
    ("pwd=abcd1234", "password", "abcd1234"),
    ("ä😀 password: hunter2", "password", "hunter2"),
    ("SSN 536-90-4399", "national-id", "536-90-4399"),
    ("AHV 756.9217.0769.85", "national-id", "756.9217.0769.85"),
    ("NIR 2 55 08 14 168 025 38", "national-id", "2 55 08 14 168 025 38"),
    ("CF RSSMRA85T10A562S", "national-id", "RSSMRA85T10A562S"),
    ("DNI 12345678Z", "national-id", "12345678Z"),
    ("NIE X1234567L", "national-id", "X1234567L"),
    ("85.07.30-033.28", "national-id", "85.07.30-033.28"),
    ("131052-308T", "national-id", "131052-308T"),
    ("CPF 111.444.777-35", "national-id", "111.444.777-35"),
    ("19640823-3234", "national-id", "19640823-3234"),
    ("RVNR 15 070649 C 103", "national-id", "15 070649 C 103"),
    ("NI number AB 12 34 56 C", "national-id", "AB 12 34 56 C"),
    ("NHS number 943 476 5919", "national-id", "943 476 5919"),
    ("BSN: 111222333", "national-id", "111222333"),
    ("PESEL 44051401359", "national-id", "44051401359"),
    ("SVNR 1237 010180", "national-id", "1237 010180"),
    ("Steuer-ID: 86095742719", "tax-id", "86095742719"),
    ("86 095 742 719", "tax-id", "86 095 742 719"),
    *(
        (f"VAT {number}", "vat", number)
        for number in (
            "DE136695976",
            "ATU13585627",
            "BE 0428.759.497",
            "FR 40 303 265 045",
            "NL004495445B01",
            "GB980780684",
            "IT00743110157",
            "PL8567346215",
            "LU15027442",
            "DK13585628",
            "FI20774740",
            "ESX1234567L",
            "PT501964843",
        )
    ),
    ("BIC: COBADEFFXXX", "bic", "COBADEFFXXX"),
    ("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "crypto", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"),
    ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "crypto", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"),
    ("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "crypto", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"),
    ("from 192.168.100.200", "ip", "192.168.100.200"),
    ("fe80::1ff:fe23:4567:890a", "ip", "fe80::1ff:fe23:4567:890a"),
    ("00:1A:2B:3C:4D:5E", "mac", "00:1A:2B:3C:4D:5E"),
    ("born on 12 March 1985", "birth-date", "12 March 1985"),
    ("geboren am 3.4.1971", "birth-date", "3.4.1971"),
    ("Hauptstraße 12, 10115 Berlin", "address", "Hauptstraße 12, 10115 Berlin"),
    ("221 Baker Street, London NW1 6XE", "address", "221 Baker Street, London NW1 6XE"),
    ("12 bis rue de la Paix, 75002 Paris", "address", "12 bis rue de la Paix, 75002 Paris"),
    ("Calle Mayor 5, 28013 Madrid", "address", "Calle Mayor 5, 28013 Madrid"),
]

NOT_FOUND = [
    "order 4111 1111 1111 1112",
    "card 0000 0000 0000 0000",
    "IBAN DE89 3704 0044 0532 0130 01",
    "at 2026-10-05 09:12:44",
    "version 1.2.3.4567.8901",
    "build 20261005123456",
    "part number 030 901820",
    "the password is required",
    "your password: ****",
    "token: see the wiki",
    "foo@bar",
    "@example.org",
    "price 1.234.567,89 EUR",
    "key = aaaaaaaaaaaaaaaaaaaa",
    "version 192.168.100.200",
    "127.0.0.1",
    "section 10.20.30.40",
    "SSN 000-12-3456",
    "PESEL 44051401358",
    "USt-IdNr. DE136695977",
    "943 476 5919",
    "NIE X1234567A",
    "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5",
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1beAed",
    "commit 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb",
    "we met at 12:30:45 on 2026-10-05",
    "on 12 March 1985 it rained",
    "Main Street is closed",
    "room 12 on the Ring road",
    "",
]


@pytest.mark.parametrize(("text", "kind", "found"), FOUND, ids=[f"{k}-{n}" for n, (_, k, _f) in enumerate(FOUND)])
def test_found(text: str, kind: str, found: str) -> None:
    assert [(m.type, text[m.start : m.end]) for m in scan(text)] == [(kind, found)]


@pytest.mark.parametrize("text", NOT_FOUND)
def test_not_found(text: str) -> None:
    assert scan(text) == ()


def test_overlapping_findings_become_one_that_covers_both() -> None:
    text = "password: a@example.org"
    masked, matches = redact(text)
    assert masked == "password: [password]"
    assert len(matches) == 1


def test_a_number_that_follows_a_card_does_not_hide_it() -> None:
    assert redact("4111 1111 1111 1111 4111 1111 1111 1111")[0] == "[card] [card]"
    assert redact("4111 1111 1111 1111 2026")[0] == "[card] 2026"


def test_masking_replaces_each_finding_by_its_type() -> None:
    assert redact("a@example.org, +49 30 901820")[0] == "[email], [phone]"


@pytest.mark.parametrize(
    ("digits", "valid"), [("4111111111111111", True), ("4111111111111112", False), ("", False), ("4" * 16, False)]
)
def test_cards(digits: str, valid: bool) -> None:
    assert is_card(digits) is valid


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("DE89370400440532013000", True),
        ("DE8937040044053201300", False),
        ("XX89370400440532013000", False),
        ("", False),
    ],
)
def test_ibans(text: str, valid: bool) -> None:
    assert is_iban(text) is valid


PIECES = st.sampled_from(
    [text for text, _, _ in FOUND]
    + NOT_FOUND
    + ["[email]", "[password]", "pw:", "key=", " ", "\n", "@", "+49", ":", "password ", "]", "["]
)
MIXED = st.lists(st.one_of(PIECES, st.text(max_size=12)), max_size=8).map("".join)


@settings(max_examples=300, deadline=None)
@given(MIXED)
@example("password: [email]x1y2@example.org")
@example("pw=[key]:a@b.cc")
def test_offsets_are_valid_and_masking_twice_is_masking_once(text: str) -> None:
    masked, matches = redact(text)
    end = 0
    for match in matches:
        assert end <= match.start < match.end <= len(text)
        end = match.end
    assert redact(masked)[0] == masked


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_any_text_is_scanned(text: str) -> None:
    redact(text)
