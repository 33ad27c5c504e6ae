"""Cutting a document into passages. Pure and deterministic: the same document and sizes give the same chunks.

A chunk has one author, one time and one place. Neighbouring segments become one chunk only when they agree in these;
a long segment is cut at paragraph and sentence ends, with whole sentences repeated as overlap. Signatures are not
indexed. Quoted text is indexed only where the mail it was quoted from is not in the knowledge base (`include_quoted`).
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from hearth_api.wire.documents import Anchor, Kind, NormalDocument, Segment
from hearth_api.wire.knowledge import ChunkingConfig

TOKEN = re.compile(r"\w+|[^\w\s]")
SENTENCE_END = re.compile(r"(?<=[.!?;:])\s+|\n\s*\n|\n(?=\s*(?:[-*\u2022#|>]|\d+[.)]\s))")


@dataclass(frozen=True, slots=True)
class Chunk:
    """One passage. `segment` is the first segment it holds; times are ISO 8601."""

    ordinal: int
    text: str
    segment: int
    quoted: bool = False
    author: str | None = None
    time: str | None = None
    permalink: str | None = None
    anchor: Anchor | None = None


@dataclass(frozen=True, slots=True)
class _Unit:
    text: str
    tokens: int
    segment: int


def count_tokens(text: str) -> int:
    """Count words and punctuation marks."""
    return sum(1 for _ in TOKEN.finditer(text))


def chunk_document(document: NormalDocument, *, sizes: ChunkingConfig, include_quoted: bool) -> list[Chunk]:
    """Cut a document. Chunks come in the order of the text, quoted ones last."""
    runs = list(_runs(document, include_quoted=include_quoted))
    pieces = []
    for quoted in (False, True):
        for run in runs:
            first = document.segments[run[0]]
            if (first.role == "quoted") is quoted:
                pieces += [(quoted, first, units) for units in _pack(document, run, sizes=sizes)]
    return [
        Chunk(
            ordinal=ordinal,
            text=_join(units),
            segment=units[0].segment,
            quoted=quoted,
            author=first.author,
            time=first.time.isoformat() if first.time else None,
            permalink=first.permalink,
            anchor=document.segments[units[0].segment].anchor,
        )
        for ordinal, (quoted, first, units) in enumerate(pieces)
    ]


def describe_subject(document: NormalDocument, chunk: Chunk) -> str:
    """Return what a chunk is about, put before it where it is embedded: the title, and the heading it stands under."""
    heading = (chunk.anchor.heading or "").strip() if chunk.anchor else ""
    return "\n".join(dict.fromkeys(line for line in (document.title.strip(), heading) if line))


def describe_sender(document: NormalDocument, chunk: Chunk) -> str:
    """Return who speaks in a chunk and on which day: counted as words, not embedded (measured: it blurs the vector)."""
    names = {person.id: person.name or person.address for person in (*document.participants, *document.authors)}
    who = names.get(chunk.author or "") or next((person.name for person in document.authors if person.name), None)
    moment = chunk_time(document, chunk)
    return " ".join(part for part in (who, moment.date().isoformat() if moment else None) if part)


def chunk_time(document: NormalDocument, chunk: Chunk) -> datetime | None:
    """Return the time that a chunk speaks from: its own, else the document's."""
    if chunk.time:
        return datetime.fromisoformat(chunk.time)
    return document.modified or document.created if document.kind is Kind.DOCUMENT else document.created


def _runs(document: NormalDocument, *, include_quoted: bool) -> Iterator[list[int]]:
    """Group indexes of neighbouring segments that may share a chunk."""
    run: list[int] = []
    for index, segment in enumerate(document.segments):
        if not _is_indexed(segment, kind=document.kind, include_quoted=include_quoted):
            continue
        if run and _place(document.segments[run[-1]]) != _place(segment):
            yield run
            run = []
        run.append(index)
    if run:
        yield run


def _is_indexed(segment: Segment, *, kind: Kind, include_quoted: bool) -> bool:
    if not segment.text.strip() or segment.role == "signature":
        return False
    if segment.role == "quoted":
        return include_quoted
    # A mail's header lines say what the context already says; in a calendar entry or a chat they are content.
    return not (segment.role == "header" and kind is Kind.EMAIL)


def _place(segment: Segment) -> tuple[object, ...]:
    anchor = segment.anchor or Anchor()
    return (segment.role == "quoted", segment.author, segment.time, segment.permalink, anchor.page, anchor.slide)


def _pack(document: NormalDocument, run: Sequence[int], *, sizes: ChunkingConfig) -> Iterator[list[_Unit]]:
    """Fill chunks up to the target; start the next with whole units of at most the overlap."""
    current: list[_Unit] = []
    fresh = False
    for unit in _units(document, run, target=sizes.target_tokens):
        if fresh and sum(item.tokens for item in current) + unit.tokens > sizes.target_tokens:
            yield current
            current, fresh = _tail(current, limit=min(sizes.overlap_tokens, sizes.target_tokens - unit.tokens)), False
        current.append(unit)
        fresh = True
    if fresh:
        yield current


def _tail(units: Sequence[_Unit], *, limit: int) -> list[_Unit]:
    kept: list[_Unit] = []
    for unit in reversed(units):
        if sum(item.tokens for item in kept) + unit.tokens > limit:
            break
        kept.insert(0, unit)
    return kept


def _units(document: NormalDocument, run: Sequence[int], *, target: int) -> Iterator[_Unit]:
    for index in run:
        text = document.segments[index].text.strip()
        for sentence in _sentences(text):
            for part in _cut(sentence, target=target):
                yield _Unit(text=part, tokens=count_tokens(part), segment=index)


def _sentences(text: str) -> Iterator[str]:
    """Cut behind sentence ends; the white space stays with the sentence before it."""
    start = 0
    for match in SENTENCE_END.finditer(text):
        if text[start : match.end()].strip():
            yield text[start : match.end()]
            start = match.end()
    if text[start:].strip():
        yield text[start:]


def _cut(sentence: str, *, target: int) -> Iterator[str]:
    """Cut a sentence longer than a chunk at token borders."""
    starts = [match.start() for match in TOKEN.finditer(sentence)]
    if len(starts) <= target:
        yield sentence
        return
    borders = [0, *(starts[position] for position in range(target, len(starts), target)), len(sentence)]
    for left, right in itertools.pairwise(borders):
        yield sentence[left:right]


def _join(units: Sequence[_Unit]) -> str:
    text = ""
    for before, unit in zip((None, *units), units, strict=False):
        text += ("\n\n" if before and before.segment != unit.segment else "") + unit.text
    return text.strip()
