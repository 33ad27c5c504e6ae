# ruff: noqa: INP001 (a script, not a package)
"""Milvus alone, filled directly: what a search costs there in a collection too large to fill through the service."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hearth_knowledge.errors import StoreUnavailableError
from hearth_knowledge.index.milvus import MilvusStore
from hearth_knowledge.ports import RowFilter, VectorRow
from support.embedder import free_port

COLLECTION = "direct"
DIMENSIONS, VOCABULARY, WORDS, QUERY_WORDS, BATCH = 384, 20_000, 90, 6, 500
FOREVER = 2**62
CANDIDATES = 50  # as the service asks for


def measure_direct(size: int, *, queries: int, folder: Path) -> dict[str, Any]:
    """Fill a milvus-lite of our own with `size` rows; return milliseconds by leg and rows a second."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("milvus-lite")), "server", "--data-dir", str(folder)]
    with (folder.parent / "direct.log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)], stdout=log, stderr=subprocess.STDOUT
        )
    store = MilvusStore(f"http://127.0.0.1:{port}", timeout=60)
    try:
        _wait(store)
        store.ensure_collection(COLLECTION, dimensions=DIMENSIONS)
        random = np.random.default_rng(1)
        directions = random.standard_normal((VOCABULARY, DIMENSIONS), dtype=np.float32)
        weights = 1 / np.arange(1, VOCABULARY + 1)
        weights /= weights.sum()
        began = time.perf_counter()
        for first in range(0, size, BATCH):
            store.upsert(COLLECTION, _rows(first, min(BATCH, size - first), random, directions, weights))
        store.flush(COLLECTION)
        rate = size / (time.perf_counter() - began)
        where = RowFilter(valid_at=1)
        asked = [random.choice(VOCABULARY, size=QUERY_WORDS, p=weights) for _ in range(queries + 3)]
        legs: dict[str, Callable[[Any], object]] = {
            "dense": lambda words: store.search_dense(
                COLLECTION, _unit(directions[words].sum(axis=0)), where=where, limit=CANDIDATES
            ),
            "sparse": lambda words: store.search_sparse(
                COLLECTION, {int(word): 3.0 for word in words}, where=where, limit=CANDIDATES
            ),
        }
        figures = {name: _time(search, asked) for name, search in legs.items()}
        return {"chunks": size, "inserted_per_second": round(rate), **figures}
    finally:
        store.close()
        server.terminate()
        server.wait(timeout=30)


def _wait(store: MilvusStore) -> None:
    for _ in range(600):
        try:
            return store.ping()
        except StoreUnavailableError:
            time.sleep(0.1)
    raise TimeoutError("milvus-lite did not start")


def _rows(first: int, number: int, random: Any, directions: Any, weights: Any) -> list[VectorRow]:
    words = random.choice(VOCABULARY, size=(number, WORDS), p=weights)
    return [
        VectorRow(
            id=f"email-{first + position:08}:1:0",
            document=f"email-{first + position:08}",
            version=1,
            source="inbox",
            kind="email",
            trust="Known",
            time=0,
            valid_from=0,
            valid_to=FOREVER,
            thread="",
            people=(),
            dense=_unit(directions[row].sum(axis=0)),
            sparse={int(word): 1.0 for word in np.unique(row)},
        )
        for position, row in enumerate(words)
    ]


def _unit(vector: Any) -> list[float]:
    return list((vector / np.linalg.norm(vector)).tolist())


def _time(search: Callable[[Any], object], asked: list[Any]) -> dict[str, float]:
    seen = []
    for words in asked:
        began = time.perf_counter()
        search(words)
        seen.append((time.perf_counter() - began) * 1000)
    cuts = statistics.quantiles(seen[3:], n=20)  # the first three warm up
    return {"p50": round(cuts[9], 1), "p95": round(cuts[18], 1)}
