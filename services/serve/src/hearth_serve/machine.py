"""What this process may use and does use: cores, memory, the sources it runs."""

import hashlib
import os
import resource
import sys
from pathlib import Path

from hearth_api.wire.serve import MemoryInfo


def available_cores() -> int:
    """Return how many cores the scheduler lets this process run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def choose_threads(*, wanted: int | None, cores: int, num_cpus: float) -> int:
    """Return how many threads an engine computes with.

    One core stays free by default: llama.cpp's threads spin, and on a busy machine two threads on two cores fall
    from 110 to 1 token/s. What Ray reserved (`num_cpus`) bounds both the default and the wish.
    """
    threads = wanted if wanted is not None else max(1, cores - 1)
    if num_cpus > 0:
        threads = min(threads, max(1, int(num_cpus)))
    return max(1, min(threads, cores))


def memory_info(*, status_file: Path = Path("/proc/self/status")) -> MemoryInfo:
    """Return resident memory of this process in bytes, now and at its peak."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak *= 1 if sys.platform == "darwin" else 1024
    if not status_file.exists():  # macOS: only the peak is free of cost
        return MemoryInfo(now=peak, peak=peak)
    fields = dict(line.split(":", 1) for line in status_file.read_text().splitlines() if ":" in line)
    now = int(fields["VmRSS"].split()[0]) * 1024
    high = int(fields["VmHWM"].split()[0]) * 1024
    return MemoryInfo(now=now, peak=max(now, high))


def source_hash(*, root: Path = Path(__file__).parent) -> str:
    """Return the SHA-256 over the installed sources, so that two nodes with different code are told apart."""
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
        digest.update(path.read_bytes())
        digest.update(b"\0")
    return digest.hexdigest()
