"""What a parser makes of a file's bytes, and which parser reads which type."""

from collections.abc import Callable
from dataclasses import dataclass

from hearth_api.wire.documents import Anchor, DocumentWarning, Part, Segment, SegmentRole
from hearth_api.wire.ingest import RunLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A file's title ("" when it has none), its segments in reading order, and what a reader should know."""

    title: str = ""
    segments: tuple[Segment, ...] = ()
    warnings: tuple[DocumentWarning, ...] = ()
    created: str | None = None
    parts: tuple[Part, ...] = ()
    """Entries of a container (images, embedded files, sheets), used or not, with the reason."""


Parser = Callable[[bytes, RunLimits], Body]


def segment(
    text: str,
    *,
    role: SegmentRole = "body",
    heading: str | None = None,
    page: int | None = None,
    slide: int | None = None,
    cell: str | None = None,
) -> Segment:
    """Return a segment with an anchor where there is one."""
    named = heading or cell or page is not None or slide is not None
    anchor = Anchor(heading=heading or None, page=page, slide=slide, cell=cell) if named else None
    return Segment(text=text, role=role, anchor=anchor)


_OOXML = "application/vnd.openxmlformats-officedocument"
_ODF = "application/vnd.oasis.opendocument"
DOCX = f"{_OOXML}.wordprocessingml.document"
PPTX = f"{_OOXML}.presentationml.presentation"
XLSX = f"{_OOXML}.spreadsheetml.sheet"
RTF = "application/rtf"
ODF_TYPES = {kind: f"{_ODF}.{kind}" for kind in ("text", "spreadsheet", "presentation")}
MACRO_TYPES = {
    "application/vnd.ms-word.document.macroenabled.12": DOCX,
    "application/vnd.ms-excel.sheet.macroenabled.12": XLSX,
    "application/vnd.ms-powerpoint.presentation.macroenabled.12": PPTX,
}
ARCHIVE_TYPES = frozenset(
    ("application/zip", "application/x-tar", "application/gzip", "application/x-bzip2", "application/x-xz")
)
# Kept as they are, with a document that says why nothing of them can be found and what helps.
UNREAD_TYPES = {
    "application/msword": ("old-format", "save it as DOCX"),
    "application/vnd.ms-excel": ("old-format", "save it as XLSX"),
    "application/vnd.ms-powerpoint": ("old-format", "save it as PPTX"),
    "application/vnd.ms-excel.sheet.binary.macroenabled.12": ("old-format", "save it as XLSX"),
    "application/x-7z-compressed": ("archive-unsupported", "pack it as ZIP or TAR"),
    "application/vnd.rar": ("archive-unsupported", "pack it as ZIP or TAR"),
    "application/vnd.ms-outlook": ("old-format", "save the mail as EML"),
}


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
    ".tab": "text/tab-separated-values",
    ".docx": DOCX,
    ".docm": DOCX,
    ".dotx": DOCX,
    ".dotm": DOCX,
    ".pptx": PPTX,
    ".pptm": PPTX,
    ".ppsx": PPTX,
    ".potx": PPTX,
    ".xlsx": XLSX,
    ".xlsm": XLSX,
    ".xltx": XLSX,
    ".odt": ODF_TYPES["text"],
    ".ott": ODF_TYPES["text"],
    ".fodt": ODF_TYPES["text"],
    ".ods": ODF_TYPES["spreadsheet"],
    ".fods": ODF_TYPES["spreadsheet"],
    ".odp": ODF_TYPES["presentation"],
    ".fodp": ODF_TYPES["presentation"],
    ".rtf": RTF,
    ".eml": "message/rfc822",
    ".zip": "application/zip",
    ".tar": "application/x-tar",
    ".tgz": "application/gzip",
    ".gz": "application/gzip",
    ".tbz": "application/x-bzip2",
    ".tbz2": "application/x-bzip2",
    ".bz2": "application/x-bzip2",
    ".txz": "application/x-xz",
    ".xz": "application/x-xz",
    ".doc": "application/msword",
    ".dot": "application/msword",
    ".xls": "application/vnd.ms-excel",
    ".xlsb": "application/vnd.ms-excel.sheet.binary.macroenabled.12",
    ".ppt": "application/vnd.ms-powerpoint",
    ".pps": "application/vnd.ms-powerpoint",
    ".7z": "application/x-7z-compressed",
    ".rar": "application/vnd.rar",
    ".msg": "application/vnd.ms-outlook",
}
_PART_TYPES = {
    ".xml": "application/xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".svg": "image/svg+xml",
    ".emf": "image/emf",
    ".wmf": "image/wmf",
    ".mp4": "video/mp4",
    ".mp3": "audio/mpeg",
}
_ALIASES = {
    "text/x-markdown": "text/markdown",
    "application/xhtml+xml": "text/html",
    "application/x-pdf": "application/pdf",
    "application/csv": "text/csv",
    "text/x-log": "text/plain",
    "text/comma-separated-values": "text/csv",
    "text/rtf": RTF,
    "application/x-rtf": RTF,
    "application/x-zip-compressed": "application/zip",
    "application/x-zip": "application/zip",
    "application/x-gzip": "application/gzip",
    "application/x-compressed-tar": "application/gzip",
    "application/x-bzip": "application/x-bzip2",
    "application/x-rar-compressed": "application/vnd.rar",
    **MACRO_TYPES,
}
PARSED_TYPES = frozenset(_BY_SUFFIX.values())
"""Types whose files become documents: read, unpacked, or kept with the reason why they are not read."""


_MAGIC = (
    (b"{\\rtf", RTF),
    (b"\x1f\x8b", "application/gzip"),
    (b"BZh", "application/x-bzip2"),
    (b"\xfd7zXZ\0", "application/x-xz"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
)
_VAGUE = frozenset(("", "text/plain", "application/octet-stream", "application/zip", "application/x-download"))


def media_type_of(name: str, *, declared: str = "", head: bytes = b"") -> str:
    """Return the media type to parse a file as: content beats name, name beats a vague declaration.

    Anything that no parser reads gives the declaration or "application/octet-stream".
    """
    if head.lstrip()[:5] == b"%PDF-":
        return "application/pdf"
    by_magic = next((kind for magic, kind in _MAGIC if head.startswith(magic)), None)
    lower = name.lower()
    by_name = _BY_SUFFIX.get(lower[lower.rfind(".") :] if "." in lower else "")
    wanted = _ALIASES.get(declared.lower(), declared.lower())
    if by_magic:
        return by_magic
    if by_name in UNREAD_TYPES and head.lstrip().lower().startswith((b"<html", b"<!doctype html")):
        return "text/html"
    if by_name == "application/pdf" or wanted == "application/pdf":
        # It does not begin as a PDF does; the PDF parser says so in its own words.
        return "application/pdf"
    if (wanted in PARSED_TYPES or wanted in UNREAD_TYPES) and not (wanted in _VAGUE and by_name):
        return wanted
    by_content = "application/zip" if head.startswith(b"PK\x03\x04") else None
    return by_name or by_content or wanted or "application/octet-stream"


def part_type(name: str) -> str:
    """Return the media type of a container's entry by its name."""
    suffix = name[name.rfind(".") :].lower() if "." in name else ""
    return _PART_TYPES.get(suffix) or _BY_SUFFIX.get(suffix, "application/octet-stream")
