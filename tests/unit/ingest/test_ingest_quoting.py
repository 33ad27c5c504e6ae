"""Own words, quoted words, signature."""

import pytest

from hearth_ingest.mail.quoting import split_text

CASES = {
    "angle brackets with an attribution": (
        "Fine.\n\nOn Mon, 5 Oct 2026 at 09:12, Anna wrote:\n> Hello\n> you\n\nBye",
        [("body", "Fine."), ("quoted", "On Mon, 5 Oct 2026 at 09:12, Anna wrote:\n> Hello\n> you"), ("body", "Bye")],
    ),
    "an attribution over two lines": (
        "Yes\n\nOn Mon, 5 Oct 2026 at 09:12, Anna Berg\n<anna@example.org> wrote:\n\n> Hello",
        [("body", "Yes"), ("quoted", "On Mon, 5 Oct 2026 at 09:12, Anna Berg\n<anna@example.org> wrote:\n\n> Hello")],
    ),
    "German": ("Ja\n\nAm 05.10.2026 um 09:12 schrieb Anna:\n> Hallo", [("body", "Ja"), ("quoted", "Am 05.10.2026 um 09:12 schrieb Anna:\n> Hallo")]),
    "French": ("Oui\n\nLe 5 oct. 2026 à 09:12, Anna a écrit :\n> Salut", [("body", "Oui"), ("quoted", "Le 5 oct. 2026 à 09:12, Anna a écrit :\n> Salut")]),
    "Outlook's rule": ("Ok\n\n-----Original Message-----\nFrom: Anna\nhello", [("body", "Ok"), ("quoted", "-----Original Message-----\nFrom: Anna\nhello")]),
    "Outlook's block": ("Ok\n\n________________________________\nVon: Anna\nGesendet: Montag\nAn: Bob\nBetreff: x\n\nhallo", [("body", "Ok"), ("quoted", "________________________________\nVon: Anna\nGesendet: Montag\nAn: Bob\nBetreff: x\n\nhallo")]),
    "a forwarded mail": ("FYI\n\n---------- Forwarded message ---------\nFrom: A\nx", [("body", "FYI"), ("quoted", "---------- Forwarded message ---------\nFrom: A\nx")]),
    "a signature": ("Hello\n-- \nAnna\nBerlin", [("body", "Hello"), ("signature", "--\nAnna\nBerlin")]),
    "a signature above the quote": ("Hello\n-- \nAnna\n\nOn 5 Oct 2026 Bob wrote:\n> x", [("body", "Hello"), ("signature", "--\nAnna"), ("quoted", "On 5 Oct 2026 Bob wrote:\n> x")]),
    "inline answers": ("> one?\nyes\n> two?\nno", [("quoted", "> one?"), ("body", "yes"), ("quoted", "> two?"), ("body", "no")]),
    "a sentence that ends in a colon is no attribution": ("He is right:\n> x", [("body", "He is right:"), ("quoted", "> x")]),
    "From: in prose is no header block": ("From: the start of it\nall was well", [("body", "From: the start of it\nall was well")]),
    "nothing": ("\n\n", []),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_text_is_split_by_who_wrote_it(case: str) -> None:
    text, expected = CASES[case]
    assert [(part.role, part.text) for part in split_text(text)] == expected
