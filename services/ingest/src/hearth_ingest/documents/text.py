"""Plain text and tables of comma separated values."""

import csv
import io
import re

from hearth_api.wire.documents import DocumentWarning
from hearth_api.wire.ingest import RunLimits
from hearth_ingest.charset import decode_text
from hearth_ingest.documents.body import Body, segment
from hearth_ingest.documents.grid import build_grid
from hearth_ingest.errors import ItemError
from hearth_ingest.hidden import strip_invisible

_SAMPLE_CHARS = 16_384
_MAX_FIELD = 1_000_000
_NUMBER = re.compile(r"[-+(]?[$€£]?\s?\d[\d.,\s]*\s?[%€$£)]?$")


def read_text(data: bytes, limits: RunLimits) -> Body:
    """Return a text file as one segment. Raises ItemError for bytes that are not text."""
    del limits
    text, warnings = decode(data)
    return Body(segments=(segment(text),) if text.strip() else (), warnings=warnings)


def decode(data: bytes) -> tuple[str, tuple[DocumentWarning, ...]]:
    """Return text without hidden characters. Raises ItemError("not-text") for binary files with a text name."""
    decoded = decode_text(data)
    sample = data[:_SAMPLE_CHARS]
    if decoded.warning and sample and (sample.count(0) > len(sample) // 100 or _controls(sample) > len(sample) // 20):
        raise ItemError("not-text", "the file holds binary data")
    text, invisible = strip_invisible(decoded.text)
    warnings = [DocumentWarning(code=decoded.warning, detail=decoded.detail)] if decoded.warning else []
    if invisible:
        warnings.append(DocumentWarning(code="hidden-text", detail=f"zero-width: {invisible} characters"))
    if not text.strip():
        warnings.append(DocumentWarning(code="no-text"))
    return text, tuple(warnings)


def _controls(sample: bytes) -> int:
    return sum(byte < 9 or 13 < byte < 27 for byte in sample)


def read_csv(data: bytes, limits: RunLimits) -> Body:
    """Return a table as blocks of rows "a | b | c" under the repeated header; anchors name cells as A2:C41."""
    del limits
    text, warnings = decode(data)
    csv.field_size_limit(_MAX_FIELD)
    try:
        dialect: type[csv.Dialect] | csv.Dialect = csv.Sniffer().sniff(text[:_SAMPLE_CHARS], delimiters=",;\t|")
    except csv.Error:
        dialect = csv.excel_tab if "\t" in text[:_SAMPLE_CHARS] else csv.excel
    rows: dict[int, dict[int, str]] = {}
    numeric: set[tuple[int, int]] = set()
    try:
        for number, row in enumerate(csv.reader(io.StringIO(text), dialect), start=1):
            cells = {column: " ".join(cell.split()) for column, cell in enumerate(row, start=1) if cell.strip()}
            if cells:
                rows[number] = cells
                numeric.update((number, column) for column, cell in cells.items() if _NUMBER.match(cell))
    except csv.Error as error:
        warnings = (*warnings, DocumentWarning(code="table-broken", detail=str(error)[:120]))
    if not rows:
        return Body(segments=(segment(text),) if text.strip() else (), warnings=warnings)
    return Body(segments=tuple(build_grid("", rows, numeric=frozenset(numeric))), warnings=warnings)
