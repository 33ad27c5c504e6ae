# ruff: noqa: INP001 (a script, not a package)
"""What each layer between a client and the engine costs: llama.cpp alone, our replica, Ray Serve, the gateway.

Run: `hack/bench/run stack [-- --rounds 9 --write]`. All layers are asked in turn, in rounds, by the same client and the
same model on the same machine. Every layer has an engine of its own, so a round asks one engine at a time.
With `--target URL --model NAME` it asks a running endpoint instead and prints the owner's table (owner.py).
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
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import aiohttp
import owner
from asking import Target, ask
from layers import KEY
from owner import total_rate
from random_model import SHAPES, TOKENIZER, in_cache

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[2] / "tests"))

from support.ray_cluster import SERVE_TOKEN, application, running_ray  # noqa: E402 (the tests' own real Ray)

SLOTS = 8
LAYERS = ("engine", "app", "serve", "gateway")
HEALTH = {"engine": "/health", "app": "/healthz", "gateway": "/healthz"}
NEXT_TO = {"app": "engine", "serve": "app", "gateway": "serve"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A model, and how much of it a round asks for: a large one's tokens take long."""

    shape: str | None = None
    tokens: int = 128
    firsts: int = 12

    def source(self) -> str:
        """Return where it is; random weights are written first."""
        return TOKENIZER if self.shape is None else f"file://{in_cache(SHAPES[self.shape])}"

    @property
    def title(self) -> str:
        """Return what it is."""
        return (
            "SmolLM2-135M, Q4_1" if self.shape is None else f"{SHAPES[self.shape].title}, {SHAPES[self.shape].stored}"
        )


MODELS = {
    "smollm2": Choice(),
    "shape-360m": Choice(shape="360m"),
    "shape-1.7b": Choice(shape="1.7b", tokens=32, firsts=6),
}
BOTH = ("smollm2", "shape-1.7b")


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
def stack(folder: Path, *, source: str, threads: int) -> Iterator[dict[str, Target]]:
    """Start everything; yield where each layer answers."""
    with ExitStack() as opened:
        cluster = opened.enter_context(running_ray(folder))
        args = {
            "modelId": "chat", "task": "Chat", "engine": "LlamaCpp", "model": {"source": source},
            "contextTokens": 512, "concurrency": SLOTS, "threads": threads, "node": "home",
            "tokenPath": cluster.token_path,
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


async def measure(targets: dict[str, Target], *, rounds: int, choice: Choice) -> dict[str, Figures]:
    """Ask all layers in rounds, each time in another order."""
    figures = {name: Figures() for name in LAYERS}
    chance = random.Random(1)  # noqa: S311 (an order, no secret)
    story = "Tell a long story about a house by the sea."
    limits = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=limits) as session:
        for target in targets.values():  # the model's pages and the prompt's cache are warm for all
            await asyncio.gather(*(ask(session, target, tokens=8, prompt=story) for _ in range(SLOTS)))
        for number in range(rounds):
            for name in chance.sample(LAYERS, len(LAYERS)):
                target, found = targets[name], figures[name]
                for _ in range(choice.firsts):
                    found.first.append(1000 * (await ask(session, target, tokens=1, prompt="Hello")).first)
                found.alone.append((await ask(session, target, tokens=choice.tokens, prompt=story)).rate)
                begun = time.perf_counter()
                asked = (ask(session, target, tokens=choice.tokens, prompt=story) for _ in range(SLOTS))
                many = await asyncio.gather(*asked)
                found.together.append(total_rate(many, seconds=time.perf_counter() - begun))
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


def layers_of(name: str, *, rounds: int, threads: int) -> dict[str, dict[str, float]]:
    """Measure one model through all layers; print its table."""
    choice = MODELS[name]
    source = choice.source()
    folder = Path(tempfile.mkdtemp(prefix="hearth-stack-"))
    try:
        with stack(folder, source=source, threads=threads) as targets:
            figures = asyncio.run(measure(targets, rounds=rounds, choice=choice))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    results = {layer: found.summary() for layer, found in figures.items()}
    asked = f"{threads} thread(s), {rounds} rounds, answers of {choice.tokens} tokens"
    print(f"\n{name}: {choice.title}; {asked}, load {os.getloadavg()[0]:.1f}\n")
    report(results)
    return results


def measure_layers(options: argparse.Namespace) -> None:
    """Measure what was asked for, or both models; keep the figures where asked."""
    names = (options.model,) if options.model else BOTH
    if unknown := [name for name in names if name not in MODELS]:
        sys.exit(f"stack: there is no model {unknown[0]}: {', '.join(MODELS)}; or name a --target")
    file = HERE / "stack.json"
    for name in names:
        results = layers_of(name, rounds=options.rounds, threads=options.threads)
        if options.write:  # after each: the next one may take half an hour
            versions = {of: metadata.version(of) for of in ("ray", "xllamacpp", "uvicorn", "aiohttp")}
            machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "load_1min": os.getloadavg()[0]}
            entry = {"is": MODELS[name].title, "threads": options.threads, "rounds": options.rounds}
            entry |= {"machine": machine, "versions": versions, "results": results}
            known = json.loads(file.read_text()) if file.exists() else {}
            file.write_text(json.dumps(known | {name: entry}, indent=1) + "\n")


def measure_owner(options: argparse.Namespace) -> None:
    """Measure a running endpoint; print the owner's table with what was measured before."""
    if not options.model:
        sys.exit("stack: --target needs --model, the name that the endpoint knows it by")
    key = Path(options.key_file).read_text().strip() if options.key_file else os.environ.get("HEARTH_KEY")
    tls = ssl.create_default_context(cafile=options.ca_file) if options.ca_file else True
    target = Target(options.target.rstrip("/").removesuffix("/v1"), key, tls, model=options.model)
    reached = asyncio.run(
        owner.measure(
            target,
            clients=options.clients,
            rounds=options.rounds,
            tokens=options.tokens,
            firsts=12,
            prompt_words=options.prompt_words,
        )
    )
    file = HERE / "owner.json"
    known = owner.read_kept(json.loads(file.read_text())) if file.exists() else {}
    known[options.row or options.model] = reached
    print(owner.table(known))
    if options.write:
        file.write_text(json.dumps(owner.kept(known), indent=1) + "\n")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--write", action="store_true", help="keep the figures in stack.json, or in owner.json")
    parser.add_argument("--model", help=f"one of {', '.join(MODELS)} instead of {' and '.join(BOTH)}; or the target's")
    parser.add_argument("--threads", type=int, default=1, help="of each engine")
    there = parser.add_argument_group("a running endpoint")
    there.add_argument("--target", help="its address, such as https://gateway.house.lan")
    there.add_argument("--key-file", help="a file with its key; otherwise the environment variable HEARTH_KEY")
    there.add_argument("--ca-file", help="the certificate that it is trusted by, where the system does not know it")
    there.add_argument("--row", choices=list(owner.MARKS), help="which row of the owner's table this is")
    there.add_argument("--clients", type=int, default=8)
    there.add_argument("--tokens", type=int, default=256, help="of an answer")
    there.add_argument("--prompt-words", type=int, default=600, help="of the prompt whose reading is timed")
    options = parser.parse_args()
    if options.target:
        measure_owner(options)
    else:
        measure_layers(options)


if __name__ == "__main__":
    main()
