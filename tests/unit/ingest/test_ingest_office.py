"""Office files as their programs write them, dirty ones, and hostile ones."""

import datetime as dt
import io
import zipfile
from collections.abc import Mapping

import docx
import openpyxl
import pptx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openpyxl.comments import Comment
from pptx.util import Inches

from hearth_api.wire.ingest import RunLimits
from hearth_ingest.documents.body import DOCX, ODF_TYPES, PPTX, RTF, XLSX, Body
from hearth_ingest.documents.number_format import show
from hearth_ingest.documents.parsers import read_body
from hearth_ingest.errors import ItemError, RefusedError

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
ODF_NAMES = " ".join(
    f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
    for name in ("office", "text", "table", "style", "draw", "presentation")
)
REPAIRED = "xml-repaired: its XML is broken or nested too deeply: some of it may be missing"
BILLION = (
    '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY b{n} "{f"&b{n - 1};" * 10 if n else "&a;" * 10}">' for n in range(10))
    + "]>"
)
XXE = '<!DOCTYPE x [<!ENTITY b9 SYSTEM "file:///etc/passwd">]>'
HTTP = '<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd" [<!ENTITY b9 SYSTEM "http://127.0.0.1:9/x">]>'


def pack(files: Mapping[str, str | bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def word(body: str, head: str = "", *, more: Mapping[str, str | bytes] | None = None) -> bytes:
    return pack({"word/document.xml": f"{head}<w:document {W}><w:body>{body}</w:body></w:document>", **(more or {})})


def odf(body: str, head: str = "", styles: str = "") -> bytes:
    content = f"{head}<office:document-content {ODF_NAMES}><office:automatic-styles>{styles}</office:automatic-styles><office:body>{body}</office:body></office:document-content>"
    return pack({"mimetype": ODF_TYPES["text"], "content.xml": content, "Pictures/1.png": b"png"})


def read(data: bytes, kind: str, limits: RunLimits | None = None) -> Body:
    body = read_body(data, kind, limits=limits or RunLimits())
    assert body is not None
    return body


def shape(body: Body) -> list[tuple[object, ...]]:
    out: list[tuple[object, ...]] = []
    for one in body.segments:
        anchor = one.anchor
        out.append((one.role, (anchor.cell or anchor.slide or anchor.heading) if anchor else None, one.text))
    return out


def warned(body: Body) -> list[str]:
    return [f"{w.code}: {w.detail}" if w.detail else w.code for w in body.warnings]


def p(text: str, properties: str = "") -> str:
    return f"<w:p><w:r>{properties}<w:t>{text}</w:t></w:r></w:p>"


def test_a_word_document_as_a_library_writes_it() -> None:
    document = docx.Document()
    document.core_properties.title, document.core_properties.created = "The plan", dt.datetime(2026, 10, 5, 9, 0)
    document.add_heading("One", 1)
    document.add_paragraph("words")
    for text in ("a", "b"):
        document.add_paragraph(text, style="List Bullet")
    for text in ("c", "d"):
        document.add_paragraph(text, style="List Number")
    table = document.add_table(3, 2)
    for row, texts in enumerate((("k", "v"), ("x", "1"), ("", "2"))):
        for column, text in enumerate(texts):
            table.cell(row, column).text = text
    table.cell(1, 0).merge(table.cell(2, 0))
    document.add_heading("Two", 2)
    document.sections[0].header.paragraphs[0].text = "Confidential"
    out = io.BytesIO()
    document.save(out)
    body = read(out.getvalue(), DOCX)
    assert (body.title, body.created) == ("The plan", "2026-10-05T09:00:00Z")
    assert shape(body) == [
        ("body", "One", "One\n\nwords\n\n- a\n\n- b\n\n1. c\n\n2. d"),
        ("table", "One", "k | v\nx | 1\nx | 2"),
        ("body", "Two", "Two"),
    ]
    assert ("word/header1.xml", False, "page-header") in [(part.name, part.used, part.reason) for part in body.parts]


@pytest.mark.parametrize(
    ("xml", "text", "warning"),
    [
        (p("seen") + p("hidden", "<w:rPr><w:vanish/></w:rPr>"), "seen", "hidden-text: vanish: 6 characters"),
        (p("seen", '<w:rPr><w:vanish w:val="0"/></w:rPr>'), "seen", None),
        (p("seen") + p("white", '<w:rPr><w:color w:val="FFFFFF"/></w:rPr>'), "seen", "hidden-text: white-on-white: 5 characters"),
        (p("on dark", '<w:rPr><w:color w:val="FFFFFF"/><w:shd w:fill="000000"/></w:rPr>'), "on dark", None),
        (p("seen") + p("tiny", '<w:rPr><w:sz w:val="2"/></w:rPr>'), "seen", "hidden-text: font-size: 4 characters"),
        (p("new").replace("<w:r>", "<w:ins><w:r>").replace("</w:r>", "</w:r></w:ins><w:del><w:r><w:delText>old</w:delText></w:r></w:del>"), "new", "deleted-text: 1 tracked deletions left out"),
        ("<w:p><w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t></w:r></w:p>", "a\tb\nc", None),
        ("<w:p><w:r><w:pict><w:txbxContent>" + p("in a box") + "</w:txbxContent></w:pict></w:r></w:p>", "in a box", None),
        ("<w:p><w:r><mc:AlternateContent><mc:Choice>" + "<w:t>once</w:t>" + "</mc:Choice><mc:Fallback><w:t>once</w:t></mc:Fallback></mc:AlternateContent></w:r></w:p>", "once", None),
        ('<w:p><w:r><w:fldChar w:fldCharType="begin"/><w:instrText>X</w:instrText><w:t>code</w:t><w:fldChar w:fldCharType="separate"/><w:t>7</w:t><w:fldChar w:fldCharType="end"/></w:r></w:p>', "7", None),
        ("<w:sdt><w:sdtContent>" + p("control") + "</w:sdtContent></w:sdt>", "control", None),
        (p("a\u200bb"), "ab", "hidden-text: zero-width: 1 characters"),
        (p("cut") + "<w:p><w:r><w:t>off", "cut\n\noff", REPAIRED),
        (p("a &amp; b &nbsp; c"), "a & b  c", REPAIRED),
    ],
)  # fmt: skip
def test_what_of_a_word_document_is_content(xml: str, text: str, warning: str | None) -> None:
    body = read(word(xml), DOCX)
    assert "\n\n".join(one.text for one in body.segments) == text
    assert warned(body) == ([warning] if warning else [])


def test_notes_comments_links_and_macros_of_a_word_document() -> None:
    relations = "".join(
        f'<Relationship Id="r{n}" Type="x/{kind}" Target="{target}" {mode}/>'
        for n, (kind, target, mode) in enumerate(
            [("footnotes", "footnotes.xml", ""), ("comments", "comments.xml", ""), ("hyperlink", "https://e.org/x", 'TargetMode="External"')]
        )
    )  # fmt: skip
    more: dict[str, str | bytes] = {
        "word/_rels/document.xml.rels": f"<Relationships>{relations}</Relationships>",
        "word/footnotes.xml": f'<w:footnotes {W}><w:footnote w:id="2">{p("the note")}</w:footnote></w:footnotes>',
        "word/comments.xml": f'<w:comments {W}><w:comment w:id="1" w:author="Ann">{p("why?")}</w:comment></w:comments>',
        "word/vbaProject.bin": b"macro",
        "word/media/image1.png": b"png",
    }
    data = word(
        '<w:p><w:r><w:t>See</w:t><w:footnoteReference w:id="2"/></w:r><w:hyperlink w:id="r2"><w:r><w:t> here</w:t></w:r></w:hyperlink></w:p>',
        more=more,
    )
    body = read(data, DOCX)
    assert shape(body) == [
        ("body", None, "See[2] here (https://e.org/x)"),
        ("notes", None, "Footnote 2: the note"),
        ("notes", None, "Comment of Ann: why?"),
    ]
    assert warned(body) == ["macros-not-read: the file carries macros"]
    assert {part.name: part.reason for part in body.parts if not part.used} == {
        "word/vbaProject.bin": "macros-not-read",
        "word/media/image1.png": "media-not-read",
    }


def make_slides() -> bytes:
    show_ = pptx.Presentation()
    first = show_.slides.add_slide(show_.slide_layouts[1])
    first.shapes.title.text, first.placeholders[1].text = "Goals", "grow\nlearn"
    first.notes_slide.notes_text_frame.text = "say it slowly"
    table = first.shapes.add_table(2, 2, 0, 0, Inches(2), Inches(1)).table
    for row, column, text in ((0, 0, "k"), (0, 1, "v"), (1, 0, "x"), (1, 1, "1")):
        table.cell(row, column).text = text
    group = first.shapes.add_group_shape()
    group.shapes.add_textbox(0, 0, 9, 9).text_frame.text = "grouped"
    hidden = show_.slides.add_slide(show_.slide_layouts[5])
    hidden.shapes.title.text = "Secret"
    hidden._element.set("show", "0")
    last = show_.slides.add_slide(show_.slide_layouts[5])
    last.shapes.title.text = "End"
    out = io.BytesIO()
    show_.save(out)
    return out.getvalue()


def test_slides_tables_groups_notes_and_hidden_slides() -> None:
    body = read(make_slides(), PPTX)
    assert body.title == "Goals"
    assert [(s.role, s.anchor.slide if s.anchor else 0, s.text) for s in body.segments] == [
        ("body", 1, "Goals\ngrow\nlearn\ngrouped"),
        ("table", 1, "k | v\nx | 1"),
        ("notes", 1, "say it slowly"),
        ("body", 3, "End"),
    ]
    assert warned(body) == ["hidden-text: hidden-slide: 6 characters"]
    assert [part.name for part in body.parts if part.reason == "hidden-slide"] == ["ppt/slides/slide2.xml"]
    with pytest.raises(RefusedError, match="too-many-pages"):
        read(make_slides(), PPTX, RunLimits(pages=2))


def make_workbook() -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Plan 26"
    sheet.append(["Who", "When", "Share", "Cost", "Sum"])
    sheet.append(["Ann", dt.date(2026, 3, 1), 0.125, 1234.5, "=1+1"])
    sheet.append(["Bob", dt.datetime(2026, 3, 2, 14, 30), 1, -3, True])
    for cell, form in (("C2", "0.0%"), ("C3", "0%"), ("D2", '#,##0.00 "EUR"'), ("D3", "#,##0.00")):
        sheet[cell].number_format = form
    sheet["A2"].comment = Comment("ask her", "me")
    sheet["A7"], sheet["B7"] = "Cat", 7
    sheet["A8"], sheet["B8"], sheet["C8"] = "hidden", "row", "x"
    sheet.row_dimensions[8].hidden = True
    sheet["H2"] = "in a hidden column"
    sheet.column_dimensions["H"].hidden = True
    secret = book.create_sheet("Secret")
    secret["A1"], secret.sheet_state = "unseen", "veryHidden"
    book.create_sheet("Empty")
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def test_a_workbook_is_read_as_it_is_displayed() -> None:
    body = read(make_workbook(), XLSX)
    assert shape(body) == [
        (
            "table",
            "Plan 26!A1:E3",
            "Who | When | Share | Cost | Sum\nAnn | 2026-03-01 | 12.5% | 1,234.50 EUR | =1+1\nBob | 2026-03-02 14:30:00 | 100% | -3.00 | TRUE",
        ),
        ("table", "Plan 26!A7:E7", "Who | When | Share | Cost | Sum\nCat | 7 |  |  | "),
        ("notes", "Plan 26!A2", "A2: ask her"),
    ]
    assert warned(body) == [
        "formula-without-value: formulas that were never calculated are shown themselves",
        "hidden-text: hidden-column: 18 characters, hidden-row: 10 characters, hidden-sheet: 6 characters",
    ]


def test_the_header_is_repeated_in_every_block() -> None:
    book = openpyxl.Workbook()
    book.active.append(["Name", "Number"])
    for number in range(100):
        book.active.append([f"n{number}", number])
    book.active["A5000"] = "far away"
    out = io.BytesIO()
    book.save(out)
    body = read(out.getvalue(), XLSX)
    assert [one[1] for one in shape(body)] == ["Sheet!A1:B41", "Sheet!A42:B81", "Sheet!A82:B101", "Sheet!A5000:B5000"]
    assert all(one.text.startswith("Name | Number\n") for one in body.segments)


def test_tables_of_text_are_blocks_with_anchors_too() -> None:
    text = "Name;Number\n" + "".join(f"n{number};{number},5\n" for number in range(50))
    body = read(text.encode(), "text/csv")
    assert [one[1] for one in shape(body)] == ["A1:B41", "A42:B51"]
    assert body.segments[1].text.startswith("Name | Number\nn40 | 40,5\n")
    latin = read("Straße\tOrt\nHauptstraße\tKöln\n".encode("cp1252"), "text/tab-separated-values")
    assert latin.segments[0].text == "Straße | Ort\nHauptstraße | Köln"


def sheet_xml(rows: str, more: str = "") -> bytes:
    main = 'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
    return pack(
        {
            "xl/workbook.xml": f'<workbook {main}><sheets><sheet name="S" sheetId="1" r:id="r1"/></sheets></workbook>',
            "xl/_rels/workbook.xml.rels": '<Relationships><Relationship Id="r1" Type="x/worksheet" Target="/xl/s.xml"/></Relationships>',
            "xl/s.xml": f"<worksheet><sheetData>{rows}</sheetData>{more}</worksheet>",
        }
    )


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ('<row r="2"><c r="B2" t="str"><f>x</f><v>cached</v></c></row>', [("S!B2", "cached")]),
        (
            '<row><c t="inlineStr"><is><r><t>a</t></r><r><t>b</t></r><rPh><t>no</t></rPh></is></c></row>',
            [("S!A1", "ab")],
        ),
        ('<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>', [("S!XFD1048576", "1")]),
        ('<row r="1"><c r="XFE1"><v>1</v></c><c r="A1"/></row>', []),
        ('<row r="x"><c r="??" t="s"><v>99</v></c><c><v>nan</v></c><c s="77"><v>0.1</v></c></row>', [("S!C1", "0.1")]),
        ('<row r="1"><c r="A1" t="e"><v>#REF!</v></c></row><row r="2"><c r="A2"><v>5', [("S!A1:A2", "#REF!\n5")]),
    ],
)
def test_odd_sheets(rows: str, expected: list[tuple[str, str]]) -> None:
    body = read(sheet_xml(rows), XLSX)
    assert [(one[1], one[2]) for one in shape(body)][: len(expected)] == expected


