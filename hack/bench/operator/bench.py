# ruff: noqa: INP001 (a script, not a package)
"""The operator against a real API server, beside a minimal controller-runtime operator that writes the same statuses.

Run: `hack/bench/run operator -- [--resources 1000] [--rate 20] [--seconds 30] [--only hearth|peer] [--write]`

Both are real processes and meet the same resources, created at once, and then the same steady spec changes. Settled:
`observedGeneration` is the generation, and Ready is there. Latency: from the watch event with the new generation to the
one whose status has observed it, both seen by the same observer.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "src")]

from api import Admin, Observer  # noqa: E402
from resources import PLURALS, build_change, build_resources  # noqa: E402

from hearth_api.crd import build_crds  # noqa: E402
from hearth_hack.controlplane import ControlPlane, free_ports  # noqa: E402

MACHINES = 16
GIVE_UP_SECONDS = 300
TICKS = os.sysconf("SC_CLK_TCK")
OPERATORS = ("hearth", "peer")


@dataclass
class Stage:
    """What both operators run on."""

    kubeconfig: Path
    ports: list[int]
    folder: Path
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, name: str, command: list[str], environ: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a process with its words in a file."""
        with (self.folder / f"{name}.log").open("wb") as words:
            process = subprocess.Popen(command, env={**os.environ, **(environ or {})}, stdout=words, stderr=words)
        self.running.append(process)
        return process

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """End it."""
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self.running.remove(process)


def start_operator(stage: Stage, name: str, namespace: str) -> subprocess.Popen[bytes]:
    """Start one of the two in its namespace."""
    if name == "peer":
        binary = stage.folder / "peer"
        subprocess.run(["go", "build", "-o", str(binary), "."], cwd=HERE / "peer", check=True)
        return stage.start(name, [str(binary), f"-namespace={namespace}"], {"KUBECONFIG": str(stage.kubeconfig)})
    token = stage.folder / "token"
    token.write_text("projected")
    environ = {
        "KUBECONFIG": str(stage.kubeconfig),
        "HEARTH_NAMESPACE": namespace,
        "HEARTH_CONTROL_IMAGE": "hearth.local/hearth-control:bench",
        "HEARTH_SERVE_IMAGE": "hearth.local/hearth-serve:bench",
        "HEARTH_KNOWLEDGE_URL": f"http://127.0.0.1:{stage.ports[0]}",
        "HEARTH_KNOWLEDGE_TOKEN_PATH": str(token),
        "HEARTH_HTTP_PORT": str(free_ports(1)[0]),
    }
    command = [sys.executable, "-m", "hearth_operator.main", "run"]
    if profile := os.environ.get("HEARTH_BENCH_PROFILE"):
        command[1:1] = ["-m", "cProfile", "-o", profile]
    return stage.start(name, command, environ)


