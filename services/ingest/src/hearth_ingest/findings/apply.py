"""The finishing step of every document: what must not reach a model is withheld, findings are noted or masked."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hearth_api.wire.documents import DocumentWarning, Finding, NormalDocument
from hearth_ingest.findings.scan import redact, scan
from hearth_ingest.untrusted.apply import with_untrusted_withheld

MASKED = "masked-at-source"
_DETAIL = re.compile(r"([a-z-]+): (\d+)")

Where = Literal["title", "heading", "attachment", "part"] | None


def with_findings(document: NormalDocument, *, mask: bool) -> NormalDocument:
    """Return the finished document: untrusted text withheld, and findings noted; masked instead where `mask` is set.

    Masking covers segments, headings, title and names of files. Authors and participants keep names and addresses:
    threads, filters and the directory of the knowledge base live from them, and its policy masks them.
    """
    document = with_untrusted_withheld(document)
    return _masked(document) if mask else _noted(document)


def count_findings(document: NormalDocument) -> Mapping[str, int]:
    """Return how much was found, by type, whether it is noted or was masked at the source."""
    counts = Counter(finding.type for finding in document.findings)
    for warning in document.warnings:
        if warning.code == MASKED:
            counts.update({kind: int(number) for kind, number in _DETAIL.findall(warning.detail)})
    return counts


def _texts(document: NormalDocument) -> Iterator[tuple[Where, int, str]]:
    """Yield every text that a reader sees, with its place."""
    yield "title", 0, document.title
    before = None
    for number, segment in enumerate(document.segments):
        yield None, number, segment.text
        heading = segment.anchor.heading if segment.anchor else None
        if heading and heading != before:
            yield "heading", number, heading
        before = heading
    for number, attachment in enumerate(document.attachments):
        yield "attachment", number, attachment.name
    for number, part in enumerate(document.parts):
        yield "part", number, part.name or ""


def _noted(document: NormalDocument) -> NormalDocument:
    findings = tuple(
        Finding(where=where, segment=number, type=match.type, start=match.start, end=match.end, score=match.score)
        for where, number, text in _texts(document)
        for match in scan(text)
    )
    return document.model_copy(update={"findings": findings}) if findings else document


@dataclass(slots=True)
class _Masker:
    """Masks text after text; most text has nothing and stays the same object."""

    counts: Counter[str] = field(default_factory=Counter)

    def mask(self, text: str) -> str:
        masked, matches = redact(text)
        self.counts.update(match.type for match in matches)
        return masked if matches else text

    def names(self, items: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(
            item.model_copy(update={"name": masked}) if item.name and (masked := self.mask(item.name)) != item.name
            else item
            for item in items
        )  # fmt: skip


def _masked(document: NormalDocument) -> NormalDocument:
    masker = _Masker()
    segments = []
    for segment in document.segments:
        changes: dict[str, object] = {}
        if (text := masker.mask(segment.text)) != segment.text:
            changes["text"] = text
        anchor = segment.anchor
        if anchor and anchor.heading and (heading := redact(anchor.heading)[0]) != anchor.heading:
            changes["anchor"] = anchor.model_copy(update={"heading": heading})
        segments.append(segment.model_copy(update=changes) if changes else segment)
    update: dict[str, Any] = {"segments": tuple(segments), "title": masker.mask(document.title)}
    update |= {"attachments": masker.names(document.attachments), "parts": masker.names(document.parts)}
    if not masker.counts:
        return document.model_copy(update=update)
    detail = ", ".join(f"{kind}: {number}" for kind, number in sorted(masker.counts.items()))
    return document.model_copy(
        update={**update, "warnings": (*document.warnings, DocumentWarning(code=MASKED, detail=detail))}
    )
