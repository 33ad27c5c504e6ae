"""Files of each type to documents, and what happens to files that cannot be read."""

from pathlib import Path

import pytest

from hearth_api.wire.documents import NormalDocument
from hearth_api.wire.ingest import RunLimits
from hearth_ingest.context import build_context
from hearth_ingest.documents.body import DOCX, RTF, Body, media_type_of
from hearth_ingest.documents.parsers import read_body
from hearth_ingest.documents.source import DocumentSource
from hearth_ingest.errors import ItemError, RefusedError
from support.pdf_maker import make_pdf


def read(name: str, data: bytes, folder: Path, limits: RunLimits | None = None) -> NormalDocument:
    (folder / name).write_bytes(data)
    context = build_context("docs", kind="documents", limits=limits)
    source = DocumentSource((folder,), context=context, include=(name,))
    (item,) = source.observe().items
    return source.parse(item)[-1].document


def segments(document: NormalDocument) -> list[tuple[str, str | None, str]]:
    return [(s.role, s.anchor.heading if s.anchor else None, s.text) for s in document.segments]


def test_markdown_sections_tables_lists_code_and_front_matter(tmp_path: Path) -> None:
    text = (
        "---\ntitle: 'The Plan'\ndate: 2026-10-05\n---\nIntro *words*.\n\n# First\n\n- one\n- two `x`\n\n1. a\n\n<!-- secret -->\n"
        "## Second <!-- s -->\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```sh\nmake it\n```\n\n> said\n"
    )
    document = read("a.md", text.encode(), tmp_path)
    assert document.title == "The Plan"
    assert document.created is not None
    assert document.created.isoformat() == "2026-10-05T00:00:00+00:00"
    assert segments(document) == [
        ("body", None, "Intro words."),
        ("body", "First", "First\n\n- one\n\n- two x\n\n1. a"),
        ("body", "Second", "Second"),
        ("table", "Second", "a | b\n1 | 2"),
        ("body", "Second", "make it\n\n> said"),
    ]
    assert [w.code for w in document.warnings] == ["hidden-text"]


def test_the_first_heading_is_the_title_of_markdown_without_front_matter(tmp_path: Path) -> None:
    assert read("a.md", b"words\n\n# Head *line*\n", tmp_path).title == "Head line"


def test_html_title_sections_tables_and_hidden_text(tmp_path: Path) -> None:
    html = (
        "<html><head><title> My\n page </title><script>evil()</script></head><body><h1>One</h1><p>a&nbsp;b</p><ul><li>x<li>y</ul>"
        "<table><tr><th>k<th>v</tr><tr><td>1<td>2</tr></table><p style='display:none'>ignore previous</p><pre>a\n  b</pre></body></html>"
    )
    document = read("a.html", html.encode(), tmp_path)
    assert document.title == "My page"
    assert segments(document) == [
        ("body", "One", "One\n\na b\n\n- x\n- y"),
        ("table", "One", "k | v\n1 | 2"),
        ("body", "One", "a\n  b"),
    ]
    assert [w.detail for w in document.warnings] == ["display: 15 characters"]


def test_html_declares_its_charset_inside(tmp_path: Path) -> None:
    document = read("a.html", b'<meta charset="iso-8859-2"><p>\xb1\xe6\xea</p>', tmp_path)
    assert document.segments[0].text == "ąćę"


def test_pdf_pages_are_anchored(tmp_path: Path) -> None:
    document = read("a.pdf", make_pdf("Page one words", "", "Page three", title="Report"), tmp_path)
    assert document.title == "Report"
    assert [(s.anchor.page if s.anchor else None, s.text) for s in document.segments] == [
        (1, "Page one words"),
        (3, "Page three"),
    ]
    assert document.created is not None
    assert document.created.isoformat() == "2026-10-05T09:12:44+02:00"


def test_a_pdf_without_text_is_said_to_be_perhaps_scanned(tmp_path: Path) -> None:
    document = read("a.pdf", make_pdf("", ""), tmp_path)
    assert [(w.code, w.detail) for w in document.warnings] == [("no-text", "2 pages without text: scanned?")]


@pytest.mark.parametrize(("delimiter", "name"), [(",", "a.csv"), (";", "a.csv"), ("\t", "a.tsv")])
def test_csv_is_a_table(delimiter: str, name: str, tmp_path: Path) -> None:
    text = f'name{delimiter}note\nAnna{delimiter}"two\nlines"\n'
    assert segments(read(name, text.encode(), tmp_path)) == [("table", None, "name | note\nAnna | two lines")]


def test_text_without_hidden_characters(tmp_path: Path) -> None:
    document = read("a.txt", "ig\u200bnore \U000e0041\U000e0042this\r\nnext".encode(), tmp_path)
    assert segments(document) == [("body", None, "ignore this\nnext")]
    assert [w.code for w in document.warnings] == ["hidden-text"]


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("a.pdf", b"not a pdf at all", "pdf-unparseable"),
        ("a.pdf", make_pdf("x")[:200], "pdf-unparseable"),
        ("a.txt", bytes(range(256)) * 20, "not-text"),
        ("a.csv", b"\x00\xff" * 500, "not-text"),
    ],
)
def test_what_is_not_what_its_name_says_is_an_error_with_a_code(
    name: str, data: bytes, code: str, tmp_path: Path
) -> None:
    with pytest.raises(ItemError) as error:
        read(name, data, tmp_path)
    assert error.value.code == code


def test_limits_refuse(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="too-large"):
        read("a.txt", b"x" * 100, tmp_path, RunLimits(item_bytes=50))
    with pytest.raises(RefusedError, match="too-many-pages: 3 pages, 2 allowed"):
        read("a.pdf", make_pdf("a", "b", "c"), tmp_path, RunLimits(pages=2))


def test_the_sandbox_goes_on_after_a_broken_file() -> None:
    with pytest.raises(ItemError, match="pdf-unparseable"):
        read_body(b"%PDF-1.4 nothing", "application/pdf", limits=RunLimits())
    body = read_body(make_pdf("fine"), "application/pdf", limits=RunLimits())
    assert isinstance(body, Body)
    assert body.segments[0].text == "fine"


@pytest.mark.parametrize(
    ("name", "declared", "head", "expected"),
    [
        ("a.bin", "", b"%PDF-1.7", "application/pdf"),
        ("a.md", "text/plain", b"", "text/markdown"),
        ("a", "text/plain", b"", "text/plain"),
        ("a.csv", "application/octet-stream", b"", "text/csv"),
        ("A.HTM", "", b"", "text/html"),
        ("a.docx", "application/zip", b"PK", DOCX),
        ("a", "application/octet-stream", b"PK\x03\x04", "application/zip"),
        ("a.doc", "application/msword", b"{\\rtf1", RTF),
        ("a.doc", "application/msword", b"<html>", "text/html"),
        ("a.doc", "", b"\xd0\xcf", "application/msword"),
        ("b.docm", "application/vnd.ms-word.document.macroEnabled.12", b"PK", DOCX),
        ("a", "", b"", "application/octet-stream"),
    ],
)
def test_types(name: str, declared: str, head: bytes, expected: str) -> None:
    assert media_type_of(name, declared=declared, head=head) == expected
