"""Write the office documents of the sample month from `sources/office/*.<format>.txt`, as zips of XML, and RTF.

Text formats: `# ` and `## ` begin headings, `| a | b` is a row of a table, `- ` an item, any other line a paragraph.
Slides: `# ` begins a slide with its title, `> ` is a line of the speaker's notes. Sheets: `# ` begins a sheet, `;`
separates its cells. A folder `<name>.zip` becomes an archive of what its files become.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from xml.sax.saxutils import escape

HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
SLIDE = "http://schemas.openxmlformats.org/presentationml/2006/main"
DRAWING = "http://schemas.openxmlformats.org/drawingml/2006/main"
OPEN = "urn:oasis:names:tc:opendocument:xmlns"

Table = list[list[str]]


def build_office(sources: Path) -> dict[str, bytes]:
    """Return the documents by their paths."""
    return dict(_build_folder(sources))


def _build_folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            members = dict(_build_folder(path))
            yield path.name, zip_files(members) if path.suffix == ".zip" else b""
            continue
        name = path.name.removesuffix(".txt")
        text = path.read_text(encoding="utf-8")
        build = FORMATS.get(Path(name).suffix)
        yield (name, build(text)) if build and name != path.name else (path.name, text.encode())


def zip_files(files: dict[str, bytes]) -> bytes:
    """Return an archive without compression and with one fixed date."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name, (2026, 11, 20, 12, 0, 0))
            info.create_system, info.external_attr = 3, 0o644 << 16
            archive.writestr(info, data)
    return out.getvalue()


