"""One embedder for all; a pod (knowledge service and milvus-lite) that tests share unless they harm it."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from hearth_serve.engines.onnx import OnnxEngine
from support.embedder import EmbeddingServer, embedding_server, load_engine
from support.knowledge import KnowledgePod
from support.questions import SOURCES, parse_source


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
    """The sample's documents in normal form, by source."""
    return {source: parse_source(source) for source in SOURCES}
