"""Words, sentences and sizes of text, for selecting passages and matching answers to them."""

import math
import re
from collections.abc import Iterator

WORD = re.compile(r"[^\W_]+(?:[.,:/'’-][^\W_]+)*")
# A sentence ends at its punctuation (not after "1." or "14."), at an empty line, before a list item, and after a short
# line. The end of a long line is none: mail is wrapped by hand, and half a sentence is no quote.
BREAK = re.compile(
    r"(?<=[.!?…])(?<!\b\d\.)(?<!\b\d\d\.)[\"'”’)\]]*\s+"
    r"|\n[^\S\n]*\n\s*"
    r"|\n(?=[^\S\n]*(?:[-*•#>|]|\d+[.)]\s))"
    r"|(?<![^\n]{40})\n"
)
STOPWORDS = frozenset(
    """a about above after again all also am an and any are as at be because been before being below between both but by
    can could did do does doing down during each few for from further had has have having he her here hers him his how i
    if in into is it its itself just let me more most my no nor not now of off on once only or other our out over own
    passage passages please same say says said she should so some such than that the their them then there these they
    this those through to too under until up us very was we were what when where which while who whom why will with
    would you your yes
    aber alle als am an auch auf aus bei bin bis das dass dem den der des die durch ein eine einem einen einer eines er
    es für hat hatte ich ihr im in ist ja kann mit nach nicht noch nur oder sich sie sind so um und uns vom von vor war
    was wenn wer wie wir wird zu zum zur über""".split()  # noqa: SIM905 (a list of words reads better as text)
)
SUFFIXES = ("ings", "ing", "edly", "ied", "ies", "ed", "es", "ly", "s")
MIN_STEM = 4


def estimate_tokens(text: str) -> int:
    """Return a number of tokens that no common tokenizer exceeds by much on prose: the larger of two estimates."""
    pieces = len(re.findall(r"\w+|[^\w\s]", text))
    return math.ceil(max(len(text.encode("utf-8", "replace")) / 3.6, pieces * 1.2))


def stem(word: str) -> str:
    """Return a word without its commonest English ending. Numbers stay as they are."""
    if word[0].isdigit():
        return word
    for suffix in SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= MIN_STEM:
            return word[: -len(suffix)]
    return word


def terms(text: str) -> frozenset[str]:
    """Return what a text is about: stems without stop words and without single letters; numbers always."""
    found = set()
    for match in WORD.finditer(text.casefold()):
        word = match.group().replace("’", "'").removesuffix("'s")
        if word and word not in STOPWORDS and (len(word) > 1 or word.isdigit()):
            found.add(stem(word))
    return frozenset(found)


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of sentences, in code points, without the space around them."""
    start = 0
    for match in [*BREAK.finditer(text), None]:
        end = len(text) if match is None else match.start()
        piece = text[start:end]
        left = start + len(piece) - len(piece.lstrip())
        right = start + len(piece.rstrip())
        if left < right:
            yield left, right
        if match is not None:
            start = match.end()
