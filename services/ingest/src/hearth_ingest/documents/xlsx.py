"""XLSX: each sheet as blocks of rows under their header, cells as displayed. Runs in the sandbox."""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from lxml import etree

from hearth_api.wire.documents import Segment
from hearth_api.wire.ingest import RunLimits
from hearth_ingest.documents.body import Body, segment
from hearth_ingest.documents.grid import MAX_CELLS, build_grid, parse_reference
from hearth_ingest.documents.number_format import built_in, is_date, show
from hearth_ingest.documents.package import Package
from hearth_ingest.documents.rich import Notes
from hearth_ingest.documents.xml import Element, attribute, child, children, descendants, name_of, refuse_dtd
from hearth_ingest.errors import ItemError

_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
_MAX_COLUMN = 16_384
_MAX_MERGED = 10_000


def read_xlsx(data: bytes, limits: RunLimits) -> Body:
    """Return a workbook's visible sheets. Raises ItemError."""
    package = Package(data, limits)
    main = package.main_part("xl/workbook.xml")
    root = package.xml(main)
    if root is None or child(root, "sheets") is None:
        if package.read("xl/workbook.bin") is not None:
            raise ItemError("office-old", "a binary workbook: save it as XLSX")
        raise ItemError("office-unparseable", "it holds no workbook")
    relations = package.relations(main)
    by_kind = dict(relations.values())
    notes = Notes()
    book = _Book(
        strings=_read_strings(package.xml(by_kind.get("sharedStrings", "xl/sharedStrings.xml"))),
        formats=_read_formats(package.xml(by_kind.get("styles", "xl/styles.xml"))),
        from_1904=_is_1904(child(root, "workbookPr")),
        notes=notes,
    )
    segments: list[Segment] = []
    reasons: dict[str, str] = {}
    for entry in children(child(root, "sheets"), "sheet"):
        name = attribute(entry, "name") or "Sheet"
        link = next((value for key, value in entry.attrib.items() if key.endswith("}id")), "")
        target = relations.get(link, ("", ""))[1]
        data_xml = package.read(target) if target and not target.endswith(".bin") else None
        if data_xml is None or "chartsheet" in target.lower():
            continue
        sheet = _Sheet(book)
        sheet.read(data_xml)
        if (attribute(entry, "state") or "visible") != "visible":
            reasons[target] = "hidden-sheet"
            notes.hide("hidden-sheet", " ".join(text for row in sheet.rows.values() for text in row.values()))
            continue
        segments.extend(build_grid(notes.tidy(name), sheet.rows, numeric=frozenset(sheet.numeric)))
        segments.extend(_comments(package, target, notes.tidy(name), notes))
    title, created = package.properties()
    package.remark(notes.warn)
    return Body(
        title=notes.tidy(title),
        segments=tuple(segments),
        warnings=notes.all(empty=not segments),
        created=created,
        parts=package.parts(reasons),
    )


def _is_1904(properties: Element | None) -> bool:
    return properties is not None and attribute(properties, "date1904") in {"1", "true"}


@dataclass(slots=True, kw_only=True)
class _Book:
    strings: list[str]
    formats: list[str]
    from_1904: bool
    notes: Notes
    cells: int = 0


def _words(element: Element) -> str:
    """Return a rich text's words; readings (rPh) are for pronunciation only."""
    out = []
    for part in element:
        if name_of(part) == "t":
            out.append(part.text or "")
        elif name_of(part) == "r":
            out.extend(text.text or "" for text in children(part, "t"))
    return _unescape("".join(out))


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text) if "_x" in text else text


def _read_strings(root: Element | None) -> list[str]:
    return [_words(item) for item in children(root, "si")] if root is not None else []


def _read_formats(root: Element | None) -> list[str]:
    if root is None:
        return []
    own = (
        {
            attribute(form, "numFmtId"): attribute(form, "formatCode") or ""
            for form in children(child(root, "numFmts"), "numFmt")
        }
        if child(root, "numFmts") is not None
        else {}
    )
    out = []
    cells = child(root, "cellXfs")
    for style in children(cells, "xf") if cells is not None else ():
        number = attribute(style, "numFmtId") or "0"
        out.append(own[number] if number in own else built_in(int(number) if number.isdecimal() else 0))
    return out