def test_cells_merged_downwards_are_repeated() -> None:
    rows = "".join(f'<row r="{n}"><c r="B{n}" t="str"><v>{n}</v></c></row>' for n in (2, 3))
    rows = rows.replace('<c r="B2"', '<c r="A2" t="str"><v>group</v></c><c r="B2"', 1)
    body = read(sheet_xml(rows, '<mergeCells><mergeCell ref="A2:A3"/></mergeCells>'), XLSX)
    assert [one[2] for one in shape(body)] == ["group | 2\ngroup | 3"]


@pytest.mark.parametrize(
    ("value", "code", "text"),
    [
        (46082, "dd.mm.yyyy", "2026-03-01"), (46082.5, "yyyy\\-mm\\-dd\\ hh:mm", "2026-03-01 12:00"), (0.25, "h:mm AM/PM", "06:00"),
        (1.5, "[h]:mm:ss", "36:00:00"), (0.5, "0%", "50%"), (1234567.891, "#,##0.0", "1,234,567.9"), (5, "0.00", "5.00"), (5, "0.##", "5"),
        (12, "[$€-407] #,##0.00", "€ 12.00"), (-5, "0;(0)", "(5)"), (-5, "0.0", "-5.0"), (3, '"Q"0', "Q3"), (1e20, "", "1e+20"), (0.1 + 0.2, "", "0.3"),
        (46082, "[$-F800]dddd, mmmm d, yyyy", "2026-03-01"), (1, "mmm", "01"), (-1, "yyyy-mm-dd", "-1"), (7, "General", "7"), (5, "_-* #,##0 _-", "5"),
    ],
)  # fmt: skip
def test_numbers_as_displayed(value: float, code: str, text: str) -> None:
    assert show(value, code) == text