def _package(parts: dict[str, tuple[str, str]], *, relations: dict[str, list[tuple[str, str]]]) -> bytes:
    """Return an OPC package. `parts`: name to (content type, XML); `relations`: owner to (type, target) pairs."""
    overrides = "".join(f'<Override PartName="/{name}" ContentType="{kind}"/>' for name, (kind, _) in parts.items())
    xml = "application/xml"
    rels = "application/vnd.openxmlformats-package.relationships+xml"
    types = f'<Default Extension="rels" ContentType="{rels}"/><Default Extension="xml" ContentType="{xml}"/>'
    files = {"[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types">{types}{overrides}</Types>'}
    for owner, targets in relations.items():
        folder, _, name = owner.rpartition("/")
        entries = "".join(
            f'<Relationship Id="rId{number}" Type="{OFFICE}/{kind}" Target="{target}"/>'
            for number, (kind, target) in enumerate(targets, start=1)
        )
        place = f"{folder}/_rels/{name}.rels" if folder else f"_rels/{name}.rels"
        files[place] = f'<Relationships xmlns="{PACKAGE}/relationships">{entries}</Relationships>'
    files |= {name: xml for name, (_, xml) in parts.items()}
    return zip_files({name: (HEAD + xml).encode() for name, xml in files.items()})


def _blocks(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield ("table", rows), ("h1" | "h2" | "item" | "p", [line])."""
    lines = [line for line in text.splitlines() if line.strip()]
    for is_row, group in groupby(lines, key=lambda line: line.startswith("|")):
        if is_row:
            yield "table", list(group)
            continue
        for line in group:
            for mark, kind in (("# ", "h1"), ("## ", "h2"), ("- ", "item"), ("", "p")):
                if line.startswith(mark):
                    yield kind, [line.removeprefix(mark)]
                    break


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip().strip("|").split("|")]


def build_docx(text: str) -> bytes:
    def paragraph(line: str, style: str = "") -> str:
        look = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
        return f'<w:p>{look}<w:r><w:t xml:space="preserve">{escape(line)}</w:t></w:r></w:p>'

    body = ""
    for kind, lines in _blocks(text):
        if kind == "table":
            rows = "".join(
                "<w:tr>" + "".join(f"<w:tc><w:tcPr/>{paragraph(cell)}</w:tc>" for cell in _cells(row)) + "</w:tr>"
                for row in lines
            )
            columns = "<w:gridCol/>" * len(_cells(lines[0]))
            body += f"<w:tbl><w:tblPr/><w:tblGrid>{columns}</w:tblGrid>{rows}</w:tbl>"
        else:
            body += paragraph(lines[0], {"h1": "Heading1", "h2": "Heading2", "item": "ListBullet"}.get(kind, ""))
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="{key}"><w:name w:val="{name}"/></w:style>'
        for key, name in (("Heading1", "heading 1"), ("Heading2", "heading 2"), ("ListBullet", "List Bullet"))
    )
    kind = "application/vnd.openxmlformats-officedocument.wordprocessingml"
    parts = {
        "word/document.xml": (
            f"{kind}.document.main+xml",
            f'<w:document xmlns:w="{WORD}"><w:body>{body}<w:sectPr/></w:body></w:document>',
        ),
        "word/styles.xml": (f"{kind}.styles+xml", f'<w:styles xmlns:w="{WORD}">{styles}</w:styles>'),
    }
    relations = {"": [("officeDocument", "word/document.xml")], "word/document.xml": [("styles", "styles.xml")]}
    return _package(parts, relations=relations)


def _sheets(text: str) -> list[tuple[str, Table]]:
    found: list[tuple[str, Table]] = []
    for line in text.splitlines():
        if line.startswith("# "):
            found.append((line[2:], []))
        elif line.strip():
            found[-1][1].append([cell.strip() for cell in line.split(";")])
    return found


def _number(cell: str) -> bool:
    return cell.replace(".", "", 1).replace("-", "", 1).isdigit() and not cell.startswith("0")


def build_xlsx(text: str) -> bytes:
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    sheets = _sheets(text)
    parts, names, targets = {}, "", []
    for number, (name, rows) in enumerate(sheets, start=1):
        body = ""
        for r, row in enumerate(rows, start=1):
            cells = ""
            for c, cell in enumerate(row):
                place = f"{chr(65 + c)}{r}"
                if _number(cell):
                    cells += f'<c r="{place}"><v>{cell}</v></c>'
                elif cell:
                    cells += f'<c r="{place}" t="inlineStr"><is><t>{escape(cell)}</t></is></c>'
            body += f'<row r="{r}">{cells}</row>'
        xml = f'<worksheet xmlns="{SHEET}"><sheetData>{body}</sheetData></worksheet>'
        parts[f"xl/worksheets/sheet{number}.xml"] = (f"{kind}.worksheet+xml", xml)
        names += f'<sheet name="{escape(name)}" sheetId="{number}" r:id="rId{number}"/>'
        targets.append(("worksheet", f"worksheets/sheet{number}.xml"))
    book = f'<workbook xmlns="{SHEET}" xmlns:r="{OFFICE}"><sheets>{names}</sheets></workbook>'
    parts = {"xl/workbook.xml": (f"{kind}.sheet.main+xml", book), **parts}
    return _package(parts, relations={"": [("officeDocument", "xl/workbook.xml")], "xl/workbook.xml": targets})


def _slides(text: str) -> list[tuple[str, list[str], list[str]]]:
    """Return (title, lines, notes) of each slide."""
    found: list[tuple[str, list[str], list[str]]] = []
    for line in text.splitlines():
        if line.startswith("# "):
            found.append((line[2:], [], []))
        elif line.startswith("> "):
            found[-1][2].append(line[2:])
        elif line.strip():
            found[-1][1].append(line.removeprefix("- "))
    return found


def _shape(number: int, lines: list[str], *, place: str) -> str:
    text = "".join(f"<a:p><a:r><a:t>{escape(line)}</a:t></a:r></a:p>" for line in lines) or "<a:p/>"
    index = ' idx="1"' if place == "body" else ""
    return (
        f'<p:sp><p:nvSpPr><p:cNvPr id="{number}" name="{place} {number}"/><p:cNvSpPr/>'
        f'<p:nvPr><p:ph type="{place}"{index}/></p:nvPr></p:nvSpPr><p:spPr/>'
        f"<p:txBody><a:bodyPr/><a:lstStyle/>{text}</p:txBody></p:sp>"
    )


def _tree(root: str, shapes: str, *, after: str = "") -> str:
    group = '<p:nvGrpSpPr><p:cNvPr id="1" name=""/><p:cNvGrpSpPr/><p:nvPr/></p:nvGrpSpPr><p:grpSpPr/>'
    names = f'xmlns:a="{DRAWING}" xmlns:r="{OFFICE}" xmlns:p="{SLIDE}"'
    return f"<p:{root} {names}><p:cSld><p:spTree>{group}{shapes}</p:spTree></p:cSld>{after}</p:{root}>"


def build_pptx(text: str) -> bytes:
    kind = "application/vnd.openxmlformats-officedocument.presentationml"
    colours = " ".join(f'{key}="{value}"' for key, value in _COLOUR_MAP)
    master_end = (
        f'<p:clrMap {colours}/><p:sldLayoutIdLst><p:sldLayoutId id="2147483649" r:id="rId1"/></p:sldLayoutIdLst>'
    )
    parts = {
        "ppt/slideMasters/slideMaster1.xml": (f"{kind}.slideMaster+xml", _tree("sldMaster", "", after=master_end)),
        "ppt/slideLayouts/slideLayout1.xml": (f"{kind}.slideLayout+xml", _tree("sldLayout", "")),
    }
    relations = {
        "": [("officeDocument", "ppt/presentation.xml")],
        "ppt/presentation.xml": [("slideMaster", "slideMasters/slideMaster1.xml")],
        "ppt/slideMasters/slideMaster1.xml": [("slideLayout", "../slideLayouts/slideLayout1.xml")],
        "ppt/slideLayouts/slideLayout1.xml": [("slideMaster", "../slideMasters/slideMaster1.xml")],
    }
    listed = ""
    for number, (title, lines, notes) in enumerate(_slides(text), start=1):
        shapes = _shape(2, [title], place="title") + _shape(3, lines, place="body")
        parts[f"ppt/slides/slide{number}.xml"] = (f"{kind}.slide+xml", _tree("sld", shapes))
        relations["ppt/presentation.xml"].append(("slide", f"slides/slide{number}.xml"))
        relations[f"ppt/slides/slide{number}.xml"] = [("slideLayout", "../slideLayouts/slideLayout1.xml")]
        listed += f'<p:sldId id="{255 + number}" r:id="rId{number + 1}"/>'
        if notes:
            name = f"ppt/notesSlides/notesSlide{number}.xml"
            parts[name] = (f"{kind}.notesSlide+xml", _tree("notes", _shape(2, notes, place="body")))
            relations[f"ppt/slides/slide{number}.xml"].append(("notesSlide", f"../notesSlides/notesSlide{number}.xml"))
            relations[name] = [("slide", f"../slides/slide{number}.xml")]
    names = f'xmlns:a="{DRAWING}" xmlns:r="{OFFICE}" xmlns:p="{SLIDE}"'
    masters = '<p:sldMasterIdLst><p:sldMasterId id="2147483648" r:id="rId1"/></p:sldMasterIdLst>'
    size = '<p:sldSz cx="9144000" cy="6858000"/><p:notesSz cx="6858000" cy="9144000"/>'
    show = f"<p:presentation {names}>{masters}<p:sldIdLst>{listed}</p:sldIdLst>{size}</p:presentation>"
    parts["ppt/presentation.xml"] = (f"{kind}.presentation.main+xml", show)
    return _package(parts, relations=relations)


_COLOUR_MAP = [
    ("bg1", "lt1"), ("tx1", "dk1"), ("bg2", "lt2"), ("tx2", "dk2"), ("accent1", "accent1"), ("accent2", "accent2"),
    ("accent3", "accent3"), ("accent4", "accent4"), ("accent5", "accent5"), ("accent6", "accent6"),
    ("hlink", "hlink"), ("folHlink", "folHlink"),
]  # fmt: skip


def _open_document(kind: str, body: str) -> bytes:
    media = f"application/vnd.oasis.opendocument.{kind}"
    names = " ".join(
        f'xmlns:{name}="{OPEN}:{name}:1.0"' for name in ("office", "text", "table", "presentation", "style")
    )
    names += f' xmlns:draw="{OPEN}:drawing:1.0"'
    content = f'<office:document-content {names} office:version="1.3"><office:body>{body}</office:body></office:document-content>'
    entries = "".join(
        f'<manifest:file-entry manifest:full-path="{path}" manifest:media-type="{of}"/>'
        for path, of in (("/", media), ("content.xml", "text/xml"))
    )
    manifest = f'<manifest:manifest xmlns:manifest="{OPEN}:manifest:1.0">{entries}</manifest:manifest>'
    files = {"content.xml": HEAD + content, "META-INF/manifest.xml": HEAD + manifest}
    return zip_files({"mimetype": media.encode(), **{name: xml.encode() for name, xml in files.items()}})


def _open_table(name: str, rows: Table) -> str:
    body = ""
    for row in rows:
        cells = ""
        for cell in row:
            kind = f'office:value-type="float" office:value="{cell}"' if _number(cell) else 'office:value-type="string"'
            cells += f"<table:table-cell {kind}><text:p>{escape(cell)}</text:p></table:table-cell>"
        body += f"<table:table-row>{cells}</table:table-row>"
    return f'<table:table table:name="{escape(name)}">{body}</table:table>'


def build_odt(text: str) -> bytes:
    body = ""
    for kind, lines in _blocks(text):
        line = escape(lines[0])
        if kind == "table":
            body += _open_table("Table", [_cells(row) for row in lines])
        elif kind in ("h1", "h2"):
            body += f'<text:h text:outline-level="{kind[1]}">{line}</text:h>'
        elif kind == "item":
            body += f"<text:list><text:list-item><text:p>{line}</text:p></text:list-item></text:list>"
        else:
            body += f"<text:p>{line}</text:p>"
    return _open_document("text", f"<office:text>{body}</office:text>")


def build_ods(text: str) -> bytes:
    body = "".join(_open_table(name, rows) for name, rows in _sheets(text))
    return _open_document("spreadsheet", f"<office:spreadsheet>{body}</office:spreadsheet>")


def build_odp(text: str) -> bytes:
    def frame(lines: list[str]) -> str:
        return (
            "<draw:frame><draw:text-box>"
            + "".join(f"<text:p>{escape(line)}</text:p>" for line in lines)
            + "</draw:text-box></draw:frame>"
        )

    body = ""
    for title, lines, notes in _slides(text):
        spoken = f"<presentation:notes>{frame(notes)}</presentation:notes>" if notes else ""
        body += f'<draw:page draw:name="{escape(title)}">{frame([title])}{frame(lines)}{spoken}</draw:page>'
    return _open_document("presentation", f"<office:presentation>{body}</office:presentation>")


def build_rtf(text: str) -> bytes:
    lines = []
    for line in text.splitlines():
        shown = line.replace("\\", "\\\\").replace("{", "\\{").replace("}", "\\}")
        bold, shown = shown.startswith("# "), shown.removeprefix("# ")
        raw = "".join(each if each.isascii() else _rtf_escape(each) for each in shown)
        lines.append(f"{{\\b {raw}}}\\par" if bold else f"{raw}\\par")
    head = "{\\rtf1\\ansi\\ansicpg1252\\deff0{\\fonttbl{\\f0 Arial;}}{\\*\\generator Heron;}\\f0\\fs22"
    return ("\n".join([head, *lines]) + "\n}\n").encode("ascii")


def _rtf_escape(character: str) -> str:
    try:
        return "".join(f"\\'{byte:02x}" for byte in character.encode("cp1252"))
    except UnicodeEncodeError:
        return f"\\u{ord(character)}?"


FORMATS: dict[str, Callable[[str], bytes]] = {
    ".docx": build_docx, ".xlsx": build_xlsx, ".pptx": build_pptx, ".odt": build_odt, ".ods": build_ods,
    ".odp": build_odp, ".rtf": build_rtf,
}  # fmt: skip
