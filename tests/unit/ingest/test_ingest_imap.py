"""IMAP's grammar, names and dates; credentials. No server."""

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearth_ingest.errors import SourceError
from hearth_ingest.live.account import Credentials, tls_context
from hearth_ingest.mail.imap_mailbox import parse_internal
from hearth_ingest.mail.imap_wire import (
    LiteralTooLargeError,
    WireError,
    decode_mailbox,
    parse_values,
    quote,
    read_response,
)


def read(data: bytes, limit: int = 1000) -> tuple[bytes, list[object]]:
    response = read_response(io.BytesIO(data), literal_limit=limit)
    return response.tag, list(parse_values(response.chunks))


def test_fetch_with_literals() -> None:
    tag, values = read(
        b'* 12 FETCH (UID 5 FLAGS (\\Seen) BODY[HEADER.FIELDS ("DATE")]<0> {5}\r\na\r\n"( X ~{0}\r\n Y NIL)\r\n'
    )
    assert tag == b"*"
    assert values == [
        b"12",
        b"FETCH",
        [b"UID", b"5", b"FLAGS", [b"\\Seen"], b'BODY[HEADER.FIELDS ("DATE")]<0>', b'a\r\n"(', b"X", b"", b"Y", None],
    ]


def test_list_names() -> None:
    assert read(b'* LIST (\\HasChildren) "." "a \\"b\\\\"\r\n')[1][3] == b'a "b\\'
    assert read(b"* LIST () NIL {3}\r\n[x]\r\n")[1] == [b"LIST", [], None, b"[x]"]
    assert read(b"* LIST () NIL [Gmail]\r\n")[1][3] == b"[Gmail]"


def test_a_sentence_may_end_in_braces() -> None:
    response = read_response(io.BytesIO(b"* OK [UIDVALIDITY 7] see {5}\r\n"), literal_limit=0)
    assert response.status() == (b"UIDVALIDITY", b"7", "see {5}")


@pytest.mark.parametrize(
    "data",
    [b"", b"* OK", b"* 1 FETCH (UID 1\r\n", b"* )\r\n", b'* "x\r\n', b"* X {10}\r\nabc", b"* " + b"(" * 100 + b"\r\n"],
)
def test_broken(data: bytes) -> None:
    with pytest.raises(WireError):
        read(data)


def test_large_literals_are_refused_before_they_are_read() -> None:
    with pytest.raises(LiteralTooLargeError) as refused:
        read(b"* 1 FETCH (BODY[] {99999999999}\r\n", limit=100)
    assert refused.value.size == 99_999_999_999
    with pytest.raises(LiteralTooLargeError):
        read(b"* X {60}\r\n" + b"a" * 60 + b" {60}\r\n", limit=100)


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    try:
        read(data + b"\r\n", limit=100)
    except WireError:
        return


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b"INBOX", "INBOX"),
        (b"Entw&APw-rfe", "Entwürfe"),
        (b"~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語"),
        (b"A &- B", "A & B"),
        (b"&2D3eAA-", "\N{GRINNING FACE}"),
        (b"broken &!-", "broken &!-"),
        (b"open &APw", "open &APw"),
        ("Müll".encode(), "Müll"),
        (b"\xff", "\\xff"),
    ],
)
def test_mailbox_names(raw: bytes, name: str) -> None:
    assert decode_mailbox(raw) == name


@given(st.binary(max_size=60))
def test_any_mailbox_name(raw: bytes) -> None:
    assert isinstance(decode_mailbox(raw).encode("utf-8", "replace"), bytes)


def test_quote() -> None:
    assert quote(b'a"b\\c') == b'"a\\"b\\\\c"'
    with pytest.raises(ValueError):
        quote(b"a\r\nb LOGOUT")


def test_internal_dates() -> None:
    assert parse_internal(" 1-Feb-2026 09:00:00 +0100") == 1769932800
    assert parse_internal("31-Feb-2026 09:00:00 +0100") is None
    assert parse_internal("today") is None


def test_credentials(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="secretRef"):
        Credentials.read(None)
    with pytest.raises(SourceError, match="username is missing"):
        Credentials.read(tmp_path)
    (tmp_path / "username").write_text("me\n")
    with pytest.raises(SourceError, match="password is missing"):
        Credentials.read(tmp_path)
    (tmp_path / "password").write_text("s3cret \r\n")
    read = Credentials.read(tmp_path)
    assert (read.username, read.password, read.ca) == ("me", "s3cret ", None)
    assert "s3cret" not in repr(read)
    (tmp_path / "ca.crt").write_text("no certificate")
    with pytest.raises(SourceError, match=r"ca\.crt"):
        tls_context(Credentials.read(tmp_path).ca)
    (tmp_path / "password").write_text("two\nlines")
    with pytest.raises(SourceError, match="control character") as refused:
        Credentials.read(tmp_path)
    assert "lines" not in str(refused.value).replace("one line", "")
