"""Keeping the machine awake while it computes, and only then."""

import asyncio
import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from hearth_node.front import Traffic

log = structlog.get_logger(__name__)
_LOOK_SECONDS = 2.0
_LINGER_SECONDS = 60.0
"""A conversation goes on after an answer was read."""


def inhibitor(*, platform: str, which: Callable[[str], str | None], systemd: bool, pid: int) -> list[str] | None:
    """Return the command that keeps a machine awake while it runs; None: nothing here can."""
    if platform == "darwin":
        # -i: no idle sleep, -s: none on mains either; -w ends it with us.
        return ["/usr/bin/caffeinate", "-i", "-s", "-w", str(pid)]
    found = which("systemd-inhibit")
    if found is None or not systemd:
        return None
    return [found, "--what=sleep:idle", "--who=hearth", "--why=a model computes", "--mode=block", "sleep", "infinity"]


def here() -> list[str] | None:
    """Return `inhibitor` for this machine."""
    systemd = Path("/run/systemd/system").exists()
    return inhibitor(platform=sys.platform, which=shutil.which, systemd=systemd, pid=os.getpid())


def wanted(traffic: Traffic, *, now: float) -> bool:
    """Whether the machine must not sleep."""
    return traffic.computing > 0 or now - traffic.last_end < _LINGER_SECONDS


async def keep_awake(
    traffic: Traffic, *, command: list[str] | None, clock: Callable[[], float] = time.monotonic
) -> None:
    """Hold the inhibitor while slots are busy, until cancelled."""
    if command is None:
        return
    process: asyncio.subprocess.Process | None = None
    try:
        while True:
            busy = wanted(traffic, now=clock())
            if process is not None and process.returncode is not None:
                process = None
            if busy and process is None:
                process = await asyncio.create_subprocess_exec(*command, start_new_session=True)
                log.info("sleep_held_off")
            elif not busy and process is not None:
                await _end(process)
                process = None
                log.info("sleep_allowed")
            await asyncio.sleep(_LOOK_SECONDS)
    finally:
        if process is not None:
            await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    await process.wait()
