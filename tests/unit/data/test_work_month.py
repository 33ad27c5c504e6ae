"""The quickstart's sample data: well formed, rebuilt byte for byte, and every question has its answer."""

from __future__ import annotations

import email
import email.policy
import json
import mailbox
import re
import subprocess
import sys
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pypdfium2
import pytest
from selectolax.lexbor import LexborHTMLParser

DATA = Path(__file__).parents[2] / "data" / "work-month"
QUESTIONS: list[dict[str, Any]] = json.loads((DATA / "questions.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def mails() -> dict[str, EmailMessage]:
    """The mails by origin key, as the standard library reads them."""
    box = mailbox.mbox(DATA / "mail.mbox", create=False)
    parsed = [email.message_from_bytes(box.get_bytes(key), policy=email.policy.default) for key in box.iterkeys()]
    box.close()
    keys = [f"mid:{mail['Message-ID']}" for mail in parsed]
    assert len(set(keys)) == len(keys), "a Message-ID occurs twice"
    return {key: mail for key, mail in zip(keys, parsed, strict=True) if isinstance(mail, EmailMessage)}


def squeeze(text: str) -> str:
    return " ".join(text.split())


def text_of_html(markup: str) -> str:
    tree = LexborHTMLParser(markup)
    return tree.body.text(separator=" ") if tree.body else ""


def text_of_pdf(data: bytes) -> str:
    document = pypdfium2.PdfDocument(data)
    pages = [document[index].get_textpage().get_text_range() for index in range(len(document))]
    document.close()
    return "\n".join(pages)


def text_of_part(part: EmailMessage) -> str:
    """The text of a leaf part, or of the message that a message/rfc822 part holds."""
    content = part.get_content()
    if isinstance(content, EmailMessage):
        return text_of_mail(content)
    if part.get_content_type() == "application/pdf":
        return text_of_pdf(content)
    if part.get_content_type() == "text/html":
        return text_of_html(content)
    assert isinstance(content, str)
    return content


def text_of_mail(mail: EmailMessage) -> str:
    """The text of what is not an attachment. A calendar's folding and escapes do not matter for our phrases."""
    leaves = [part for part in mail.walk() if isinstance(part, EmailMessage) and not part.is_multipart()]
    nested = {id(leaf) for part in mail.iter_attachments() for leaf in part.walk()} if mail.is_multipart() else set()
    return "\n".join(text_of_part(part) for part in leaves if id(part) not in nested)


def text_of_document(path: Path) -> str:
    if path.suffix == ".pdf":
        return text_of_pdf(path.read_bytes())
    text = path.read_text(encoding="utf-8")
    return text_of_html(text) if path.suffix == ".html" else text


def text_of_answer(answer: dict[str, str], *, mails: dict[str, EmailMessage]) -> str:
    scheme, _, name = answer["key"].partition(":")
    if scheme == "file":
        return text_of_document(DATA / "documents" / name)
    mail = mails[answer["key"]]
    if "attachment" not in answer:
        return text_of_mail(mail)
    return text_of_part(next(part for part in mail.iter_attachments() if part.get_filename() == answer["attachment"]))


def test_rebuild_gives_the_committed_bytes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, DATA / "build.py", "--out", tmp_path], check=True)
    built = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert {path.parts[0] for path in built} == {"mail.mbox", "documents", "teams", "calendar"}
    committed = {path.relative_to(DATA) for part in ("teams", "calendar") for path in (DATA / part).rglob("*.*")}
    assert committed <= set(built), "a file that is not built any more"
    for path in built:
        assert (tmp_path / path).read_bytes() == (DATA / path).read_bytes(), f"{path} is stale: run build.py"


def test_mailbox_has_enough_sound_mails(mails: dict[str, EmailMessage]) -> None:
    assert len(mails) >= 60
    for key, mail in mails.items():
        assert not [defect for part in mail.walk() for defect in part.defects], key
        assert all((mail["From"].addresses, mail["To"].addresses, mail["Subject"])), key
        assert "2026-09-01" < mail["Date"].datetime.isoformat() < "2026-12-01", key
        domains = {address.domain for name in ("From", "To", "Cc") for address in getattr(mail[name], "addresses", ())}
        assert domains <= {"example.org", "example.com"}, key


def test_mailbox_covers_what_parsers_stumble_over(mails: dict[str, EmailMessage]) -> None:
    parts = [part for mail in mails.values() for part in mail.walk()]
    assert {part.get_content_type() for part in parts} >= {
        "multipart/mixed", "multipart/alternative", "message/rfc822", "application/pdf",
        "text/plain", "text/html", "text/csv", "text/calendar",
    }  # fmt: skip
    charsets = {part.get_content_charset() for part in parts}
    assert charsets >= {"us-ascii", "utf-8", "iso-8859-1", "windows-1252"}
    encodings = {str(part["Content-Transfer-Encoding"]).lower() for part in parts}
    assert encodings >= {"7bit", "8bit", "quoted-printable", "base64"}
    assert sum(mail.get_content_type() == "text/html" for mail in mails.values()) >= 3
    assert len(re.findall(rb"^>From ", (DATA / "mail.mbox").read_bytes(), flags=re.MULTILINE)) >= 3


def test_every_reference_is_in_the_mailbox(mails: dict[str, EmailMessage]) -> None:
    replies = [mail for mail in mails.values() if mail["References"]]
    assert len(replies) >= 30
    for mail in replies:
        ancestors = mail["References"].split()
        assert mail["In-Reply-To"] == ancestors[-1]
        assert {f"mid:{ancestor}" for ancestor in ancestors} <= mails.keys()


def test_account_numbers_have_valid_check_digits(mails: dict[str, EmailMessage]) -> None:
    text = "\n".join(text_of_mail(mail) for mail in mails.values())
    ibans = re.findall(r"IBAN ([A-Z]{2}\d{2}(?: [A-Z0-9]{1,4})+)", text)
    assert len(ibans) >= 3
    for iban in ibans:
        compact = iban.replace(" ", "")
        assert int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1, iban


def test_there_are_documents_of_each_kind() -> None:
    documents = [path for path in (DATA / "documents").rglob("*") if path.is_file()]
    assert len(documents) >= 10
    assert {path.suffix for path in documents} == {".md", ".txt", ".html", ".pdf"}
    for path in documents:
        assert path.stat().st_size < 100_000
        assert len(squeeze(text_of_document(path))) > 300, path


def test_questions_are_twenty_and_three_are_shown() -> None:
    assert [question["id"] for question in QUESTIONS] == [f"q{number:02}" for number in range(1, 21)]
    assert {question["source"] for question in QUESTIONS} == {"inbox", "documents"}
    assert sum(question.get("show", False) for question in QUESTIONS) == 3


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question["id"])
def test_answer_holds_the_phrase(question: dict[str, Any], mails: dict[str, EmailMessage]) -> None:
    for answer in question["answers"]:
        assert squeeze(question["phrase"]) in squeeze(text_of_answer(answer, mails=mails)), answer
    assert squeeze(question["phrase"]).lower() not in question["question"].lower()
