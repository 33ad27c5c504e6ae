"""The text of a DOCX part: paragraphs, runs, tables, text boxes; what is deleted or hidden stays out."""

from collections import Counter
from dataclasses import dataclass, field

from hearth_ingest.documents.docx_styles import Style
from hearth_ingest.documents.rich import Notes, table_text, with_address
from hearth_ingest.documents.xml import Element, attribute, child, children, is_on, name_of
from hearth_ingest.markup import Block

_DELETED = frozenset(("del", "moveFrom"))
_TRANSPARENT = frozenset(
    ("sdt", "sdtContent", "ins", "moveTo", "smartTag", "customXml", "fldSimple", "bdo", "dir", "body", "footnote")
)
_BREAKS = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-", "softHyphen": "", "ptab": "\t"}
_TINY = 2
"""Half points: a run of one point or less cannot be read."""


@dataclass(slots=True, kw_only=True)
class Story:
    """Turns one part's elements into blocks."""

    styles: dict[str, Style]
    numbering: dict[str, dict[str, str]]
    addresses: dict[str, str]
    notes: Notes
    blocks: list[Block] = field(default_factory=list)
    deleted: int = 0
    _counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _boxes: list[Element] = field(default_factory=list)
    _in_table: int = 0
    _field: list[bool] = field(default_factory=list)
    """For each open field, whether its instruction is over and its result is being read."""

    def read(self, container: Element) -> None:
        """Read what stands in a body, a cell, a note or a text box."""
        for element in container:
            name = name_of(element)
            if name == "p":
                self._paragraph(element)
            elif name == "tbl":
                self._table(element)
            elif name in _DELETED:
                self.deleted += 1
            elif name in _TRANSPARENT:
                self.read(element)
            elif name == "AlternateContent":
                self.read(_alternative(element))

    def _paragraph(self, paragraph: Element) -> None:
        properties = child(paragraph, "pPr")
        link = child(properties, "pStyle")
        style = self.styles.get(attribute(link, "val") or "" if link is not None else "", Style())
        text = self.notes.tidy(self._inline(paragraph, hidden=style.hidden)).strip()
        level = _outline(properties) or style.level
        if text and level and not self._in_table:
            self.blocks.append(Block("heading", text, min(level, 6)))
        elif text:
            self.blocks.append(Block("text", self._mark(properties, style) + text))
        boxes, self._boxes = self._boxes, []
        for box in boxes:
            self.read(box)

    def _mark(self, properties: Element | None, style: Style) -> str:
        numbered = child(properties, "numPr", "numId")
        number = attribute(numbered, "val") if numbered is not None else style.number
        if not number or number == "0":
            return ""
        place = child(properties, "numPr", "ilvl")
        level = (attribute(place, "val") if place is not None else None) or "0"
        kind = self.numbering.get(number, {}).get(level, "bullet")
        indent = "  " * (int(level) if level in "012345678" else 0)
        if kind in {"bullet", "none"}:
            return f"{indent}- "
        self._counts[number, level] += 1
        for key in list(self._counts):
            if key[0] == number and key[1] > level:
                del self._counts[key]
        return f"{indent}{self._counts[number, level]}. "

    def _inline(self, container: Element, *, hidden: bool) -> str:
        out: list[str] = []
        for element in container:
            name = name_of(element)
            if name == "r":
                out.append(self._run(element, hidden=hidden))
            elif name == "hyperlink":
                words = self._inline(element, hidden=hidden)
                out.append(with_address(words, self.addresses.get(attribute(element, "id") or "")))
            elif name in _DELETED:
                self.deleted += 1
            elif name in _TRANSPARENT:
                out.append(self._inline(element, hidden=hidden))
            elif name == "AlternateContent":
                out.append(self._inline(_alternative(element), hidden=hidden))
            elif name in {"oMath", "oMathPara"}:
                out.append("".join(node.text or "" for node in element.iter() if name_of(node) == "t"))
        return "".join(out)

    def _run(self, run: Element, *, hidden: bool) -> str:
        text = self._run_text(run)
        reason = self._hiding(child(run, "rPr"), hidden=hidden)
        if reason and text.strip():
            self.notes.hide(reason, text)
            return ""
        return text

    def _run_text(self, run: Element) -> str:
        out: list[str] = []
        for element in run:
            name = name_of(element)
            if name == "fldChar":
                self._mark_field(attribute(element, "fldCharType"))
            elif not all(self._field):
                continue
            elif name == "t":
                # An entity that nobody declared stands between text and tail.
                out.append((element.text or "") + "".join(inner.tail or "" for inner in element))
            elif name in _BREAKS:
                out.append(_BREAKS[name])
            elif name in {"footnoteReference", "endnoteReference"}:
                out.append(f"[{attribute(element, 'id') or ''}]")
            elif name == "sym":
                out.append(_symbol(attribute(element, "char")))
            elif name in {"drawing", "pict", "object"}:
                self._boxes.extend(node for node in element.iter() if name_of(node) == "txbxContent")
            elif name == "AlternateContent":
                out.append(self._run_text(_alternative(element)))
        return "".join(out)

    def _mark_field(self, kind: str | None) -> None:
        if kind == "begin":
            self._field.append(False)
        elif kind == "separate" and self._field:
            self._field[-1] = True
        elif kind == "end" and self._field:
            self._field.pop()

    def _hiding(self, properties: Element | None, *, hidden: bool) -> str | None:
        vanish = child(properties, "vanish")
        link = child(properties, "rStyle")
        style = self.styles.get(attribute(link, "val") or "" if link is not None else "", Style())
        if is_on(vanish) if vanish is not None else (hidden or style.hidden):
            return "vanish"
        size = child(properties, "sz")
        value = attribute(size, "val") if size is not None else None
        if value is not None and value.isdecimal() and int(value) <= _TINY:
            return "font-size"
        colour = child(properties, "color")
        white = colour is not None and (attribute(colour, "val") or "").upper() == "FFFFFF"
        papered = child(properties, "shd") is not None or child(properties, "highlight") is not None
        # In tables the paper may be dark by the table's own style.
        return "white-on-white" if white and not papered and not self._in_table else None

    def _table(self, table: Element) -> None:
        rows: list[list[str]] = []
        self._in_table += 1
        for row in self._rows(table):
            cells: list[str] = []
            for cell in _unwrapped(row, "tc"):
                text = self._cell(cell)
                merge = child(cell, "tcPr", "vMerge")
                if merge is not None and attribute(merge, "val") != "restart" and rows and len(cells) < len(rows[-1]):
                    text = text or rows[-1][len(cells)]
                span = child(cell, "tcPr", "gridSpan")
                width = attribute(span, "val") if span is not None else None
                wide = min(int(width), 63) if width and width.isdecimal() else 1
                cells.extend([text] + [""] * (wide - 1))
            rows.append(cells)
        self._in_table -= 1
        text = table_text(rows)
        if text:
            self.blocks.append(Block("text" if self._in_table else "table", text))

    def _rows(self, table: Element) -> list[Element]:
        rows = []
        for row in _unwrapped(table, "tr"):
            properties = child(row, "trPr")
            if child(properties, "del") is not None:
                self.deleted += 1
            elif is_on(child(properties, "hidden")):
                self.notes.hide("vanish", "".join(n.text or "" for n in row.iter() if name_of(n) == "t"))
            else:
                rows.append(row)
        return rows

    def _cell(self, cell: Element) -> str:
        before, self.blocks = self.blocks, []
        self.read(cell)
        inside, self.blocks = self.blocks, before
        return " ".join(" ".join(block.text.split()) for block in inside)


def _unwrapped(element: Element, wanted: str) -> list[Element]:
    out: list[Element] = []
    for inner in element:
        name = name_of(inner)
        if name == wanted:
            out.append(inner)
        elif name in _TRANSPARENT:
            out.extend(_unwrapped(inner, wanted))
    return out


def _alternative(element: Element) -> Element:
    """Return the one of several renderings to read: the first choice, else the fallback."""
    options = list(children(element, "Choice")) or list(children(element, "Fallback"))
    return options[0] if options else []


def _outline(properties: Element | None) -> int:
    outline = child(properties, "outlineLvl")
    value = attribute(outline, "val") if outline is not None else None
    return int(value) + 1 if value and value in "012345678" else 0


def _symbol(code: str | None) -> str:
    try:
        point = int(code or "", 16)
    except ValueError:
        return ""
    # The private area of symbol fonts means nothing outside of the font.
    return "" if 0xE000 <= point <= 0xF8FF or point > 0xFFFF else chr(point)