def test_opendocument_text() -> None:
    styles = '<style:style style:name="H"><style:text-properties text:display="none"/></style:style>'
    body = read(
        odf(
            '<office:text><text:tracked-changes><text:p>gone</text:p></text:tracked-changes><text:h text:outline-level="1">Head</text:h>'
            '<text:p>a<text:s text:c="2"/>b<text:note><text:note-citation>1</text:note-citation><text:note-body><text:p>foot</text:p></text:note-body></text:note>'
            '<text:span text:style-name="H">secret</text:span></text:p><text:list><text:list-item><text:p>one</text:p></text:list-item></text:list>'
            "<table:table><table:table-row><table:table-cell><text:p>k</text:p></table:table-cell><table:table-cell><text:p>v</text:p></table:table-cell></table:table-row></table:table></office:text>",
            styles=styles,
        ),
        ODF_TYPES["text"],
    )
    assert shape(body) == [
        ("body", "Head", "Head\n\na  b\n\n- one"),
        ("table", "Head", "k | v"),
        ("notes", None, "Footnote: foot"),
    ]
    assert warned(body) == ["hidden-text: display: 6 characters"]
    assert [(part.name, part.reason) for part in body.parts if not part.used] == [("Pictures/1.png", "media-not-read")]


def test_opendocument_sheets_with_millions_of_repeated_cells() -> None:
    def cell(text: str, more: str = "") -> str:
        return f'<table:table-cell office:value-type="string" {more}><text:p>{text}</text:p></table:table-cell>'

    empty = '<table:table-row table:number-rows-repeated="1048000"><table:table-cell table:number-columns-repeated="16384"/></table:table-row>'
    rows = f'<table:table-row>{cell("k")}{cell("v")}</table:table-row><table:table-row>{cell("x")}<table:table-cell office:value-type="float" office:value="2.5"><text:p>2,50 €</text:p></table:table-cell></table:table-row>'
    hidden = f'<table:table-row table:visibility="collapse">{cell("hid")}</table:table-row>'
    body = read(odf(f'<office:spreadsheet><table:table table:name="T">{rows}{hidden}{empty}<table:table-row>{cell("end")}</table:table-row></table:table></office:spreadsheet>'), ODF_TYPES["spreadsheet"])  # fmt: skip
    assert shape(body) == [("table", "T!A1:B2", "k | v\nx | 2,50 €"), ("table", "T!A1048004:B1048004", "k | v\nend | ")]
    assert warned(body) == ["hidden-text: hidden-row: 3 characters"]


