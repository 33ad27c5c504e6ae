# ruff: noqa: INP001 (a script, not a package)
"""Search latency at 1,000, 10,000 and 100,000 chunks, dense, sparse and hybrid, and how much of it is Milvus.

    hack/bench/run latency [--chunks 1000 --chunks 10000] [--milvus-only 100000]

Filling 100,000 chunks through the service takes most of an hour on two cores, so by default that size is measured at
Milvus alone, and the service's own part of 10,000 is added; `--chunks 100000` measures all of it.

The collection is filled through the service with made-up text: words drawn by Zipf's law, as in natural language, and
vectors that depend on the words, so that near neighbours exist. Queries are words of the same kind, one at a time. The
embedder answers at once, because what a model costs is another question; the real one's time for a query is measured
beside it. Everything runs on one machine: service, milvus-lite (standalone server, its files on disk) and this client.
"""

import argparse
import asyncio
import hashlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web

HERE = Path(__file__).parent
REPO = HERE.parents[2]
sys.path[:0] = [str(REPO / "tests"), str(HERE)]

from curve import draw_curve  # noqa: E402
from direct import measure_direct  # noqa: E402
from timed_pod import describe_machine, read_times, timed_pod  # noqa: E402

from hearth_api.wire.knowledge import EmbeddingConfig  # noqa: E402
from support.embedder import free_port, load_engine  # noqa: E402
from support.knowledge import KnowledgePod, mail  # noqa: E402

KB = "latency"
DIMENSIONS = 384
WORDS_IN_CHUNK, WORDS_IN_QUERY, VOCABULARY = 130, 6, 20_000
CHUNKS_IN_MAIL = 10
MODES = ("dense", "sparse", "hybrid")


def make_word(number: int) -> str:
    """Return a pronounceable word for a number; no two are alike."""
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    word = ""
    number += len(syllables)
    while number:
        number, rest = divmod(number, len(syllables))
        word += syllables[rest]
    return word


class Language:
    """Texts and their vectors. The same seed gives the same texts."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        weights = 1 / np.arange(1, VOCABULARY + 1)
        self.weights = weights / weights.sum()
        self.words = [make_word(number) for number in range(VOCABULARY)]

    def text(self, words: int) -> str:
        """Return that many words."""
        return " ".join(self.words[n] for n in self.random.choice(VOCABULARY, size=words, p=self.weights))


def embed(text: str) -> list[float]:
    """Return the direction of the words' random directions, without the most frequent ones."""
    total = np.zeros(DIMENSIONS)
    for word in set(text.split()[-WORDS_IN_CHUNK:]):
        seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest())
        total += _direction(seed)
    return list((total / (np.linalg.norm(total) or 1)).tolist())


_directions: dict[int, np.ndarray] = {}


def _direction(seed: int) -> np.ndarray:
    if seed not in _directions:
        _directions[seed] = np.random.default_rng(seed).standard_normal(DIMENSIONS)
    return _directions[seed]


@asynccontextmanager
async def instant_embedder() -> AsyncIterator[str]:
    """Serve `/v1/embeddings` with made-up vectors."""

    async def handle(request: web.Request) -> web.Response:
        body = await request.json()
        data = [{"object": "embedding", "index": i, "embedding": embed(t)} for i, t in enumerate(body["input"])]
        return web.json_response({"object": "list", "model": body["model"], "data": data})

    app = web.Application(client_max_size=64 << 20)
    app.router.add_post("/v1/embeddings", handle)
    runner, port = web.AppRunner(app), free_port()
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


async def fill(pod: KnowledgePod, language: Language, *, start: int, end: int) -> float:
    """Add mails of about ten chunks each; return chunks a second, indexing included."""
    began = time.perf_counter()
    for first in range(start, end, 500):
        lines = []
        for number in range(first, min(end, first + 500), CHUNKS_IN_MAIL):
            text = "\n\n".join(language.text(WORDS_IN_CHUNK) + "." for _ in range(CHUNKS_IN_MAIL))
            lines.append(mail(f"mid:<{number}@bench>", text, title=f"{number}", thread=f"t-{number}"))
        await pod.put(KB, lines, source="inbox")
    await pod.indexed(KB, seconds=1800)
    return (end - start) / (time.perf_counter() - began)


