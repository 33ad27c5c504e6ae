"""PDF files: one segment a page. Runs in the sandbox."""

import re
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pypdfium2 as pdfium

from hearth_api.wire.documents import DocumentWarning, Part
from hearth_api.wire.ingest import RunLimits
from hearth_ingest.charset import clean
from hearth_ingest.documents.body import Body, segment
from hearth_ingest.errors import ItemError, RefusedError
from hearth_ingest.hidden import strip_invisible

_PDF_DATE = re.compile(r"D:(\d{4})(\d\d)(\d\d)(\d\d)?(\d\d)?(\d\d)?(?:(Z)|([+-])(\d\d)'?(\d\d)?)?")


_MAX_PAGE_CHARS = 2_000_000


def read_pdf(data: bytes, limits: RunLimits) -> Body:
    """Return a PDF's pages. Raises ItemError: pdf-encrypted, pdf-unparseable, too-many-pages."""
    try:
        document = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        encrypted = "password" in str(error).lower()
        raise ItemError("pdf-encrypted" if encrypted else "pdf-unparseable", str(error)[:200]) from error
    try:
        total = len(document)
        if total > limits.pages:
            raise RefusedError("too-many-pages", f"{total} pages, {limits.pages} allowed")
        pages = [_page_text(document, number) for number in range(total)]
        broken = sum(page is None for page in pages)
        meta = document.get_metadata_dict(skip_empty=True)
        parts = tuple(
            Part(media_type="application/octet-stream", used=False, reason="embedded-object", name=f"file {number}")
            for number in range(1, min(document.count_attachments(), 100) + 1)
        )
    finally:
        document.close()
    body = _build([page or "" for page in pages], title=meta.get("Title", ""), broken=broken)
    return replace(body, created=_date(meta.get("CreationDate", "")), parts=parts)


def _page_text(document: Any, number: int) -> str | None:
    try:
        return str(document[number].get_textpage().get_text_range())[:_MAX_PAGE_CHARS]
    except pdfium.PdfiumError:
        return None


def _build(pages: list[str], *, title: str, broken: int) -> Body:
    total = len(pages)
    warnings: list[DocumentWarning] = []
    if broken:
        warnings.append(DocumentWarning(code="pdf-pages-broken", detail=f"{broken} of {total} pages"))
    segments = []
    hidden = 0
    for number, raw in enumerate(pages, start=1):
        text, invisible = strip_invisible(_unhyphenate(clean(raw)))
        hidden += invisible
        if text.strip():
            segments.append(segment(text.strip(), page=number))
    if hidden:
        warnings.append(DocumentWarning(code="hidden-text", detail=f"zero-width: {hidden} characters"))
    if not segments:
        warnings.append(DocumentWarning(code="no-text", detail=f"{total} pages without text: scanned?"))
    return Body(title=" ".join(clean(title).split()), segments=tuple(segments), warnings=tuple(warnings))


def _unhyphenate(text: str) -> str:
    """Join words that PDFium reports as split at a line's end (it writes U+FFFE or U+0002 for such a hyphen)."""
    return re.sub("[\ufffe\uffff]\n?", "", text)


def _date(value: object) -> str | None:
    match = _PDF_DATE.match(str(value or ""))
    if not match:
        return None
    year, month, day, hour, minute, second = (int(match[i] or 0) for i in range(1, 7))
    offset = timedelta(hours=int(match[9] or 0), minutes=int(match[10] or 0)) * (-1 if match[8] == "-" else 1)
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=timezone(offset)).isoformat()
    except ValueError:
        return None