def test_opendocument_slides() -> None:
    page = '<draw:page draw:name="p"><draw:frame presentation:class="title"><draw:text-box><text:p>Hello</text:p></draw:text-box></draw:frame><draw:frame><draw:text-box><text:p>body</text:p></draw:text-box></draw:frame><presentation:notes><draw:frame><draw:text-box><text:p>say</text:p></draw:text-box></draw:frame></presentation:notes></draw:page>'
    body = read(odf(f"<office:presentation>{page}</office:presentation>"), ODF_TYPES["presentation"])
    assert [(s.role, s.anchor.slide if s.anchor else 0, s.text) for s in body.segments] == [
        ("body", 1, "Hello\nbody"),
        ("notes", 1, "say"),
    ]


@pytest.mark.parametrize(
    ("rtf", "text", "warning"),
    [
        (rb"{\rtf1\ansi\ansicpg1250 \'9elu\'9d}", "žluť", None),
        (
            rb"{\rtf1\ansi\ansicpg1252{\fonttbl{\f0\fcharset0 Arial;}{\f1\fcharset204 Arial;}}\f1\'ef\'f0\f0 x}",
            "прx",
            None,
        ),
        (rb"{\rtf1\ansi\ansicpg932 \'93\'fa\'96\'7b}", "日本", None),
        (rb"{\rtf1 \u8364?\u-10179?\u-8704?\uc0\u228 x}", "€😀äx", None),
        (
            rb"{\rtf1 seen{\v hidden}\v0  on\par two\line three}",
            "seen on\n\ntwo\nthree",
            "hidden-text: vanish: 6 characters",
        ),
        (rb"{\rtf1 a{\*\unknown drop}{\pict\bin3 }}}}b{\object{\*\objdata 00ff}{\result shown}}}", "abshown", None),
        (rb"{\rtf1 \trowd\intbl k\cell v\cell\row\pard after\par}", "k | v\n\nafter", None),
        (rb"{\rtf1 {\field{\*\fldinst HYPERLINK}{\fldrslt words}} {\deleted gone}\{x\}}", "words {x}", None),
        (rb"{\rtf1 cut {\b off", "cut off", "office-cut: it ends in the middle"),
        (rb"{\rtf1 main{\footnote the note}.}", "main.\n\nFootnote: the note", None),
    ],
)
def test_rtf(rtf: bytes, text: str, warning: str | None) -> None:
    body = read(rtf, RTF)
    assert "\n\n".join(one.text for one in body.segments) == text
    assert warned(body) == ([warning] if warning else [])


