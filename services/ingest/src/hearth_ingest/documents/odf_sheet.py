"""A sheet of an ODS file: cells as displayed, repeated ones counted but never laid out in their millions."""

from dataclasses import dataclass, field

from hearth_ingest.documents.grid import MAX_CELLS, column_name
from hearth_ingest.documents.odf_text import OdfText, rows_of
from hearth_ingest.documents.rich import Notes
from hearth_ingest.documents.xml import Element, attribute, children, name_of

_REPEATS = 100
_HIDDEN = frozenset(("collapse", "filter"))
_WORDS = frozenset(("string", None))


@dataclass(slots=True)
class Sheet:
    """What is visible of a sheet; `remarks` are (cell, comment)."""

    rows: dict[int, dict[int, str]] = field(default_factory=dict)
    numeric: set[tuple[int, int]] = field(default_factory=set)
    remarks: list[tuple[str, str]] = field(default_factory=list)
    cells: int = 0


def _count(element: Element, name: str) -> int:
    value = attribute(element, name) or "1"
    return max(1, int(value)) if value.isdecimal() and len(value) < 9 else 1


def read_sheet(table: Element, notes: Notes) -> Sheet:
    """Return the cells of a table; hidden rows and columns are counted in `notes`."""
    sheet = Sheet()
    hidden = _hidden_columns(table)
    number = 1
    for row in rows_of(table):
        repeat = _count(row, "number-rows-repeated")
        if attribute(row, "visibility") in _HIDDEN:
            notes.hide("hidden-row", " ".join(text.strip() for text in row.itertext() if text.strip()))
        else:
            cells = _read_row(row, number, sheet=sheet, hidden=hidden, notes=notes)
            for place in range(number, number + min(repeat, _REPEATS) if cells else number):
                sheet.rows[place] = cells
                sheet.cells += len(cells)
        number += repeat
        if sheet.cells > MAX_CELLS:
            notes.warn("table-cut", f"only the first {MAX_CELLS} cells were read")
            break
    return sheet


def _hidden_columns(table: Element) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    at = 1
    for column in table.iter():
        if name_of(column) == "table-column":
            repeat = _count(column, "number-columns-repeated")
            if attribute(column, "visibility") in _HIDDEN:
                found.append((at, at + repeat - 1))
            at += repeat
        elif name_of(column) == "table-row":
            break
    return found


def _read_row(
    row: Element, number: int, *, sheet: Sheet, hidden: list[tuple[int, int]], notes: Notes
) -> dict[int, str]:
    cells: dict[int, str] = {}
    column = 1
    for cell in children(row, "table-cell", "covered-table-cell"):
        repeat = _count(cell, "number-columns-repeated")
        reader = OdfText(hidden=frozenset(), notes=notes)
        reader.read(cell)
        text = " ".join(" ".join(block.text.split()) for block in reader.blocks)
        text = text or (attribute(cell, "value") or "" if attribute(cell, "value-type") != "string" else "")
        sheet.remarks += [(f"{column_name(column)}{number}", remark) for remark in reader.remarks]
        for place in range(column, column + min(repeat, _REPEATS)) if text else ():
            if any(first <= place <= last for first, last in hidden):
                notes.hide("hidden-column", text)
                continue
            cells[place] = text
            if attribute(cell, "value-type") not in _WORDS:
                sheet.numeric.add((number, place))
        column += repeat
    return cells
