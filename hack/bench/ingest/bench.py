# ruff: noqa: INP001 (a script, not a package)
"""The sample month end to end: files, parsers, knowledge service, embedder and vector store; documents per second.

    hack/bench/run ingest

Runs `hearth-ingest run` for each source one after the other against a knowledge service with milvus-lite beside it
and the packaged embedder (MiniLM int8, two threads), then waits until everything is searchable. The parts of the
service are taken by stopwatches around its functions; those of ingestion by parsing once more without a service.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
REPO = HERE.parents[2]
sys.path[:0] = [str(REPO / "tests"), str(HERE.parent / "knowledge")]

from timed_pod import describe_machine, read_times, timed_pod  # noqa: E402

from support.embedder import embedding_config, embedding_server, load_engine  # noqa: E402
from support.knowledge import KnowledgePod  # noqa: E402
from support.questions import SAMPLE, SOURCES  # noqa: E402

COMMAND = str(Path(sys.executable).with_name("hearth-ingest"))
KB = "bench"


def build_spec(pod: KnowledgePod, folder: Path, source: str) -> Path:
    """Write the RunSpec of a source and return its path."""
    kind, path = SOURCES[source]
    (folder / source).mkdir()
    (folder / source / "token").write_text(f"hearth-ingest-{source}")
    spec = {"source": source, "knowledgeBase": KB, "type": kind, "path": str(SAMPLE / path), "trust": "Known"}
    spec |= {"knowledgeUrl": pod.url, "tokenPath": str(folder / source / "token")}
    (folder / source / "run.json").write_text(json.dumps(spec))
    return folder / source / "run.json"


async def run_source(pod: KnowledgePod, folder: Path, source: str) -> dict[str, Any]:
    """Run ingestion of one source; return its report and how long it took."""
    spec = build_spec(pod, folder, source)
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        COMMAND, "run", "--spec", str(spec), "--termination-log", str(folder / source / "report"),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    await process.wait()
    report: dict[str, Any] = json.loads((folder / source / "report").read_text())
    return {"seconds": time.perf_counter() - began, **report}


def measure_start() -> float:
    """Return how long the command takes to say how it is used: interpreter and imports."""
    began = time.perf_counter()
    subprocess.run([COMMAND, "--help"], check=True, capture_output=True)
    return time.perf_counter() - began


def measure_parse(source: str) -> float:
    """Return how long reading and parsing a source takes, its start included."""
    kind, path = SOURCES[source]
    began = time.perf_counter()
    command = [COMMAND, "parse", "--source", source, "--type", kind, str(SAMPLE / path)]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


async def measure(sources: list[str]) -> dict[str, Any]:
    """Run everything once and return the figures."""
    engine = load_engine()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        async with embedding_server(engine) as gateway, timed_pod(folder / "pod", gateway_url=gateway.url) as pod:
            await pod.configure(KB, embedding_config(engine))
            began = time.perf_counter()
            reports = {source: await run_source(pod, folder, source) for source in sources}
            handed = time.perf_counter() - began
            status = await pod.indexed(KB, seconds=900)
            total = time.perf_counter() - began
            times = await read_times(pod)
        parse = {source: measure_parse(source) for source in sources}
    start = measure_start()
    spent = {name: sum(values) for name, values in times.items()}
    added = sum(report["counts"]["added"] for report in reports.values())
    parts = {
        "start of the commands": start * len(sources),
        "parse": sum(parse.values()) - start * len(sources),
        "hand over (encrypt, store, originals)": handed - sum(parse.values()),
        "chunk and terms": spent.get("chunk", 0.0),
        "embed": spent.get("embed", 0.0),
        "insert into Milvus": spent.get("insert", 0.0) + spent.get("flush", 0.0),
        "ledger": spent.get("write", 0.0) - spent.get("insert", 0.0),
    }
    return {
        "machine": describe_machine(),
        "sources": {name: report["counts"]["added"] for name, report in reports.items()},
        "outcomes": sorted({report["outcome"] for report in reports.values()}),
        "documents": added,
        "chunks": status["chunks"],
        "seconds": round(total, 1),
        "documents_per_second": round(added / total, 1),
        "seconds_until_handed_over": round(handed, 1),
        "parts": {name: round(max(0.0, value), 2) for name, value in parts.items()},
    }


def print_table(result: dict[str, Any]) -> None:
    """Print the figures as Markdown."""
    print(f"{result['documents']} documents, {result['chunks']} chunks in {result['seconds']} s: ", end="")
    print(f"{result['documents_per_second']} documents a second ({result['machine']})")
    print("\n| part | seconds |\n| --- | ---: |")
    for name, seconds in result["parts"].items():
        print(f"| {name} | {seconds:.1f} |")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", action="append", choices=list(SOURCES), help="only this source (repeatable)")
    parser.add_argument("--write", action="store_true", help="keep the figures in results.json beside this file")
    arguments = parser.parse_args()
    result = asyncio.run(measure(arguments.source or list(SOURCES)))
    print_table(result)
    if arguments.write:
        (HERE / "results.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