@pytest.mark.parametrize("head", [BILLION, XXE, HTTP])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be"])
def test_entities_are_refused(head: str, encoding: str) -> None:
    xml = f'<?xml version="1.0" encoding="{encoding}"?>{head}<w:document {W}><w:body>{p("&b9;")}</w:body></w:document>'
    with pytest.raises(RefusedError, match="xml-with-entities"):
        read(pack({"word/document.xml": xml.encode(encoding)}), DOCX)
    with pytest.raises(RefusedError, match="xml-with-entities"):
        read(odf("<office:text><text:p>&b9;</text:p></office:text>", head), ODF_TYPES["text"])
    with pytest.raises(RefusedError, match="xml-with-entities"):
        read(pack({"xl/workbook.xml": f"{head}<workbook/>"}), XLSX)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "office-unparseable"),
        (b"PK\3\4 broken", "office-unparseable"),
        (pack({"x": "y"}), "office-unparseable"),
        (word(p("x"))[:150], "office-unparseable"),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 500 + "EncryptedPackage".encode("utf-16-le"),
            "office-encrypted",
        ),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 500, "office-old"),
        (pack({"word/document.xml": b"\0" * 30_000_000}), "expands-too-far"),
    ],
)
def test_files_that_cannot_be_read(data: bytes, code: str) -> None:
    with pytest.raises(ItemError) as error:
        read(data, DOCX)
    assert error.value.code == code


