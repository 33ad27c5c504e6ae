"""Whatever comes, parsing answers: a document with every part accounted for, or an error of that item."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hearth_api.wire.documents import NormalDocument
from hearth_api.wire.ingest import RunLimits
from hearth_ingest.charset import decode_text
from hearth_ingest.documents.parsers import PARSERS
from hearth_ingest.errors import ItemError
from hearth_ingest.mail.headers import decode_header, params
from hearth_ingest.mail.quoting import split_text, unflow
from hearth_ingest.markup import read_html
from support.ingest_mail import count_all_parts, parse_mail

TYPES = st.sampled_from(
    [
        "text/plain", "text/html; charset=x", "multipart/mixed; boundary=b", 'multipart/alternative; boundary="b"', "message/rfc822",
        "multipart/related; boundary=c", "text/calendar", "application/octet-stream; name=a.zip", "message/delivery-status",
        "multipart/mixed", "text/", "/", "message/partial; id=1", "text/plain; name*0*=utf-8''%e4; name*1=b", "application/pgp-encrypted",
    ]
)  # fmt: skip
ENCODINGS = st.sampled_from(
    ["7bit", "base64", "quoted-printable", "x-uuencode", "8bit", "nonsense", "=?utf-8?Q?base64?="]
)
JUNK = st.one_of(st.binary(max_size=60), st.text(max_size=40).map(lambda text: text.encode("utf-8", "replace")))


@st.composite
def messages(draw: st.DrawFn, depth: int = 0) -> bytes:
    lines = [b"Content-Type: " + draw(TYPES).encode(), b"Content-Transfer-Encoding: " + draw(ENCODINGS).encode()]
    if draw(st.booleans()):
        lines.append(b"Subject: " + draw(JUNK).replace(b"\n", b" "))
    if draw(st.booleans()):
        lines.append(b"From: " + draw(JUNK).replace(b"\n", b" "))
    if draw(st.booleans()):
        lines.append(b"Date: " + draw(JUNK).replace(b"\n", b" "))
    body = draw(JUNK)
    if depth < 3:
        boundary = draw(st.sampled_from([b"b", b"c"]))
        for part in draw(st.lists(messages(depth=depth + 1), max_size=3)):
            body += b"\n--" + boundary + b"\n" + part
        body += draw(st.sampled_from([b"", b"\n--" + boundary + b"--\n"]))
    return b"\n".join(lines) + b"\n\n" + body


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.one_of(messages(), st.binary(max_size=400)))
def test_any_message_parses_with_every_part_accounted_for(tmp_path: Path, data: bytes) -> None:
    for parsed in parse_mail(b"X: y\n" + data, tmp_path):
        assert NormalDocument.model_validate_json(parsed.document.model_dump_json(by_alias=True)) == parsed.document
        assert all(part.reason for part in parsed.document.parts)
    assert len(parsed.document.parts) == count_all_parts(b"X: y\n" + data)


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=300),
    st.one_of(
        st.none(), st.text(max_size=20), st.sampled_from(["utf-8", "utf-16", "hz", "utf-7", "idna", "rot13", "big5"])
    ),
)
def test_any_bytes_decode(data: bytes, declared: str | None) -> None:
    text = decode_text(data, declared).text
    text.encode("utf-8")
    assert "\r" not in text


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text_goes_through_the_small_readers(text: str) -> None:
    decode_header(text)
    params(text)
    read_html(text)
    unflow(text, delete_space=True)
    kept = "".join("".join(part.text.split()) for part in split_text(text))
    assert kept == "".join(text.split())


HTML = st.lists(st.sampled_from(["<div>", "</div>", "<table>", "<tr>", "<td>", "x", "<p style='display:none'>", "<style>a{", "}", "<!--", "-->", "<blockquote>", "<pre>", "\n", "<li>", "&#0;", "<br>", "<h1>", "\ud800"]), max_size=40).map("".join)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(HTML)
def test_any_markup_reads(html: str) -> None:
    page = read_html(html)
    assert all(block.text.strip() for block in page.blocks)


def test_markup_nested_beyond_reason_is_not_read_and_said() -> None:
    page = read_html("<div>" * 500_000 + "x")
    assert (page.blocks, list(page.hidden)) == ((), ["nested-too-deeply"])


def test_markup_with_many_unclosed_paragraphs_reads() -> None:
    page = read_html("<div>" * 1000 + "<p>x<br>" * 20_000)
    assert page.text.count("x") == 20_000


@pytest.mark.parametrize("media_type", sorted(set(PARSERS) - {"application/pdf"}))
@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_file_parses_or_says_why(media_type: str, data: bytes) -> None:
    with contextlib.suppress(ItemError):
        assert len(PARSERS[media_type](data, RunLimits()).segments) <= len(data)
