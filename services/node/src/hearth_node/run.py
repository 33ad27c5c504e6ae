"""`hearth-node run`: Ray, the front and what keeps the machine awake, in the foreground until told to stop.

SIGTERM and SIGINT end everything; SIGHUP ends everything and starts the release that `current` names now.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import structlog

from hearth_common.logs import configure_logging
from hearth_node.awake import here, keep_awake
from hearth_node.config import NodeConfig, Paths, read_config, read_environment, write_file
from hearth_node.facts import MachineReader
from hearth_node.front import Front, Traffic, serve_front
from hearth_node.ray import ray_command, ray_environment
from hearth_node.supervise import Supervisor, is_marked, watch_memory
from hearth_node.tls import CertificateStore

log = structlog.get_logger(__name__)
_CONNECT_SECONDS = 5.0
_DRAIN_SECONDS = 30.0
_TRY_SECONDS = 20.0
_LOOK_SECONDS = 0.1


async def run_node(config: NodeConfig, paths: Paths, *, environ: Mapping[str, str], bin_dir: Path) -> int:
    """Run until a signal; return it."""
    stop: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, _set, stop, number)
    supervisor = Supervisor(
        ray_command(config, paths, bin_dir=bin_dir),
        environment=ray_environment(config, paths, environ=environ, bin_dir=bin_dir, own=read_environment(paths)),
        log_path=paths.var / "ray.log",
        cwd=paths.var,
    )
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, auto_decompress=False, trust_env=False
    ) as session:
        front = build_front(config, paths, session=session, supervisor=supervisor)
        tasks = [
            asyncio.create_task(supervisor.run(), name="ray"),
            asyncio.create_task(serve_front(front), name="front"),
            asyncio.create_task(keep_awake(front.traffic, command=here()), name="awake"),
        ]
        if config.limit is not None:
            tasks.append(asyncio.create_task(watch_memory(str(paths.prefix), limit=config.limit), name="memory"))
        write_file(paths.pid, f"{os.getpid()}\n".encode(), mode=0o644)
        try:
            signaled = await _until(stop, tasks)
            await drain(front.traffic, seconds=_DRAIN_SECONDS)
            return signaled
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if not stop.done() or stop.result() != signal.SIGHUP:  # else the next release is this process
                paths.pid.unlink(missing_ok=True)


def build_front(config: NodeConfig, paths: Paths, *, session: aiohttp.ClientSession, supervisor: Supervisor) -> Front:
    """Return the front of this machine."""

    def state() -> dict[str, object]:
        ray = supervisor.state
        return {
            "name": config.name,
            "release": Path(sys.executable).parent.parent.name,
            "pid": os.getpid(),
            "ray": {
                "pid": ray.pid,
                "starts": ray.starts,
                "seconds": round(time.monotonic() - ray.since, 1) if ray.pid is not None else None,
                "lastExit": ray.last_exit,
            },
        }

    reader = MachineReader(ours=partial(is_marked, mark=str(paths.prefix)))
    store = CertificateStore(paths.certificate, authority=paths.authority, name=config.name, hosts=config.hosts)
    return Front(
        config=config, paths=paths, store=store, session=session, facts=reader.read, state=state, traffic=Traffic()
    )


async def drain(traffic: Traffic, *, seconds: float) -> None:
    """Begin nothing new, and wait for what is under way as long as service managers wait for us."""
    traffic.draining = True
    end = time.monotonic() + seconds
    while traffic.computing and time.monotonic() < end:  # noqa: ASYNC110 (a count that moves both ways)
        await asyncio.sleep(_LOOK_SECONDS)


def _set(stop: "asyncio.Future[int]", number: int) -> None:
    if not stop.done():
        stop.set_result(number)


async def _until(stop: "asyncio.Future[int]", tasks: list["asyncio.Task[None]"]) -> int:
    """Wait for the signal. A task that ends with an error ends everything: the service manager starts it anew."""
    while True:
        watched: list[asyncio.Future[Any]] = [stop, *tasks]
        await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        if stop.done():
            return stop.result()
        for task in [t for t in tasks if t.done()]:
            task.result()
            tasks.remove(task)  # nothing to hold awake with


def next_program(wanted: Path, *, own: Path, seconds: float = _TRY_SECONDS) -> Path:
    """Return the program to become: this release again where the other one does not even start."""
    try:
        done = subprocess.run([wanted, "--help"], capture_output=True, check=False, timeout=seconds)
    except (OSError, subprocess.TimeoutExpired):
        done = None
    if done is not None and done.returncode == 0:
        return wanted
    log.error("release_does_not_start", program=str(wanted))
    return own


def main(paths: Paths) -> int:
    """Run in the foreground; on SIGHUP the process becomes the current release."""
    configure_logging("hearth-node")
    config = read_config(paths)
    bin_dir = Path(sys.executable).parent
    number = asyncio.run(run_node(config, paths, environ=os.environ, bin_dir=bin_dir))
    log.info("stopped", signal=signal.Signals(number).name)
    if number == signal.SIGHUP:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until it listens to it
        program = next_program(paths.current / "bin" / "hearth-node", own=bin_dir / "hearth-node")
        os.execv(program, [str(program), "run", "--prefix", str(paths.prefix)])  # noqa: S606 (no shell is the point)
    return 0
