"""Where messages begin, under every way of quoting, and what makes two mails one."""

import mmap
from pathlib import Path

import pytest

from hearth_ingest.context import build_context
from hearth_ingest.errors import SourceError
from hearth_ingest.mail.mbox import is_mbox, iter_spans, unquote
from hearth_ingest.mail.source import MailSource

LINE = b"From a@example.org Mon Oct  5 09:12:44 2026\n"


def spans(data: bytes, folder: Path) -> list[bytes]:
    path = folder / "m"
    path.write_bytes(data)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return [mapped[span.start : span.end] for span in iter_spans(mapped)]


@pytest.mark.parametrize(
    ("data", "count"),
    [
        pytest.param(LINE + b"A: 1\n\nx\n\n" + LINE + b"A: 2\n\ny\n", 2, id="two mails"),
        pytest.param(b"\n\n" + LINE + b"A: 1\n\nx\n", 1, id="blank lines first"),
        pytest.param(LINE + b"A: 1\n\nx\n" + LINE + b"A: 2\n\ny\n", 2, id="no blank line between"),
        pytest.param(LINE + b"A: 1\n\nFrom here on it is text.\n\nFrom there, too\nno header\n", 1, id="From in prose (mboxcl2)"),
        pytest.param((LINE + b"A: 1\n\nx\n\n" + LINE + b"A: 2\n\ny\n").replace(b"\n", b"\r\n"), 2, id="CRLF"),
        pytest.param(LINE + b"A: 1\nContent-Length: 62\n\n" + b"1234567890\n\n" + LINE + b"B: 1\n" + b"\n" + LINE + b"C: 2\n\nz\n", 2, id="Content-Length spans a whole quoted mail"),
        pytest.param(LINE + b"A: 1\nContent-Length: 7\n\nx\n\n" + LINE + b"C: 2\n\nz\n", 2, id="a wrong Content-Length is not followed"),
        pytest.param(b"From - Mon Oct  5 09:12:44 2026\nA: 1\n\nx\n\nFrom - Mon Oct  5 09:12:44 2026\nA: 2\n\n", 2, id="Thunderbird"),
        pytest.param(b"From MAILER-DAEMON\nA: 1\n\nx\n", 1, id="a line without a date before a header"),
    ],
)  # fmt: skip
def test_messages_are_told_apart(data: bytes, count: int, tmp_path: Path) -> None:
    assert len(spans(data, tmp_path)) == count


def test_a_span_is_the_message_and_nothing_else(tmp_path: Path) -> None:
    assert spans(LINE + b"A: 1\n\nx\n\n\n" + LINE + b"A: 2\n\ny", tmp_path) == [b"A: 1\n\nx\n", b"A: 2\n\ny"]


@pytest.mark.parametrize(
    ("head", "yes"), [(LINE, True), (b"\n" + LINE, True), (b"From: a\n", False), (b"Fromage\n", False), (b"", False)]
)
def test_mailboxes_are_recognised(head: bytes, yes: bool) -> None:
    assert is_mbox(head) is yes


def test_one_quote_mark_is_taken_from_the_body_only() -> None:
    assert unquote(b"X: 1\n>From h\n\n>From a\n>>From b\n> From c\n") == b"X: 1\n>From h\n\nFrom a\n>From b\n> From c\n"


def source(path: Path, **settings: str) -> MailSource:
    return MailSource((path,), context=build_context("inbox", kind="email"), **settings)  # type: ignore[arg-type]


def mail(mid: str, body: str, extra: str = "") -> bytes:
    return LINE + f"Message-ID: <{mid}>\n{extra}\n{body}\n\n".encode()


def test_only_the_changed_message_has_another_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "m.mbox"
    path.write_bytes(mail("1@x", "one") + mail("2@x", "two") + mail("3@x", "three"))
    before = {item.key: item.fingerprint for item in source(path).observe().items}
    path.write_bytes(mail("0@x", "new") + mail("1@x", "one") + mail("2@x", "TWO") + mail("3@x", "three"))
    after = {item.key: item.fingerprint for item in source(path).observe().items}
    assert [key for key in after if after[key] != before.get(key)] == ["mid:<0@x>", "mid:<2@x>"]