def memory(pid: int) -> float:
    """Return the peak resident memory in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1000


def cpu(pid: int) -> float:
    """Return user and system seconds so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def percentile(values: list[float], part: float) -> float:
    """Return the value that `part` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else float("nan")


async def measure(stage: Stage, admin: Admin, name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Create everything at once, wait, then change steadily; return the figures of one operator."""
    namespace = f"bench-{name}"
    await admin.create_namespace(namespace)
    resources = list(build_resources(arguments.resources, stage.ports))
    process = start_operator(stage, name, namespace)
    async with Observer(admin, namespace) as observer:
        await asyncio.sleep(8)  # it starts, lists and watches: starting is not what is measured
        begun = time.monotonic()
        await asyncio.gather(*(admin.create(namespace, resource) for resource in resources))
        created = time.monotonic() - begun
        while observer.settled < len(resources) and time.monotonic() - begun < GIVE_UP_SECONDS:
            assert process.poll() is None, (stage.folder / f"{name}.log").read_text()[-3000:]
            await asyncio.sleep(0.1)
        settled, unsettled = time.monotonic() - begun, len(resources) - observer.settled
        result: dict[str, Any] = {
            "created_s": round(created, 2),
            "settled_s": round(settled, 2),
            "unsettled": unsettled,
            "cpu_s_until_settled": round(cpu(process.pid), 2),
            "status_writes_until_settled": observer.status_writes,
        }
        await asyncio.sleep(arguments.calm)
        observer.latencies.clear()
        spent = cpu(process.pid)
        await change_steadily(admin, namespace, resources, arguments)
        deadline = time.monotonic() + 30
        while observer.waiting and time.monotonic() < deadline:  # noqa: ASYNC110 (what it waits for is a sum)
            await asyncio.sleep(0.1)
        seconds = [latency for _, latency in observer.latencies]
        result |= {
            "changes": len(seconds),
            "changes_unseen": observer.waiting,
            "latency_p50_s": round(percentile(seconds, 0.5), 4),
            "latency_p99_s": round(percentile(seconds, 0.99), 4),
            "latency_p99_s_by_kind": {
                kind: round(percentile([s for k, s in observer.latencies if k == kind], 0.99), 4) for kind in PLURALS
            },
            "cpu_s_steady": round(cpu(process.pid) - spent, 2),
            "peak_rss_mb": round(memory(process.pid), 1),
        }
    stage.stop(process)
    return result


async def change_steadily(
    admin: Admin, namespace: str, resources: list[dict[str, Any]], arguments: argparse.Namespace
) -> None:
    """Patch one resource after another at the given rate, whether or not the operator keeps up."""
    rng = random.Random(arguments.seed)  # noqa: S311 (a repeatable order)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    patches = []
    for number in range(int(arguments.rate * arguments.seconds)):
        await asyncio.sleep(max(0.0, begun + number / arguments.rate - loop.time()))
        chosen = rng.choice(resources)
        change = build_change(chosen["kind"], number)
        patches.append(asyncio.create_task(admin.change(namespace, chosen, change)))
    await asyncio.gather(*patches)


async def run(stage: Stage, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure one operator after the other on the same API server."""
    async with Admin(stage.kubeconfig) as admin:
        for crd in build_crds().values():
            await admin.create_crd(crd)
        await admin.wait_for_kinds()
        names = [arguments.only] if arguments.only else list(OPERATORS)
        return {name: await measure(stage, admin, name, arguments) for name in names}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resources", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=20.0, help="changes a second")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--calm", type=float, default=15.0, help="seconds between settled and the first change")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--only", choices=OPERATORS)
    parser.add_argument("--write", action="store_true", help="keep the figures in operator.json")
    arguments = parser.parse_args()
    ports = free_ports(MACHINES)
    with ControlPlane() as plane, tempfile.TemporaryDirectory(prefix="hearth-bench-") as folder:
        stage = Stage(kubeconfig=plane.kubeconfig, ports=ports, folder=Path(folder))
        try:
            stage.start("outside", [sys.executable, str(HERE / "outside.py"), *map(str, ports)])
            results: dict[str, Any] = asyncio.run(run(stage, arguments))
        finally:
            for process in list(stage.running):
                stage.stop(process)
            if keep := os.environ.get("HEARTH_BENCH_LOG"):
                words = Path(folder, "hearth.log")
                Path(keep).write_bytes(words.read_bytes() if words.exists() else b"")
    if set(OPERATORS) <= results.keys():
        results["ratio"] = {
            figure: round(results["hearth"][figure] / max(results["peer"][figure], 1e-3), 2)
            for figure in ("settled_s", "latency_p50_s", "latency_p99_s", "peak_rss_mb", "cpu_s_steady")
        }
    results["machine"] = {"cores": os.cpu_count(), "load": [round(part, 1) for part in os.getloadavg()]}
    results["asked"] = {key: getattr(arguments, key) for key in ("resources", "rate", "seconds", "seed")}
    text = json.dumps(results, indent=2)
    print(text)
    if arguments.write:
        (HERE / "operator.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
