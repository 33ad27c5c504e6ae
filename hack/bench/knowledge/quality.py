# ruff: noqa: INP001 (a script, not a package)
"""Retrieval quality, dense, sparse and hybrid, on a collection with known answers: descriptions in Python packages.

    hack/bench/run quality [--passages 6000 --queries 300]

Every docstring whose first line is a sentence gives a question (that line) and a passage (the rest, with the name of
its module as title). The question's one right answer is its own passage, so this is known-item retrieval: harder than
it sounds, because the first line is not in the passage and packages describe many similar things. Texts come from the
standard library and from the packages of the workspace, so no download is needed; the choice of passages depends only
on their text.

The chunker, the terms, the fusion and the packaged embedder are the product's; neighbours are exact here (no Milvus).
"""

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[2] / "tests"), str(HERE)]

from passages import Item, collect, summarise  # noqa: E402
from timed_pod import describe_machine  # noqa: E402

from hearth_knowledge.index import terms  # noqa: E402
from hearth_knowledge.index.fusion import Fusion, FusionMethod, fuse  # noqa: E402
from support.embedder import load_engine  # noqa: E402

KEY = bytes(32)
TARGET_TOKENS = 320
CANDIDATES = 50
MODES = {
    "dense": (True, False, Fusion()),
    "sparse": (False, True, Fusion()),
    "hybrid": (True, True, Fusion()),
    "hybrid, reciprocal ranks": (True, True, Fusion(method=FusionMethod.RRF)),
}


async def embed(texts: Sequence[str]) -> np.ndarray:
    """Return the vectors of texts as rows."""
    engine = load_engine()
    rows: list[Sequence[float]] = []
    for start in range(0, len(texts), 32):
        rows += (await engine.embed(list(texts[start : start + 32]))).vectors
    return np.array(rows, dtype=np.float32)


def ranks_of(items: Sequence[Item], vectors: np.ndarray, asked: np.ndarray) -> dict[str, list[int | None]]:
    """Return the right passage's rank (from 1; None: not among the candidates) for each question by mode."""
    documents = [
        terms.document_vector(
            terms.document_terms(f"{item.title}\n{item.text}", language="en"),
            key=KEY,
            reference_length=TARGET_TOKENS,
        )
        for item in items
    ]
    postings: dict[int, list[tuple[int, float]]] = {}
    for number, document in enumerate(documents):
        for dimension, weight in document.items():
            postings.setdefault(dimension, []).append((number, weight))
    ranks: dict[str, list[int | None]] = {mode: [] for mode in MODES}
    for number, question in enumerate(items[: len(asked)]):
        near = best((vectors @ asked[number]).tolist())
        same = search_words(question.question, postings, chunks=len(items))
        for mode, (dense, sparse, fusion) in MODES.items():
            rows = fuse(near if dense else [], same if sparse else [], fusion=fusion)
            place = next((rank for rank, row in enumerate(rows, start=1) if row.id == str(number)), None)
            ranks[mode].append(place)
    return ranks


def search_words(
    question: str, postings: dict[int, list[tuple[int, float]]], *, chunks: int
) -> list[tuple[str, float]]:
    """Return (passage, score) of the sparse leg, best first."""
    dimensions = {terms.term_dimension(term, key=KEY) for term in terms.query_terms(question)}
    frequencies = {dimension: len(postings.get(dimension, ())) for dimension in dimensions}
    weights = terms.query_vector(dimensions, frequencies=frequencies, chunks=chunks)
    scores: Counter[int] = Counter()
    for dimension, weight in weights.items():
        for number, value in postings[dimension]:
            scores[number] += weight * value  # type: ignore[assignment]
    return [(str(number), float(score)) for number, score in scores.most_common(CANDIDATES)]


def best(scores: list[float]) -> list[tuple[str, float]]:
    """Return (passage, score) of the dense leg, best first."""
    order = np.argsort(scores)[::-1][:CANDIDATES]
    return [(str(number), scores[number]) for number in order]


async def measure(*, passages: int, queries: int) -> dict[str, Any]:
    """Collect, embed, ask; return the figures."""
    items = collect(limit=passages)
    began = time.perf_counter()
    vectors = await embed([f"{item.title}\n{item.text}" for item in items])
    seconds = time.perf_counter() - began
    asked = await embed([item.question for item in items[:queries]])
    ranks = ranks_of(items, vectors, asked)
    return {
        "machine": describe_machine(),
        "passages": len(items),
        "questions": len(asked),
        "embedded_per_second": round(len(items) / seconds, 1),
        "modes": {mode: summarise(found) for mode, found in ranks.items()},
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=6000)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--write", action="store_true", help="keep the figures in quality.json beside this file")
    arguments = parser.parse_args()
    result = asyncio.run(measure(passages=arguments.passages, queries=arguments.queries))
    print(f"{result['questions']} questions over {result['passages']} passages\n")
    names = list(next(iter(result["modes"].values())))
    print(f"| mode | {' | '.join(names)} |\n| --- |{' ---: |' * len(names)}")
    for mode, figures in result["modes"].items():
        print(f"| {mode} | {' | '.join(f'{figures[name]:.3f}' for name in names)} |")
    if arguments.write:
        (HERE / "quality.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
