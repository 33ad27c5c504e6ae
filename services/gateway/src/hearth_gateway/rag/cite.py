"""Citations: which passages carry the answer, decided by comparing texts, never by what the model claims."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote as url_quote

from hearth_gateway.rag.select import Passage
from hearth_gateway.rag.text import sentences, terms

ENOUGH = 0.4
NEARLY_AS_GOOD = 0.9
PER_SENTENCE = 2
QUOTE_CHARS = 300
NUMBER_WEIGHT = 3.0
ADDED_WEIGHT = 1.5


@dataclass(frozen=True, slots=True)
class Span:
    """Part of the answer that a passage carries. Code points."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Citation:
    """A passage that was in the prompt. `spans` is empty where no sentence of the answer matched it."""

    passage: Passage
    quote: str
    spans: tuple[Span, ...]


def cite(answer: str, *, passages: Sequence[Passage], question: str) -> tuple[Citation, ...]:
    """Match each sentence of the answer to the passages that hold its words; numbers weigh most.

    Every passage of the prompt is cited: those that carry a sentence with its span, the others without.
    """
    known = [terms(passage.text) for passage in passages]
    spread = Counter(term for found in known for term in found)
    spans: dict[int, list[Span]] = {}
    words: dict[int, frozenset[str]] = {}
    for start, end in sentences(answer):
        mine = terms(answer[start:end])
        scores = [_coverage(mine, found=found, spread=spread) for found in known]
        best = max(scores, default=0.0)
        if best < ENOUGH:
            continue
        ranked = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
        for index in ranked[:PER_SENTENCE]:
            if scores[index] >= best * NEARLY_AS_GOOD:
                spans.setdefault(index, []).append(Span(start=start, end=end))
                words[index] = words.get(index, frozenset()) | mine
    about = terms(question)
    return tuple(
        Citation(
            passage=passage,
            quote=best_quote(passage, wanted=words.get(index) or about, asked=about),
            spans=tuple(spans.get(index, ())),
        )
        for index, passage in enumerate(passages)
    )


def best_quote(passage: Passage, *, wanted: frozenset[str], asked: frozenset[str]) -> str:
    """Return the sentence of the passage that shares most with `wanted`: a slice, so it stands there verbatim.

    What the question asked already counts less than what the answer added: that is the fact worth quoting.
    """
    text = passage.text
    best, quote = -1.0, ""
    for start, end in sentences(text):
        found = terms(text[start:end])
        shared = sum(_weight(term) * (1.0 if term in asked else ADDED_WEIGHT) for term in found & wanted)
        # Where nothing is shared a full sentence is still better than a greeting.
        score = shared / (4 + len(found)) ** 0.5 + min(len(found), 6) / 1000
        if score > best:
            best, quote = score, text[start : min(end, start + QUOTE_CHARS)].rstrip()
    return quote


def _coverage(mine: frozenset[str], *, found: frozenset[str], spread: Counter[str]) -> float:
    """Return the share of the sentence's weight that the passage holds; words of every passage tell little."""
    shared = mine & found
    if len(shared) < min(2, len(mine)) or not shared:
        return 0.0
    whole = sum(_weight(term) for term in mine)
    # Breaks ties only: among passages with the same words the one with the rarer words wins.
    rarity = sum(1 / spread[term] for term in shared) / (100 * len(shared))
    return sum(_weight(term) for term in shared) / whole + rarity


def _weight(term: str) -> float:
    return NUMBER_WEIGHT if term[0].isdigit() else 1.0


def document_url(citation: Citation, *, base: str) -> str:
    """Return where the cited version can be read through this gateway."""
    hit = citation.passage.hit
    base_name = url_quote(hit.knowledge_base or "", safe="")
    document = url_quote(hit.document, safe="")
    return f"{base}/v1/knowledge-bases/{base_name}/documents/{document}?version={hit.version}"


def annotations(citations: Sequence[Citation], *, answer: str, base: str) -> list[dict[str, Any]]:
    """Return OpenAI's `url_citation` annotations, by place. A passage that matched no sentence spans the answer."""
    found = []
    for citation in citations:
        for span in citation.spans or (Span(start=0, end=len(answer)),):
            detail = {
                "start_index": span.start,
                "end_index": span.end,
                "title": citation.passage.hit.title,
                "url": document_url(citation, base=base),
            }
            found.append((not citation.spans, span.start, citation.passage.n, detail))
    found.sort(key=lambda item: item[:3])
    return [{"type": "url_citation", "url_citation": detail} for *_, detail in found]


def details(citations: Sequence[Citation]) -> list[dict[str, Any]]:
    """Return Hearth's `citations` array."""
    return [
        {
            "n": citation.passage.n,
            "knowledge_base": citation.passage.hit.knowledge_base,
            "document": citation.passage.hit.document,
            "version": citation.passage.hit.version,
            "chunk": citation.passage.hit.chunk,
            "title": citation.passage.hit.title,
            "permalink": citation.passage.hit.permalink,
            "quote": citation.quote,
            "matched": bool(citation.spans),
            "spans": [[span.start, span.end] for span in citation.spans],
        }
        for citation in citations
    ]