def test_one_message_id_with_two_bodies_is_two_documents_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "m.mbox"
    path.write_bytes(mail("1@x", "one") + mail("1@x", "two") + mail("1@x", "one", "Received: again\n"))
    box = source(path)
    listing = box.observe()
    assert listing.copies == 1
    first, second = listing.items
    assert (first.key, second.key.startswith("mid:<1@x>~")) == ("mid:<1@x>", True)
    documents = [box.parse(item)[-1].document for item in listing.items]
    assert documents[0].id != documents[1].id
    assert [w.code for w in documents[1].warnings if w.code.startswith("message-id")] == ["message-id-shared"]
    assert box.owner(f"{second.key}#2.1") == second.key


def test_mails_without_an_id_are_known_by_their_content(tmp_path: Path) -> None:
    path = tmp_path / "m.mbox"
    path.write_bytes((LINE + b"Subject: a\n\nx\n\n") * 2 + LINE + b"Subject: b\n\nx\n\n")
    listing = source(path).observe()
    assert (len(listing.items), listing.copies) == (2, 1)


def test_mails_that_thunderbird_marked_as_expunged_are_gone(tmp_path: Path) -> None:
    path = tmp_path / "m.mbox"
    path.write_bytes(mail("1@x", "one", "X-Mozilla-Status: 0009\n") + mail("2@x", "two", "X-Mozilla-Status: 0001\n"))
    assert [item.key for item in source(path).observe().items] == ["mid:<2@x>"]


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    root = tmp_path / "box"
    for folder in ("cur", "new", "tmp", ".Sent/cur", "Work/cur"):
        (root / folder).mkdir(parents=True)
    for name in ("cur/1.a:2,S", "cur/2.a:2,ST", "new/3.a", "tmp/4.a", "Work/cur/5.a:2,"):
        (root / name).write_bytes(f"Message-ID: <{Path(name).name[0]}@x>\n\nbody".encode())
    return root


def test_a_maildir_lists_read_and_new_mails_and_leaves_trashed_ones(maildir: Path) -> None:
    items = source(maildir).observe().items
    assert [item.key for item in items] == ["mid:<5@x>", "mid:<1@x>", "mid:<3@x>"]
    assert items[1].uri == "file:cur/1.a"


def test_reading_a_mail_does_not_change_it(maildir: Path) -> None:
    before = source(maildir, form="maildir").observe()
    (maildir / "new/3.a").rename(maildir / "cur/3.a:2,RS")
    assert source(maildir, form="maildir").observe().items == before.items


def test_a_folder_may_hold_mailboxes_and_single_mails(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/Archive").write_bytes(mail("1@x", "one"))
    (tmp_path / "b.eml").write_bytes(b"Message-ID: <2@x>\n\ntwo")
    (tmp_path / "Archive.msf").write_bytes(b"index")
    assert {item.key for item in source(tmp_path).observe().items} == {"mid:<1@x>", "mid:<2@x>"}


@pytest.mark.parametrize(("form", "sentence"), [("maildir", "is not a maildir"), ("mbox", "is not an mbox file")])
def test_a_source_of_another_form_fails_in_a_sentence(form: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"hello")
    with pytest.raises(SourceError, match=sentence):
        source(path, form=form).observe()


@pytest.mark.parametrize("inside_a_folder", [False, True])
def test_an_overwritten_mailbox_is_refused_and_its_mails_do_not_count_as_gone(
    tmp_path: Path, inside_a_folder: bool
) -> None:
    path = tmp_path / "in.mbox"
    path.write_bytes(b"\x00\x01 no mailbox\n" * 20)
    listing = source(tmp_path if inside_a_folder else path).observe()
    assert [refusal.code for refusal in listing.refusals] == ["not-a-mailbox"]
    assert not listing.complete


def test_an_emptied_mailbox_is_a_mailbox_without_mails(tmp_path: Path) -> None:
    path = tmp_path / "in.mbox"
    path.write_bytes(b"")
    listing = source(path).observe()
    assert listing.complete
    assert listing.items == listing.refusals == ()
