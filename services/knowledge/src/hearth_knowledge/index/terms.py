"""Words as blind sparse vectors: BM25 whose terms Milvus cannot read.

A term is folded (case, accents), stemmed for the document's language and replaced by 32 bits of a keyed hash. Rows
hold only BM25's document side (term frequency, saturated, against a fixed reference length), so no row is rewritten as
the collection grows; the query side carries the inverse document frequency of the moment. A query is stemmed for every
language, because a few words do not tell which one they are in.
"""

import functools
import math
import re
import threading
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import snowballstemmer

from hearth_knowledge.crypto import keyed_hash

K1 = 1.2
B = 0.75
DIMENSIONS = 2**32 - 1
"""Milvus takes indexes below 2**32 - 1."""

WORD = re.compile(r"[\w]+(?:[.\-/@+:_'’][\w]+)*")
PART = re.compile(r"[^\W_]+")
LANGUAGES = {"en": "english", "de": "german", "fr": "french"}
COMMON_WORDS = {
    "en": "the and of to in is that for it on with as are this be was at have not you we from by will",
    "de": "der die das und ist nicht ein eine zu den mit auf für von im dem wir ich sich auch es des bei",
    "fr": "le la les de des et est un une en que pour dans pas nous vous sur avec au du ce il je qui",
}
COMMON = {language: frozenset(words.split()) for language, words in COMMON_WORDS.items()}
_STEMMING = threading.Lock()  # a stemmer keeps the word it works on in itself


def guess_language(text: str) -> str:
    """Return "en", "de" or "fr" by counting common words; "en" when nothing speaks for another."""
    words = Counter(text.lower().split())
    scores = {language: sum(words[word] for word in common) for language, common in COMMON.items()}
    best = max(scores.values())
    return "en" if scores["en"] == best else next(language for language, score in scores.items() if score == best)


def fold(text: str) -> str:
    """Return text without case and accents."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def document_terms(text: str, *, language: str) -> Counter[str]:
    """Count the terms of a text: stems of its words, and names such as `inv-2041` or `a@example.org` also whole."""
    return Counter(term for word in _words(text) for term in _forms(word, languages=(language,)))


def query_terms(text: str) -> set[str]:
    """Return all forms that a query's words may have been stored under."""
    return {term for word in _words(text) for term in _forms(word, languages=tuple(LANGUAGES))}


def term_dimension(term: str, *, key: bytes) -> int:
    """Return the sparse dimension of a term."""
    return int.from_bytes(keyed_hash(key, "term", term)[:8], "big") % DIMENSIONS


def document_vector(counts: Mapping[str, int], *, key: bytes, reference_length: int) -> dict[int, float]:
    """Return BM25's document side: tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / reference))."""
    length = sum(counts.values())
    damping = K1 * (1 - B + B * length / reference_length)
    vector: dict[int, float] = {}
    for term, count in counts.items():
        dimension = term_dimension(term, key=key)
        vector[dimension] = max(vector.get(dimension, 0.0), count * (K1 + 1) / (count + damping))
    return vector


def query_vector(dimensions: Iterable[int], *, frequencies: Mapping[int, int], chunks: int) -> dict[int, float]:
    """Return BM25's query side: idf of each dimension that any chunk has; others could only cost time."""
    return {
        dimension: math.log(1 + (chunks - frequency + 0.5) / (frequency + 0.5))
        for dimension in dimensions
        if (frequency := frequencies.get(dimension, 0)) > 0
    }


def _words(text: str) -> Iterable[str]:
    return (match.group() for match in WORD.finditer(fold(text)))


def _forms(word: str, *, languages: tuple[str, ...]) -> list[str]:
    parts = PART.findall(word)
    forms = [stem for part in parts for stem in dict.fromkeys(_stem(part, language) for language in languages)]
    return [*forms, word] if len(parts) > 1 else forms


@functools.lru_cache(maxsize=65536)
def _stem(word: str, language: str) -> str:
    # A figure or a code has no stem; a very long run of characters is no word.
    if len(word) > 40 or any(character.isdigit() for character in word):
        return word[:64]
    with _STEMMING:
        return str(_stemmer(language).stemWord(word))


@functools.cache
def _stemmer(language: str) -> Any:
    return snowballstemmer.stemmer(LANGUAGES[language])
