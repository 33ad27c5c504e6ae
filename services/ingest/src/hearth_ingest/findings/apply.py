"""Findings of a whole document, and masking it before it leaves the pod."""

from hearth_api.wire.documents import DocumentWarning, Finding, NormalDocument
from hearth_ingest.findings.scan import redact, scan


def with_findings(document: NormalDocument, *, mask: bool) -> NormalDocument:
    """Return the document with what was found in its segments; masked instead, title included, where `mask` is set."""
    if not mask:
        findings = tuple(
            Finding(segment=number, type=match.type, start=match.start, end=match.end, score=match.score)
            for number, segment in enumerate(document.segments)
            for match in scan(segment.text)
        )
        return document.model_copy(update={"findings": findings}) if findings else document
    count = 0
    segments = []
    for segment in document.segments:
        text, matches = redact(segment.text)
        count += len(matches)
        segments.append(segment.model_copy(update={"text": text}) if matches else segment)
    title, matches = redact(document.title)
    count += len(matches)
    if not count:
        return document
    warning = DocumentWarning(code="masked-at-source", detail=f"{count} findings")
    update = {"segments": tuple(segments), "title": title, "warnings": (*document.warnings, warning)}
    return document.model_copy(update=update)
