# ruff: noqa: INP001 (a script, not a package)
"""The knowledge service as `tests/support` runs it, with stopwatches.

SIGUSR1 writes what was measured since the last one to the file HEARTH_BENCH_TIMES: {what: [seconds, ...]}. The watches
are set from outside, by name, so that the service itself carries none.
"""

import asyncio
import functools
import json
import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hearth_common.logs import configure_logging
from hearth_knowledge.index.embedder import GatewayEmbedder
from hearth_knowledge.index.indexer import Indexer
from hearth_knowledge.index.milvus import MilvusStore
from support.knowledge_process import run

WATCHED: tuple[tuple[type[Any], str, str], ...] = (
    (Indexer, "_prepare_all", "chunk"),
    (Indexer, "_apply", "write"),
    (GatewayEmbedder, "embed", "embed"),
    (MilvusStore, "upsert", "insert"),
    (MilvusStore, "flush", "flush"),
    (MilvusStore, "search_dense", "milvus"),
    (MilvusStore, "search_sparse", "milvus"),
)


class Watches:
    """Seconds by what they were spent on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def watch(self, owner: type[Any], name: str, what: str) -> None:
        """Time every call of a method from now on."""
        original: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(original)
        async def waited(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return await original(*args, **kwargs)
            finally:
                self.seconds[what].append(time.perf_counter() - began)

        @functools.wraps(original)
        def called(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                self.seconds[what].append(time.perf_counter() - began)

        setattr(owner, name, waited if asyncio.iscoroutinefunction(original) else called)

    def write(self) -> None:
        """Write and forget."""
        scratch = self.path.with_suffix(".part")
        scratch.write_text(json.dumps(self.seconds))
        scratch.replace(self.path)
        self.seconds = defaultdict(list)


async def main() -> None:
    """Run the service until it is told to end."""
    watches = Watches(Path(os.environ["HEARTH_BENCH_TIMES"]))
    for owner, name, what in WATCHED:
        watches.watch(owner, name, what)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, watches.write)
    await run()


if __name__ == "__main__":
    configure_logging("hearth-knowledge", level="WARNING")
    asyncio.run(main())
