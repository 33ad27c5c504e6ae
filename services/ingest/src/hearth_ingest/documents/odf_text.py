"""Paragraphs, lists, tables and frames of OpenDocument text."""

from dataclasses import dataclass, field

from hearth_ingest.documents.rich import Notes, table_text, with_address
from hearth_ingest.documents.xml import Element, attribute, children, name_of
from hearth_ingest.markup import Block

_SKIPPED = frozenset(
    (
        "tracked-changes", "forms", "sequence-decls", "variable-decls", "user-field-decls", "page-number", "title",
        "table-of-content-source",
        "alphabetical-index-source", "plugin", "object", "object-ole", "image", "binary-data",
        "page-thumbnail", "ruby-text", "desc", "script", "event-listeners", "settings", "date-time-decl",
    )
)  # fmt: skip
_HIDDEN = frozenset(("hidden-text", "hidden-paragraph"))
_MAX_SPACES = 100


@dataclass(slots=True, kw_only=True)
class OdfText:
    """Turns elements into blocks; `remarks` are footnotes and comments."""

    hidden: frozenset[str]
    notes: Notes
    blocks: list[Block] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    _lists: int = 0
    _bullet: str = ""

    def read(self, container: Element) -> None:
        """Read a container's children."""
        for element in container:
            name = name_of(element)
            if name in _SKIPPED or not name:
                continue
            if name in {"p", "h"}:
                self._paragraph(element, name)
            elif name == "list":
                self._lists += 1
                self.read(element)
                self._lists -= 1
            elif name in {"list-item", "list-header"}:
                self._bullet = "  " * (self._lists - 1) + "- "
                self.read(element)
                self._bullet = ""
            elif name == "table":
                self._table(element)
            elif name == "annotation":
                self._remark("Comment", element)
            elif name == "section" and attribute(element, "display") == "none":
                self.notes.hide("display", "".join(element.itertext()))
            else:
                self.read(element)

    def _paragraph(self, element: Element, name: str) -> None:
        style = attribute(element, "style-name")
        boxes: list[Element] = []
        text = self._inline(element, hidden=style in self.hidden, boxes=boxes)
        text = self.notes.tidy(text).strip()
        if text and name == "h":
            level = attribute(element, "outline-level") or "1"
            self.blocks.append(Block("heading", text, min(int(level), 6) if level.isdecimal() and level != "0" else 1))
        elif text:
            self.blocks.append(Block("text", self._bullet + text))
            self._bullet = ""
        for box in boxes:
            self.read(box)

    def _inline(self, element: Element, *, hidden: bool, boxes: list[Element]) -> str:
        out = [self._seen(element.text, hidden=hidden)]
        for part in element:
            name = name_of(part)
            if name == "s":
                count = attribute(part, "c") or "1"
                out.append(" " * min(int(count) if count.isdecimal() else 1, _MAX_SPACES))
            elif name == "tab":
                out.append("\t")
            elif name == "line-break":
                out.append("\n")
            elif name == "note":
                self._remark("Footnote", part)
            elif name == "annotation":
                self._remark("Comment", part)
            elif name in _HIDDEN:
                self.notes.hide("display", "".join(part.itertext()))
            elif name in {"frame", "custom-shape", "text-box", "g"}:
                boxes.append(part)
            elif name == "a":
                out.append(with_address(self._inline(part, hidden=hidden, boxes=boxes), attribute(part, "href")))
            elif name and name not in _SKIPPED:
                style = attribute(part, "style-name") if name == "span" else None
                out.append(self._inline(part, hidden=hidden or style in self.hidden, boxes=boxes))
            out.append(self._seen(part.tail, hidden=hidden))
        return "".join(out)

    def _seen(self, text: str | None, *, hidden: bool) -> str:
        words = (text or "").replace("\n", " ")
        if hidden and words.strip():
            self.notes.hide("display", words)
            return ""
        return words

    def _remark(self, label: str, element: Element) -> None:
        inner = OdfText(hidden=self.hidden, notes=self.notes)
        body = next(children(element, "note-body"), element)
        inner.read(body)
        text = " ".join(" ".join(block.text.split()) for block in inner.blocks)
        if text:
            self.remarks.append(f"{label}: {text}")

    def _table(self, table: Element) -> None:
        rows: list[list[str]] = []
        for row in rows_of(table):
            cells: list[str] = []
            for cell in children(row, "table-cell", "covered-table-cell"):
                inner = OdfText(hidden=self.hidden, notes=self.notes)
                inner.read(cell)
                self.remarks += inner.remarks
                text = " ".join(" ".join(block.text.split()) for block in inner.blocks)
                repeat = attribute(cell, "number-columns-repeated") or "1"
                cells.extend([text] * min(int(repeat) if repeat.isdecimal() else 1, 64))
            rows.append(cells)
        text = table_text(rows)
        if text:
            self.blocks.append(Block("table", text))


def rows_of(table: Element) -> list[Element]:
    """Return a table's rows, those in header rows and groups too."""
    out: list[Element] = []
    for part in table:
        name = name_of(part)
        if name == "table-row":
            out.append(part)
        elif name in {"table-header-rows", "table-rows", "table-row-group"}:
            out.extend(rows_of(part))
    return out
