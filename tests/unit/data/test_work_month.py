"""The sample month: well formed, rebuilt byte for byte, and every question has its answer."""

from __future__ import annotations

import email
import email.policy
import html
import io
import json
import mailbox
import re
import subprocess
import sys
import tarfile
import zipfile
from email.message import EmailMessage
from functools import cache
from pathlib import Path
from typing import Any

import docx
import openpyxl
import pptx
import pypdfium2
import pytest
from selectolax.lexbor import LexborHTMLParser

from support.questions import SAMPLE as DATA
from support.questions import SOURCES, Question

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
    return text_of_bytes(path.read_bytes(), name=path.name)


def text_of_bytes(data: bytes, *, name: str) -> str:
    """The text, with the tags of office formats taken for blanks."""
    suffix = Path(name).suffix
    if suffix == ".pdf":
        return text_of_pdf(data)
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = [archive.read(entry).decode() for entry in archive.namelist() if entry.endswith(".xml")]
        return html.unescape(re.sub(r"<[^>]+>", " ", "\n".join(parts)))
    if suffix == ".rtf":
        return re.sub(r"\\'(..)", lambda match: bytes.fromhex(match[1]).decode("cp1252"), data.decode("ascii"))
    text = data.decode()
    return text_of_html(text) if suffix == ".html" else text


def text_of_file(name: str) -> str:
    """The text of `path` or of `archive!member`."""
    path, _, member = name.partition("!")
    if not member:
        return text_of_document(DATA / "documents" / path)
    with zipfile.ZipFile(DATA / "documents" / path) as archive:
        return text_of_bytes(archive.read(member), name=member)


@cache
def graph_messages() -> list[dict[str, Any]]:
    """Every message of the Graph-shaped exports, as often as it occurs."""
    found: list[dict[str, Any]] = []
    for path in sorted((DATA / "teams").rglob("*.*json")):
        text = path.read_text(encoding="utf-8")
        rows = (
            [json.loads(line) for line in text.splitlines()] if path.suffix == ".ndjson" else json.loads(text)["value"]
        )
        found.extend(message for row in rows for message in (row, *row.get("replies", ())))
    return found


def place_of(message: dict[str, Any]) -> str:
    """The conversation's id."""
    return str(message["chatId"] or message["channelIdentity"]["channelId"])


def text_of_message(message: dict[str, Any]) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", message["body"]["content"]))


@pytest.fixture(scope="module")
def chats() -> dict[str, str]:
    """The text of each message (`chat:`) and of each thread of a channel (`teams:`)."""
    found = {}
    threads: dict[str, list[str]] = {}
    for message in graph_messages():
        found[f"chat:{place_of(message)}/{message['id']}"] = text_of_message(message)
        if where := message["channelIdentity"]:
            key = f"teams:{where['teamId']}/{where['channelId']}/{message['replyToId'] or message['id']}"
            threads.setdefault(key, []).append(text_of_message(message))
    for chat in skype_export()["conversations"]:
        for message in chat["MessageList"]:
            found[f"chat:{chat['id']}/{message['id']}"] = message["content"]
    return found | {key: "\n".join(texts) for key, texts in threads.items()}


def skype_export() -> dict[str, Any]:
    with tarfile.open(DATA / "teams" / "skype-jonas.tar") as archive:
        file = archive.extractfile("messages.json")
        assert file is not None
        export: dict[str, Any] = json.load(file)
    return export


@cache
def calendar_texts() -> dict[str, str]:
    """The lines of all events of a UID, unfolded and without escapes."""
    found: dict[str, str] = {}
    for path in sorted((DATA / "calendar").glob("*.ics")):
        text = path.read_bytes().decode().replace("\r\n ", "").replace("\\,", ",")
        for event in re.findall(r"BEGIN:VEVENT.*?END:VEVENT", text, flags=re.DOTALL):
            uid = re.search(r"^UID:(\S+)", event, flags=re.MULTILINE)
            assert uid is not None
            found[f"uid:{uid[1]}"] = found.get(f"uid:{uid[1]}", "") + event
    return found


def text_of_answer(answer: dict[str, str], *, mails: dict[str, EmailMessage], chats: dict[str, str]) -> str:
    scheme, _, name = answer["key"].partition(":")
    if scheme == "file":
        return text_of_file(name)
    if scheme in ("chat", "teams"):
        return chats[answer["key"]]
    if scheme == "uid":
        return calendar_texts()[answer["key"]]
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
    assert len(documents) >= 20
    assert {path.suffix for path in documents} == {
        ".md", ".txt", ".html", ".pdf", ".csv", ".docx", ".pptx", ".xlsx", ".odt", ".ods", ".odp", ".rtf", ".zip",
    }  # fmt: skip
    for path in documents:
        assert path.stat().st_size < 30_000
        assert path.suffix == ".zip" or len(squeeze(text_of_document(path))) > 300, path


def test_office_documents_open_elsewhere() -> None:
    folder = DATA / "documents"
    assert docx.Document(str(folder / "incident-2026-11-10.docx")).tables[0].rows[4].cells[2].text == "January"
    slides = pptx.Presentation(str(folder / "talk-hydrotec-2026.pptx")).slides
    assert [slide.has_notes_slide for slide in slides] == [True] * 4
    book = openpyxl.load_workbook(folder / "calculation-wendelsund.xlsx")
    assert book.sheetnames == ["Summary", "Costs", "Delivery"]
    assert book["Summary"]["E6"].value == sum(book["Summary"][f"E{row}"].value for row in range(2, 6))


