"""Sheets of cells to segments: blocks of rows under their repeated header row, each naming its cells."""

from collections.abc import Iterator, Mapping

from hearth_api.wire.documents import Segment
from hearth_ingest.documents.body import segment
from hearth_ingest.documents.rich import row_text

Rows = Mapping[int, Mapping[int, str]]
"""Row number -> column number -> text as displayed, both from 1; empty cells are absent."""

ROWS_PER_BLOCK = 40
MAX_CELLS = 500_000
_BLOCK_CHARS = 6_000
_MAX_HEADER_CHARS = 1_000


def column_name(number: int) -> str:
    """Return A for 1, AA for 27."""
    name = ""
    while number > 0:
        number, rest = divmod(number - 1, 26)
        name = chr(65 + rest) + name
    return name


def parse_reference(reference: str) -> tuple[int, int] | None:
    """Return (row, column) of a reference such as "B12", or None."""
    letters = reference.rstrip("0123456789")
    digits = reference[len(letters) :]
    if not digits or not letters.isascii() or not letters.isalpha() or len(letters) > 3 or len(digits) > 7:
        return None
    column = 0
    for letter in letters.upper():
        column = column * 26 + ord(letter) - 64
    return int(digits), column


def build_grid(sheet: str, rows: Rows, *, numeric: frozenset[tuple[int, int]] = frozenset()) -> Iterator[Segment]:
    """Yield a sheet's segments. Rows apart by an empty one are tables of their own.

    The first row of a table is its header where all its cells are words (`numeric` holds the cells that are not);
    a table that starts with numbers goes on under the header before it when it has no more columns than that.
    """
    header: Mapping[int, str] = {}
    for table in _tables(rows):
        start, first = table[0], rows[table[0]]
        if len(table) > 1 and len(first) > 1 and not any((start, column) in numeric for column in first):
            header = first
            yield from _blocks(sheet, rows, table[1:], header=header, start=start)
            continue
        used = {column for number in table for column in rows[number]}
        header = header if used <= set(header) else {}
        yield from _blocks(sheet, rows, table, header=header, start=start)


def _tables(rows: Rows) -> Iterator[list[int]]:
    table: list[int] = []
    for number in sorted(number for number, cells in rows.items() if cells):
        if table and number > table[-1] + 1:
            yield table
            table = []
        table.append(number)
    if table:
        yield table


def _blocks(sheet: str, rows: Rows, numbers: list[int], *, header: Mapping[int, str], start: int) -> Iterator[Segment]:
    columns = sorted({column for number in numbers for column in rows[number]} | set(header))
    top = row_text(header.get(column, "") for column in columns)[:_MAX_HEADER_CHARS] if header else ""
    lines: list[str] = []
    size, since = 0, start
    for number in numbers:
        line = row_text(rows[number].get(column, "") for column in columns)
        if lines and (len(lines) >= ROWS_PER_BLOCK or size + len(line) > _BLOCK_CHARS):
            yield _block(sheet, lines, top=top, columns=columns, since=since, until=number - 1)
            lines, size, since = [], 0, number
        lines.append(line)
        size += len(line) + 1
    if lines:
        yield _block(sheet, lines, top=top, columns=columns, since=since, until=numbers[-1])


def _block(sheet: str, lines: list[str], *, top: str, columns: list[int], since: int, until: int) -> Segment:
    first, last = f"{column_name(columns[0])}{since}", f"{column_name(columns[-1])}{until}"
    cell = ("" if not sheet else f"{sheet}!") + (first if first == last else f"{first}:{last}")
    text = "\n".join([top, *lines] if top else lines)
    return segment(text, role="table", heading=sheet[:200], cell=cell[:300])
