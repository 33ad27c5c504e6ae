"""HTML files: a segment for each heading's section, tables apart."""

from collections.abc import Iterable

from hearth_api.wire.documents import DocumentWarning, Segment
from hearth_api.wire.ingest import RunLimits
from hearth_ingest.charset import decode_text
from hearth_ingest.documents.body import Body, segment
from hearth_ingest.markup import Block, read_html

_META_BYTES = 2048


def read_web(data: bytes, limits: RunLimits) -> Body:
    """Return a page's title and sections."""
    del limits
    decoded = decode_text(data, _declared_charset(data))
    page = read_html(decoded.text)
    warnings = [DocumentWarning(code=decoded.warning, detail=decoded.detail)] if decoded.warning else []
    if page.hidden:
        warnings.append(DocumentWarning(code="hidden-text", detail=page.hidden_detail()))
    if not page.blocks:
        warnings.append(DocumentWarning(code="no-text"))
    return Body(title=page.title, segments=build_segments(page.blocks), warnings=tuple(warnings))


def _declared_charset(data: bytes) -> str | None:
    head = data[:_META_BYTES].lower()
    at = head.find(b"charset=")
    if at < 0:
        return None
    name = head[at + 8 : at + 50].lstrip(b"\"' ")
    end = next((i for i, byte in enumerate(name) if byte in b"\"' ;>/"), len(name))
    return name[:end].decode("ascii", "ignore") or None


def build_segments(blocks: Iterable[Block]) -> tuple[Segment, ...]:
    """Return blocks as segments anchored to the nearest heading; the heading's words begin their section."""
    out: list[Segment] = []
    heading: str | None = None
    texts: list[str] = []

    def flush() -> None:
        if texts:
            out.append(segment("\n\n".join(texts), heading=heading))
            texts.clear()

    for block in blocks:
        if block.kind == "heading":
            flush()
            heading = " ".join(block.text.split())[:200]
            texts.append(heading)
        elif block.kind == "table":
            flush()
            out.append(segment(block.text, role="table", heading=heading))
        else:
            texts.append(block.text)
    flush()
    return tuple(out)