def test_limits_of_size_and_depth() -> None:
    with pytest.raises(RefusedError, match="expands-too-far"):
        read(word(p("x" * 5000)), DOCX, RunLimits(expanded_bytes=1000))
    with pytest.raises(RefusedError, match="too-many-entries"):
        read(pack({f"{n}": "" for n in range(30)}), DOCX, RunLimits(entries=20))
    deep = "<w:tbl><w:tr><w:tc>" * 5000 + p("x") + "</w:tc></w:tr></w:tbl>" * 5000
    assert warned(read(word(p("first") + deep), DOCX)) == [REPAIRED]
    with pytest.raises(RefusedError, match="too-deep"):
        read(b"{\\rtf1" + b"{" * 5000, RTF)


SAMPLES = {
    DOCX: word(p("words") + "<w:tbl><w:tr><w:tc>" + p("x") + "</w:tc></w:tr></w:tbl>"),
    XLSX: sheet_xml('<row r="1"><c r="A1" t="str"><v>a</v></c></row>'),
    ODF_TYPES["text"]: odf("<office:text><text:p>x</text:p></office:text>"),
    RTF: rb"{\rtf1\ansi{\fonttbl{\f0\fcharset204 A;}}\f0 \'e0\u8364? \trowd a\cell\row{\v x}}",
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), st.sampled_from(sorted(SAMPLES)))
def test_any_damage_gives_a_body_or_an_error(data: st.DataObject, kind: str) -> None:
    raw = bytearray(SAMPLES[kind])
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        read(bytes(raw), kind)
    except ItemError as error:
        died = error.code == "parser-died"
        died_of = error.detail
    else:
        died, died_of = False, ""
    assert not died, died_of


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from([*["<w:p>", "</w:p>", "<w:r>", "</w:r>", "<w:t>x", "</w:t>", "<w:tbl>", "<w:tr>", "<w:tc>", "</w:tbl>", "<w:ins>", "<w:sdt>", "&x;", "<mc:AlternateContent>", "<w:fldChar w:fldCharType='end'/>", "<w:vMerge/>", "<w:gridSpan w:val='-9'/>", "<w:tcPr>", "</w:tcPr>", "<w:pPr>", "<w:numPr><w:ilvl w:val='q'/><w:numId w:val='1'/>"]]), max_size=25))  # fmt: skip
def test_any_markup_gives_a_body_or_an_error(pieces: list[str]) -> None:
    try:
        read(word("".join(pieces)), DOCX)
    except ItemError as error:
        code = error.code
    else:
        code = "office-unparseable"
    assert code == "office-unparseable"