def test_chats_hold_what_parsers_stumble_over() -> None:
    messages = graph_messages()
    unique = {(place_of(message), message["id"]): message for message in messages}
    assert len(unique) >= 150
    assert len(messages) - len(unique) >= 40, "the same messages in the exports of two people"
    shown = list(unique.values())
    assert len({place_of(message) for message in shown if message["channelIdentity"]}) >= 3
    for name in ("mentions", "reactions", "attachments", "lastEditedDateTime", "deletedDateTime", "replyToId"):
        assert sum(bool(message[name]) for message in shown) >= 1, name
    kinds = {attachment["contentType"] for message in shown for attachment in message["attachments"]}
    assert kinds == {"reference", "messageReference", "application/vnd.microsoft.card.adaptive"}
    events = {message["eventDetail"]["@odata.type"].split(".")[-1] for message in shown if message["eventDetail"]}
    assert {"callStartedEventMessageDetail", "callEndedEventMessageDetail"} <= events
    uids = {
        message["eventDetail"].get("callTranscriptICalUid", "").strip() for message in shown if message["eventDetail"]
    }
    assert {f"uid:{uid}" for uid in uids if uid} <= calendar_texts().keys()


def test_the_skype_export_is_a_second_shape() -> None:
    kinds = {message["messagetype"] for chat in skype_export()["conversations"] for message in chat["MessageList"]}
    assert kinds == {"Text", "RichText", "RichText/UriObject", "Event/Call", "ThreadActivity/AddMember"}


def test_calendars_hold_what_parsers_stumble_over() -> None:
    files = [path.read_bytes() for path in (DATA / "calendar").glob("*.ics")]
    text = b"".join(files).replace(b"\r\n ", b"").decode()
    for needed in (
        "RRULE:", "EXDATE;", "RDATE;", "RECURRENCE-ID;TZID", "RANGE=THISANDFUTURE", "STATUS:CANCELLED", "VALUE=DATE",
        "TZID=Europe/Berlin", "TZID=America/New_York", 'TZID="W. Europe Standard Time"', "DTSTART:20261120T123000\r",
    ):  # fmt: skip
        assert needed in text, needed
    for raw in files:
        assert all(len(line) <= 75 for line in raw.split(b"\r\n"))


def test_invitations_name_meetings_of_the_calendar(mails: dict[str, EmailMessage]) -> None:
    parts = [part for mail in mails.values() for part in mail.walk() if part.get_content_type() == "text/calendar"]
    uids = {match for part in parts for match in re.findall(r"^UID:(\S+)", part.get_content(), flags=re.MULTILINE)}
    assert len(uids) >= 4
    assert {f"uid:{uid}" for uid in uids} <= calendar_texts().keys()


def test_personal_data_and_instructions_are_planted(mails: dict[str, EmailMessage], chats: dict[str, str]) -> None:
    everything = "\n".join([*(text_of_mail(mail) for mail in mails.values()), *chats.values()])
    cards = {match.replace(" ", "") for match in re.findall(r"\b[45]\d{3}(?: \d{4}){3}\b", everything)}
    assert len(cards) >= 3
    for card in cards:
        assert sum(int("0246813579"[int(d)]) if i % 2 == 0 else int(d) for i, d in enumerate(card)) % 10 == 0, card
    for planted in ("hrn_live_", "Pegel-Probe-77!", "12 Quai des Bateliers", "0176 04069057", "Ignore all previous"):
        assert planted in everything, planted
    page = (DATA / "documents" / "supplier-portal-export.html").read_text()
    assert re.search(r'class="note">Ignore all previous instructions', page)


def test_questions_are_numbered_and_three_are_shown() -> None:
    assert [question["id"] for question in QUESTIONS] == [f"q{number:02}" for number in range(1, len(QUESTIONS) + 1)]
    assert len(QUESTIONS) >= 40
    assert {question["source"] for question in QUESTIONS} == set(SOURCES)
    kinds = {"mail", "document", "chat", "meeting", "thread", "time", "person"}
    assert {question["kind"] for question in QUESTIONS} == kinds
    shown = [question for question in QUESTIONS if question.get("show")]
    assert len(shown) == 3
    assert len({question["source"] for question in shown}) == 3


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question["id"])
def test_answers_hold_the_phrase(
    question: dict[str, Any], mails: dict[str, EmailMessage], chats: dict[str, str]
) -> None:
    for answer in question["answers"]:
        text = squeeze(text_of_answer(answer, mails=mails, chats=chats))
        assert squeeze(question.get("phrase", "")) in text, answer
    phrase = question.get("phrase")
    assert phrase is None or squeeze(phrase).lower() not in question["question"].lower()


def test_an_answer_may_be_an_attachment_or_a_message() -> None:
    question = Question(id="q", source="s", kind="mail", text="?", answers=frozenset({"mid:<a>", "chat:c/1"}))
    assert question.is_answered_by(key="mid:<a>#2")
    assert question.is_answered_by(key="chat:c/0", identities=("chat:c/0", "chat:c/1"))
    assert not question.is_answered_by(key="mid:<b>", identities=("chat:c/2",))