async def measure_modes(pod: KnowledgePod, language: Language, *, queries: int) -> dict[str, dict[str, float]]:
    """Return p50 and p95 in milliseconds by mode: seen by the caller, and Milvus's part of the median."""
    found = {}
    for mode in MODES:
        for _ in range(5):
            await pod.search(KB, language.text(WORDS_IN_QUERY), mode=mode)
        await read_times(pod)
        seen = []
        for _ in range(queries):
            began = time.perf_counter()
            await pod.search(KB, language.text(WORDS_IN_QUERY), mode=mode)
            seen.append(time.perf_counter() - began)
        milvus = sum((await read_times(pod)).get("milvus", [0.0])) / queries
        cuts = statistics.quantiles(seen, n=20)
        found[mode] = {"p50": cuts[9] * 1000, "p95": cuts[18] * 1000, "milvus_mean": milvus * 1000}
        found[mode] = {name: round(value, 1) for name, value in found[mode].items()}
    return found


async def measure_query_embedding() -> float:
    """Return the packaged embedder's median for a query, in milliseconds."""
    engine = load_engine()
    language, seconds = Language(3), []
    for _ in range(30):
        began = time.perf_counter()
        await engine.embed([language.text(WORDS_IN_QUERY)])
        seconds.append(time.perf_counter() - began)
    return round(statistics.median(seconds) * 1000, 1)


def add_service(direct: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a row for a size that Milvus alone was measured at: its time, and the service's at the largest size.

    What the service does besides (open, count terms, check, decrypt) concerns 50 candidates, whatever the collection.
    """
    own = {mode: rows[-1][mode]["p50"] - rows[-1][mode]["milvus_mean"] for mode in MODES} if rows else {}
    legs = {"dense": ("dense",), "sparse": ("sparse",), "hybrid": ("dense", "sparse")}
    figures = {}
    for mode, parts in legs.items():
        base = max(0.0, own.get(mode, 0.0))
        milvus = sum(direct[part]["p50"] for part in parts)
        figures[mode] = {
            "p50": round(base + milvus, 1),
            "p95": round(base + sum(direct[part]["p95"] for part in parts), 1),
            "milvus_mean": round(milvus, 1),
        }
    return {
        "chunks": direct["chunks"],
        "computed": True,
        "inserted_per_second": direct["inserted_per_second"],
        **figures,
    }


async def measure(sizes: list[int], *, direct: list[int], queries: int) -> dict[str, Any]:
    """Return the figures of all sizes."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        async with instant_embedder() as url, timed_pod(Path(scratch) / "pod", gateway_url=url) as pod:
            await pod.configure(KB, EmbeddingConfig(model="embed", digest="sha256:bench", dimensions=DIMENSIONS))
            language, held = Language(1), 0
            for size in sorted(sizes):
                rate = await fill(pod, language, start=held, end=size)
                held = size
                chunks = (await pod.status(KB))["chunks"]
                await read_times(pod)
                modes = await measure_modes(pod, Language(2), queries=queries)
                rows.append({"chunks": chunks, "indexed_per_second": round(rate), **modes})
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
        for size in sorted(direct):
            rows.append(add_service(measure_direct(size, queries=queries, folder=Path(scratch) / f"m{size}"), rows))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return {"machine": describe_machine(), "query_embedding_ms": await measure_query_embedding(), "rows": rows}


def print_table(result: dict[str, Any]) -> None:
    """Print the figures as Markdown; a star marks a computed row."""
    print(f"{result['machine']}; the packaged embedder takes {result['query_embedding_ms']} ms for a query\n")
    print("| chunks | mode | p50 ms | p95 ms | of it Milvus (mean) |\n| ---: | --- | ---: | ---: | ---: |")
    for row in result["rows"]:
        for mode in MODES:
            figures = row[mode]
            size = f"{row['chunks']:,}" + ("*" if row.get("computed") else "")
            print(f"| {size} | {mode} | {figures['p50']} | {figures['p95']} | {figures['milvus_mean']} |")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, action="append", help="a size (repeatable)")
    parser.add_argument("--milvus-only", type=int, action="append", help="a size at which Milvus is measured alone")
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--write", action="store_true", help="keep latency.json and latency.svg beside this file")
    arguments = parser.parse_args()
    sizes, direct = arguments.chunks or [1_000, 10_000], arguments.milvus_only or [100_000]
    result = asyncio.run(measure(sizes, direct=direct, queries=arguments.queries))
    print_table(result)
    if arguments.write:
        (HERE / "latency.json").write_text(json.dumps(result, indent=1) + "\n")
        (HERE / "latency.svg").write_text(draw_curve(result["rows"], modes=MODES))


if __name__ == "__main__":
    main()
