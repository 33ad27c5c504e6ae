"""What the front adds to a first byte: real sockets and TLS, against the same upstream without it."""

import asyncio
import ssl
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web

from hearth_node.config import InsidePorts
from hearth_node.front import Front, serve_front
from hearth_node.tls import CertificateStore
from support.node_front import CONFIG, SERVE, certify, machine_here, write_machine
from support.ray_cluster import free_port

ROUNDS = 300
MOST_MILLISECONDS = 5.0
"""On an idle core it is well below 1; the machine that tests is busy."""


@asynccontextmanager
async def upstream(port: int) -> AsyncIterator[None]:
    async def stream(request: web.Request) -> web.StreamResponse:
        await request.read()
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        for _ in range(20):
            await answer.write(b'data: {"choices": [{"delta": {"content": "word"}}]}\n\n')
        await answer.write_eof()
        return answer

    app = web.Application()
    app.router.add_post("/chat/a/v1/chat/completions", stream)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield
    finally:
        await runner.cleanup()


async def first_bytes(session: aiohttp.ClientSession, url: str, **given) -> list[float]:
    found = []
    headers = {"Authorization": f"Bearer {SERVE}"}
    for _ in range(ROUNDS):
        began = time.perf_counter()
        async with session.post(url, data=b"x" * 2000, headers=headers, **given) as answer:
            assert answer.status == 200
            await answer.content.readany()
            found.append((time.perf_counter() - began) * 1000)
            await answer.read()
    return found


async def test_a_first_byte_comes_as_soon_as_without_it(tmp_path: Path, record_property) -> None:
    paths = write_machine(tmp_path / "p")
    trusted = ssl.create_default_context(cadata=certify(paths))
    inside = InsidePorts(serve=free_port())
    config = CONFIG.model_copy(
        update={
            "hosts": ("127.0.0.1",),
            "listen": "127.0.0.1",
            "serve_port": free_port(),
            "ray_port": free_port(),
            "inside": inside,
        }
    )
    store = CertificateStore(paths.certificate, authority=paths.authority, name="studio", hosts=config.hosts)
    async with (
        upstream(inside.serve),
        aiohttp.ClientSession(auto_decompress=False) as own,
        aiohttp.ClientSession() as client,
    ):
        front = Front(config=config, paths=paths, store=store, session=own, facts=machine_here, state=dict)
        ready = asyncio.Event()
        serving = asyncio.create_task(serve_front(front, ready=ready))
        try:
            await asyncio.wait_for(ready.wait(), 10)
            path = "/chat/a/v1/chat/completions"
            bare, through = [], []
            for _ in range(3):  # by turns: both see the same machine
                bare += await first_bytes(client, f"http://127.0.0.1:{inside.serve}{path}")
                through += await first_bytes(client, f"https://127.0.0.1:{config.serve_port}{path}", ssl=trusted)
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
    cost = statistics.median(through) - statistics.median(bare)
    record_property("milliseconds", round(cost, 2))
    print(f"bare {statistics.median(bare):.2f} ms, through the front {statistics.median(through):.2f} ms")
    assert cost < MOST_MILLISECONDS
