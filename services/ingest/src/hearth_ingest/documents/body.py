"""What a parser makes of a file's bytes, and which parser reads which type."""

from collections.abc import Callable
from dataclasses import dataclass

from hearth_api.wire.documents import Anchor, DocumentWarning, Segment, SegmentRole
from hearth_api.wire.ingest import RunLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A file's title ("" when it has none), its segments in reading order, and what a reader should know."""

    title: str = ""
    segments: tuple[Segment, ...] = ()
    warnings: tuple[DocumentWarning, ...] = ()
    created: str | None = None


Parser = Callable[[bytes, RunLimits], Body]


def segment(text: str, *, role: SegmentRole = "body", heading: str | None = None, page: int | None = None) -> Segment:
    """Return a segment with an anchor where there is one."""
    anchor = Anchor(heading=heading, page=page) if heading or page is not None else None
    return Segment(text=text, role=role, anchor=anchor)


_BY_SUFFIX = {
    ".txt": "text/plain",
    ".text": "text/plain",
    ".log": "text/plain",
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".mdown": "text/markdown",
    ".html": "text/html",
    ".htm": "text/html",
    ".xhtml": "text/html",
    ".pdf": "application/pdf",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
}
_ALIASES = {
    "text/x-markdown": "text/markdown",
    "application/xhtml+xml": "text/html",
    "application/x-pdf": "application/pdf",
    "application/csv": "text/csv",
    "text/x-log": "text/plain",
    "text/comma-separated-values": "text/csv",
}
PARSED_TYPES = frozenset(_BY_SUFFIX.values())


def media_type_of(name: str, *, declared: str = "", head: bytes = b"") -> str:
    """Return the media type to parse a file as: content beats name, name beats a vague declaration.

    Anything that no parser reads gives the declaration or "application/octet-stream".
    """
    if head.lstrip()[:5] == b"%PDF-":
        return "application/pdf"
    lower = name.lower()
    by_name = _BY_SUFFIX.get(lower[lower.rfind(".") :] if "." in lower else "")
    wanted = _ALIASES.get(declared.lower(), declared.lower())
    if by_name == "application/pdf" or wanted == "application/pdf":
        # It does not begin as a PDF does; the PDF parser says so in its own words.
        return "application/pdf"
    if wanted in PARSED_TYPES and not (wanted == "text/plain" and by_name):
        return wanted
    return by_name or wanted or "application/octet-stream"
