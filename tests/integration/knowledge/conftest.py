"""One embedder for all; a pod (knowledge service and milvus-lite) that tests share unless they harm it."""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from hearth_serve.engines.onnx import OnnxEngine
from support.embedder import EmbeddingServer, embedding_server, load_engine
from support.knowledge import KnowledgePod

QUICKSTART = Path(__file__).parents[2] / "data" / "work-month"


@pytest.fixture(scope="session")
def engine() -> Iterator[OnnxEngine]:
    return load_engine()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def gateway(engine: OnnxEngine) -> AsyncIterator[EmbeddingServer]:
    async with embedding_server(engine) as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def pod(gateway: EmbeddingServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[KnowledgePod]:
    async with KnowledgePod(tmp_path_factory.mktemp("pod"), gateway_url=gateway.url) as running:
        yield running


@pytest.fixture(scope="session")
def sample() -> dict[str, list[bytes]]:
    """The quickstart's documents in normal form, by source, as `hearth-ingest parse` prints them."""
    command = str(Path(sys.executable).with_name("hearth-ingest"))
    found = {}
    for source, kind, path in (("inbox", "email", "mail.mbox"), ("documents", "documents", "documents")):
        done = subprocess.run(
            [command, "parse", "--source", source, "--type", kind, str(QUICKSTART / path)],
            check=True,
            capture_output=True,
        )
        found[source] = done.stdout.splitlines()
    return found
