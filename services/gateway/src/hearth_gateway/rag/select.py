"""Which passages go into the prompt: best first, no duplicates, within the budget."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hearth_api.wire.knowledge import SearchHit
from hearth_gateway.catalog.model import Model
from hearth_gateway.rag.text import estimate_tokens, sentences, terms

TINY_BUDGET = 600
TINY_MODEL_BYTES = 1_500_000_000
TINY_CONTEXT = 4096
LARGEST_BUDGET = 6000
HEADER_TOKENS = 28
PER_DOCUMENT = 2
SAME_TEXT = 0.9
DEFAULT_ANSWER = 512
SMALLEST_BUDGET = 60


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage of the prompt. `text` is a prefix of the hit's text, so that quotes stand in both."""

    n: int
    hit: SearchHit
    text: str


def context_budget(model: Model, *, prompt_tokens: int, max_tokens: int | None) -> int:
    """Return how many tokens of passages fit; 0 where the conversation leaves no room.

    Small models lose the thread beyond a few hundred tokens, so they never get more than TINY_BUDGET, however
    large their window is. The smallest variant decides, since any of them may answer.
    """
    window = min((variant.context_tokens for variant in model.candidates), default=2048)
    memory = min((variant.memory_bytes for variant in model.candidates), default=0)
    tiny = memory < TINY_MODEL_BYTES or window <= TINY_CONTEXT
    answer = max_tokens if max_tokens is not None else min(DEFAULT_ANSWER, window // 4)
    room = window - answer - prompt_tokens
    wanted = TINY_BUDGET if tiny else min(LARGEST_BUDGET, window // 3)
    budget = min(wanted, room)
    return budget if budget >= SMALLEST_BUDGET else 0


def select(hits: Iterable[SearchHit], *, budget: int) -> tuple[Passage, ...]:
    """Take hits in order while they fit; numbers are by rank. `budget` is in tokens, headings included."""
    chosen: list[Passage] = []
    spent = 0
    per_document: Counter[tuple[str | None, str]] = Counter()
    for hit in hits:
        owner = (hit.knowledge_base, hit.document)
        if per_document[owner] >= PER_DOCUMENT or not hit.text.strip() or _known(hit, chosen=chosen):
            continue
        text = fit(hit.text, tokens=budget - spent - HEADER_TOKENS, whole=bool(chosen))
        if not text:
            continue
        spent += estimate_tokens(text) + HEADER_TOKENS
        per_document[owner] += 1
        chosen.append(Passage(n=len(chosen) + 1, hit=hit, text=text))
    return tuple(chosen)


def fit(text: str, *, tokens: int, whole: bool) -> str:
    """Return the text, or as many leading sentences as fit where a part is better than nothing (`whole` False)."""
    if estimate_tokens(text) <= tokens:
        return text
    if whole or tokens <= 0:
        return ""
    end = 0
    for _, stop in sentences(text):
        if estimate_tokens(text[:stop]) > tokens:
            break
        end = stop
    # One endless sentence: cut anywhere rather than showing nothing.
    return text[:end] or text[: _longest_prefix(text, tokens=tokens)]


def _longest_prefix(text: str, *, tokens: int) -> int:
    # The estimate grows with the prefix; 0 fits and the whole does not.
    low, high = 0, len(text)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if estimate_tokens(text[:middle]) <= tokens else (low, middle)
    return low


def merge(results: Sequence[Sequence[SearchHit]]) -> list[SearchHit]:
    """Interleave the results of several knowledge bases: by rank first, since their scores are not comparable."""
    ranked = [(rank, -hit.score, order, hit) for order, hits in enumerate(results) for rank, hit in enumerate(hits)]
    return [hit for *_, hit in sorted(ranked, key=lambda item: item[:3])]


def _known(hit: SearchHit, *, chosen: Sequence[Passage]) -> bool:
    mine = terms(hit.text)
    for passage in chosen:
        other = passage.hit
        if (other.knowledge_base, other.document, other.chunk) == (hit.knowledge_base, hit.document, hit.chunk):
            return True
        theirs = terms(other.text)
        union = mine | theirs
        if union and len(mine & theirs) / len(union) >= SAME_TEXT:
            return True
    return False