@dataclass(slots=True)
class _Sheet:
    """Reads one sheet as a stream; what is hidden is counted and left out."""

    book: _Book
    rows: dict[int, dict[int, str]] = field(default_factory=dict)
    numeric: set[tuple[int, int]] = field(default_factory=set)
    _hidden_columns: list[tuple[int, int]] = field(default_factory=list)
    _row: int = 0

    def read(self, data: bytes) -> None:
        refuse_dtd(data)
        stream = etree.iterparse(
            io.BytesIO(data),
            events=("end",),
            tag=("{*}row", "{*}col", "{*}mergeCell"),
            resolve_entities=False,
            no_network=True,
            load_dtd=False,
            huge_tree=False,
            recover=True,
        )
        merged = 0
        try:
            for _, element in stream:
                name = name_of(element)
                if name == "row" and self.book.cells < MAX_CELLS:
                    self._take_row(element)
                elif name == "col":
                    self._take_column(element)
                elif name == "mergeCell" and merged < _MAX_MERGED:
                    merged += 1
                    self._merge(attribute(element, "ref") or "")
                element.clear()
                while element.getprevious() is not None and name == "row":
                    del element.getparent()[0]
        except etree.XMLSyntaxError:
            self.book.notes.warn("table-broken", "a sheet ends early")
        if self.book.cells >= MAX_CELLS:
            self.book.notes.warn("table-cut", f"only the first {MAX_CELLS} cells were read")

    def _take_column(self, element: Element) -> None:
        if attribute(element, "hidden") in {"1", "true"}:
            first, last = (attribute(element, name) or "" for name in ("min", "max"))
            if first.isdecimal() and last.isdecimal():
                self._hidden_columns.append((int(first), int(last)))

    def _take_row(self, element: Element) -> None:
        given = attribute(element, "r") or ""
        self._row = int(given) if given.isdecimal() and len(given) < 8 else self._row + 1
        hidden_row = attribute(element, "hidden") in {"1", "true"}
        column = 0
        for cell in element:
            place = parse_reference(cell.get("r") or "")
            column = place[1] if place else column + 1
            if column > _MAX_COLUMN or self.book.cells >= MAX_CELLS:
                break
            text, number = self._text(cell)
            text = self.book.notes.tidy(text).strip()
            if not text:
                continue
            self.book.cells += 1
            if hidden_row:
                self.book.notes.hide("hidden-row", text)
            elif any(first <= column <= last for first, last in self._hidden_columns):
                self.book.notes.hide("hidden-column", text)
            else:
                self.rows.setdefault(self._row, {})[column] = text
                if number:
                    self.numeric.add((self._row, column))

    def _text(self, cell: Element) -> tuple[str, bool]:
        """Return a cell's text as displayed, and whether it is a number, date or truth value."""
        kind = cell.get("t") or "n"
        held = {name_of(part): part for part in cell}
        if kind == "inlineStr" and "is" in held:
            return _words(held["is"]), False
        raw = (held["v"].text or "") if "v" in held else ""
        if kind == "s":
            index = int(raw) if raw.isdecimal() else -1
            return (self.book.strings[index] if 0 <= index < len(self.book.strings) else ""), False
        if kind == "b":
            return {"1": "TRUE", "0": "FALSE"}.get(raw, raw), True
        if kind == "d":
            return raw.replace("T00:00:00", "").replace("T", " "), True
        formula = held.get("f")
        if not raw and formula is not None and formula.text:
            self.book.notes.warn("formula-without-value", "formulas that were never calculated are shown themselves")
            return f"={formula.text}", True
        if kind != "n" or not raw:
            return _unescape(raw), kind == "e"
        return self._number(raw, cell.get("s") or "0"), True

    def _number(self, raw: str, style: str) -> str:
        try:
            number = float(raw)
        except ValueError:
            return raw
        index = int(style) if style.isdecimal() else 0
        code = self.book.formats[index] if index < len(self.book.formats) else ""
        if code == ";;;":
            self.book.notes.hide("hidden-format", raw)
            return ""
        if not code and len(raw.lstrip("-")) <= 15 and raw.lstrip("-").isdecimal():
            return raw
        return show(number, code, from_1904=self.book.from_1904 and is_date(code))

    def _merge(self, reference: str) -> None:
        """Repeat the text of cells merged downwards, so that each row can be understood by itself."""
        first, _, last = reference.partition(":")
        start, end = parse_reference(first), parse_reference(last)
        if start is None or end is None or start[1] != end[1] or end[0] - start[0] > 1000:
            return
        text = self.rows.get(start[0], {}).get(start[1])
        if text:
            for row in range(start[0] + 1, end[0] + 1):
                if row in self.rows:
                    self.rows[row].setdefault(start[1], text)


def _comments(package: Package, part: str, sheet: str, notes: Notes) -> Iterator[Segment]:
    for kind, target in package.relations(part).values():
        root = package.xml(target) if kind in {"comments", "threadedComment"} else None
        for comment in descendants(root, "comment", "threadedComment") if root is not None else ():
            text = notes.tidy("".join(node.text or "" for node in descendants(comment, "t", "text"))).strip()
            reference = attribute(comment, "ref") or ""
            if text and not text.startswith("[Threaded comment]"):
                yield segment(
                    f"{reference}: {text}", role="notes", heading=sheet[:200], cell=f"{sheet}!{reference}"[:300]
                )
