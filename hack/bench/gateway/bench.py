# ruff: noqa: INP001 (a script, not a package)
"""CPU per request and added latency of the gateway, beside the bare upstream and a plain FastAPI + httpx proxy.

Run: `.venv/bin/python hack/bench/gateway/bench.py [--rounds 3] [--requests 400] [--streams 8]`

All three answer the same requests from the same raw asyncio mock in interleaved rounds. CPU is user + system time of
the server's own process, read from /proc around each round: it moves far less than wall time on a shared machine.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

HERE = Path(__file__).parent
TICKS = os.sysconf("SC_CLK_TCK")
PATH = "/v1/chat/completions"
BODY = {"model": "chat", "messages": [{"role": "user", "content": "hello " * 20}]}
TARGETS = ("upstream", "gateway", "fastapi-httpx")
WARM = 50


@dataclass
class Figures:
    """What was measured of one target. Milliseconds; CPU per request or per stream."""

    latency: list[float] = field(default_factory=list)
    cpu_alone: list[float] = field(default_factory=list)
    cpu_many: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    cpu_stream: list[float] = field(default_factory=list)


def cpu_seconds(pid: int) -> float:
    """Return user + system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mb(pid: int) -> float:
    """Return resident memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextmanager
def servers(base: int) -> Iterator[dict[str, tuple[int, int]]]:
    """Start the three servers; yield {target: (port, pid)}."""
    started = {
        name: subprocess.Popen([sys.executable, str(HERE / "servers.py"), name, str(base + number), str(base)])
        for number, name in enumerate(TARGETS)
    }
    try:
        yield {name: (base + number, started[name].pid) for number, name in enumerate(TARGETS)}
    finally:
        for process in started.values():
            process.terminate()
        for process in started.values():
            process.wait(10)


async def wait_ready(session: aiohttp.ClientSession, port: int) -> None:
    """Wait until a server answers."""
    for _ in range(600):
        try:
            async with session.post(f"http://127.0.0.1:{port}{PATH}", json=BODY) as answer:
                if answer.status == 200:
                    return
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(0.1)
    raise SystemExit(f"nothing answers on port {port}")


async def ask(session: aiohttp.ClientSession, port: int) -> float:
    """Send one request; return milliseconds."""
    started = time.perf_counter()
    async with session.post(f"http://127.0.0.1:{port}{PATH}", json=BODY) as answer:
        await answer.read()
        if answer.status != 200:
            raise SystemExit(f"status {answer.status}")
    return (time.perf_counter() - started) * 1000


async def stream(session: aiohttp.ClientSession, port: int) -> float:
    """Read one paced stream of 100 chunks; return milliseconds to the first byte."""
    started, first = time.perf_counter(), 0.0
    async with session.post(f"http://127.0.0.1:{port}{PATH}", json={**BODY, "stream": True}) as answer:
        async for _ in answer.content.iter_any():
            first = first or (time.perf_counter() - started) * 1000
    return first


async def measure(
    session: aiohttp.ClientSession, port: int, pid: int, figures: Figures, options: argparse.Namespace
) -> None:
    """Measure one target once: alone, with 32 at a time, and paced streams."""
    for _ in range(WARM):
        await ask(session, port)
    before = cpu_seconds(pid)
    figures.latency += [await ask(session, port) for _ in range(options.requests)]
    figures.cpu_alone.append((cpu_seconds(pid) - before) * 1000 / options.requests)

    gate = asyncio.Semaphore(32)

    async def bounded() -> None:
        async with gate:
            await ask(session, port)

    count = options.requests * 4
    before, started = cpu_seconds(pid), time.perf_counter()
    await asyncio.gather(*(bounded() for _ in range(count)))
    figures.rate.append(count / (time.perf_counter() - started))
    figures.cpu_many.append((cpu_seconds(pid) - before) * 1000 / count)

    before = cpu_seconds(pid)
    figures.first += await asyncio.gather(*(stream(session, port) for _ in range(options.streams)))
    figures.cpu_stream.append((cpu_seconds(pid) - before) * 1000 / options.streams)


async def run(options: argparse.Namespace) -> None:
    """Measure all targets in interleaved rounds and print a table."""
    found = {name: Figures() for name in TARGETS}
    load = os.getloadavg()[0]
    headers = {"Authorization": f"Bearer hearth_abcdefghij_{'s' * 43}"}
    with servers(options.port) as running:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(headers=headers, connector=connector) as session:
            for port, _ in running.values():
                await wait_ready(session, port)
            for _ in range(options.rounds):
                for name, (port, pid) in running.items():
                    await measure(session, port, pid, found[name], options)
            memory = {name: resident_mb(pid) for name, (_, pid) in running.items()}
    print(f"load average {load:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} cores")
    print("| | C=1 p50 / p99 ms | CPU-ms | C=32 requests/s | CPU-ms | RSS MB | stream: first byte p50 ms | CPU-ms |")
    print("|---|---|---|---|---|---|---|---|")
    for name, item in found.items():
        ordered = sorted(item.latency)
        cells = (
            f"{statistics.median(ordered):.2f} / {ordered[int(len(ordered) * 0.99)]:.2f}",
            f"{statistics.median(item.cpu_alone):.2f}",
            f"{statistics.median(item.rate):.0f}",
            f"{statistics.median(item.cpu_many):.2f}",
            f"{memory[name]:.0f}",
            f"{statistics.median(item.first):.1f}",
            f"{statistics.median(item.cpu_stream):.1f}",
        )
        print(f"| {name} | " + " | ".join(cells) + " |")
    if options.json:
        print(json.dumps({name: vars(item) for name, item in found.items()}))


def main() -> None:
    """Parse options and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--port", type=int, default=18500)
    parser.add_argument("--json", action="store_true")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
