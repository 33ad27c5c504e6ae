"""A whole document made safe to show to a model: the last step before findings, for every kind of source."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from hearth_api.wire.documents import DocumentWarning, NormalDocument, Segment, Trust
from hearth_ingest.untrusted.instructions import INSTRUCTION, find_instructions
from hearth_ingest.untrusted.stripping import strip_text

WITHHELD = "[withheld: instruction-to-model]"
WARNING = "withheld"
_BREAK = re.compile(r"\n[ \t>]*\n")
_LONG = 1500
_HIDDEN = "hidden-text"
_DETAIL = re.compile(r"([a-z-]+): (\d+)")


def with_untrusted_withheld(document: NormalDocument) -> NormalDocument:
    """Return the document with hidden and deceiving parts stripped and orders to a model in segments of their own.

    What was done stands in warnings (`withheld`, amounts by reason). Of a source that is one's Own, orders are only
    reported: an owner may keep notes about prompts.
    """
    counts: Counter[str] = Counter()
    own = document.trust is Trust.OWN
    segments: list[Segment] = []
    for segment in document.segments:
        segments.extend(_clean(segment, counts, own=own))
    names = _Names(counts, own=own)
    update: dict[str, Any] = {"title": names.clean(document.title), **_clean_lists(document, names)}
    segments.extend(Segment(text=text, role="header", quarantine=INSTRUCTION) for text in names.withheld)
    update["segments"] = tuple(segments)
    if not counts:
        return document
    detail = ", ".join(f"{reason}: {number}" for reason, number in sorted(counts.items()))
    update["warnings"] = (*document.warnings, DocumentWarning(code=WARNING, detail=detail))
    return document.model_copy(update=update)


def count_withheld(document: NormalDocument) -> Mapping[str, int]:
    """Return how much was stripped or quarantined, by reason, as the warnings say it."""
    counts: Counter[str] = Counter()
    for warning in document.warnings:
        if warning.code == WARNING:
            counts.update({reason: int(number) for reason, number in _DETAIL.findall(warning.detail)})
        elif warning.code == _HIDDEN:
            counts[_HIDDEN] += 1
    return counts


class _Names:
    """Titles, file names, headings and people's names: one line each, replaced as a whole."""

    def __init__(self, counts: Counter[str], *, own: bool) -> None:
        self._counts = counts
        self._own = own
        self.withheld: list[str] = []

    def clean(self, text: str) -> str:
        stripped, counts = strip_text(text)
        self._counts.update(counts)
        if not find_instructions(stripped):
            return stripped
        self._counts[INSTRUCTION] += 1
        if self._own:
            return stripped
        if stripped not in self.withheld:
            self.withheld.append(stripped)
        return WITHHELD


def _clean_lists(document: NormalDocument, names: _Names) -> dict[str, Any]:
    update: dict[str, Any] = {}
    for field in ("attachments", "parts", "authors", "participants"):
        items = getattr(document, field)
        cleaned = tuple(
            item.model_copy(update={"name": names.clean(item.name)}) if item.name and _odd(item.name) else item
            for item in items
        )
        if cleaned != items:
            update[field] = cleaned
    return update


def _odd(name: str) -> bool:
    """Tell whether a name is more than a plain word or two: everything else needs no look."""
    return not name.isascii() or len(name) > 24


def _clean(segment: Segment, counts: Counter[str], *, own: bool) -> Iterator[Segment]:
    text, stripped = strip_text(segment.text)
    counts.update(stripped)
    anchor = segment.anchor
    if anchor and anchor.heading and find_instructions(anchor.heading) and not own:
        # The words stand in the section's text too and are withheld there.
        segment = segment.model_copy(update={"anchor": anchor.model_copy(update={"heading": None})})
    spans = find_instructions(text) if segment.quarantine is None else ()
    if not spans or own:
        counts[INSTRUCTION] += len(spans)
        if not counts[INSTRUCTION]:
            del counts[INSTRUCTION]
        if text.strip() or not segment.text.strip():
            yield segment.model_copy(update={"text": text}) if stripped else segment
        return
    for start, end, withheld in _cut(text, spans):
        piece = text[start:end].strip("\n")
        if piece.strip():
            counts[INSTRUCTION] += withheld
            yield segment.model_copy(update={"text": piece, "quarantine": INSTRUCTION if withheld else None})


def _cut(text: str, spans: tuple[tuple[int, int], ...]) -> Iterator[tuple[int, int, bool]]:
    """Yield pieces of the text in order: runs of whole paragraphs, those that hold a span apart."""
    at = 0
    flag: bool | None = None
    for start, end in _paragraphs(text):
        withheld = any(left < end and right > start for left, right in spans)
        if flag is None:
            flag = withheld
        elif withheld is not flag:
            yield at, start, flag
            at, flag = start, withheld
    if flag is not None:
        yield at, len(text), flag


def _paragraphs(text: str) -> Iterator[tuple[int, int]]:
    """Yield paragraphs; a long one line by line, so that a table or a log is not withheld for one row."""
    at = 0
    for match in (*_BREAK.finditer(text), None):
        end = match.end() if match else len(text)
        if end - at > _LONG:
            for line in re.finditer(r"[^\n]*\n|[^\n]+\Z", text[at:end]):
                yield at + line.start(), at + line.end()
        elif end > at:
            yield at, end
        at = end
