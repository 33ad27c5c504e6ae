# ruff: noqa: INP001 (a script, not a package)
"""A pod of tests/support whose service is `timed_service.py`, and the machine that it ran on."""

import asyncio
import json
import os
import platform
import signal
import sys
from pathlib import Path
from typing import Any

from support.knowledge import KnowledgePod, until

HERE = Path(__file__).parent


def timed_pod(folder: Path, *, gateway_url: str) -> KnowledgePod:
    """Return the pod, not yet started."""
    pod = KnowledgePod(folder, gateway_url=gateway_url)
    pod.service.command = [sys.executable, str(HERE / "timed_service.py")]
    pod.service.environment |= {"HEARTH_BENCH_TIMES": str(folder / "times.json"), "HEARTH_LOG_LEVEL": "WARNING"}
    return pod


async def read_times(pod: KnowledgePod) -> dict[str, list[float]]:
    """Return what the service measured since the last call."""
    path = pod.folder / "times.json"
    path.unlink(missing_ok=True)
    assert pod.service.process is not None
    pod.service.process.send_signal(signal.SIGUSR1)
    await until(lambda: asyncio.to_thread(path.exists), what=f"the service writes {path.name}")
    times: dict[str, list[float]] = json.loads(path.read_text())
    return times


def describe_machine() -> dict[str, Any]:
    """Return what figures depend on."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    load = round(os.getloadavg()[0], 1)
    return {"cpu": model, "cores": len(os.sched_getaffinity(0)), "load": load, "python": platform.python_version()}
