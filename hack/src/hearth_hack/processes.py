"""Starts daemons that outlive this program and stops exactly them: a record names process id and start time."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
START_TIME_FIELD = 19  # of /proc/<pid>/stat, counted behind the command's closing parenthesis


# Programs that `run_logged` waits for, in whichever thread.
RUNNING: set[subprocess.Popen[bytes]] = set()


class DaemonError(RuntimeError):
    """A daemon ended or did not become ready in time; `log` holds its words."""

    def __init__(self, name: str, *, reason: str, log: Path) -> None:
        super().__init__(f"{name} {reason}; its log: {log}\n{tail(log)}")
        self.name = name
        self.reason = reason
        self.log = log


@dataclass(frozen=True, slots=True)
class Daemon:
    """What to start. `ready` answers None when the daemon serves, else a few words on what is missing."""

    name: str
    command: tuple[str, ...]
    log: Path
    ready: Callable[[], str | None]
    environ: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """A process that cannot be mistaken for a later one with the same id: `started` is in clock ticks since boot."""

    name: str
    pid: int
    started: int
    boot: str

    def as_json(self) -> dict[str, str | int]:
        """Return the record as JSON types."""
        return {"name": self.name, "pid": self.pid, "started": self.started, "boot": self.boot}


def record_from_json(value: Mapping[str, str | int]) -> ProcessRecord:
    """Return what `as_json` wrote."""
    return ProcessRecord(
        name=str(value["name"]), pid=int(value["pid"]), started=int(value["started"]), boot=str(value["boot"])
    )


def boot_id() -> str:
    """Return the kernel's id of this boot."""
    return BOOT_ID.read_text().strip()


def parse_stat(text: str) -> tuple[str, int]:
    """State letter and start time of a /proc/<pid>/stat line; the command in it may hold blanks and parentheses."""
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[START_TIME_FIELD])


def start_time(pid: int) -> int | None:
    """None when the process is gone or a zombie."""
    try:
        state, started = parse_stat(Path(f"/proc/{pid}/stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" else started


def is_alive(record: ProcessRecord) -> bool:
    """Return whether that very process runs."""
    return record.boot == boot_id() and start_time(record.pid) == record.started


def start_daemon(daemon: Daemon) -> ProcessRecord:
    """Starts it in a session of its own with its output appended to its log."""
    daemon.log.parent.mkdir(parents=True, exist_ok=True)
    with daemon.log.open("ab") as output:
        process = subprocess.Popen(
            daemon.command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=None if daemon.environ is None else dict(daemon.environ),
            cwd="/",
        )
    # The record owns the process from here: without this Popen would warn that it is still running.
    process.returncode = 0
    started = start_time(process.pid)
    if started is None:
        raise DaemonError(daemon.name, reason="ended at once", log=daemon.log)
    return ProcessRecord(name=daemon.name, pid=process.pid, started=started, boot=boot_id())


def wait_ready(daemon: Daemon, record: ProcessRecord, *, seconds: float) -> None:
    """Polls the daemon's own probe. Raises DaemonError when it ends or the time is over."""
    deadline = time.monotonic() + seconds
    while (missing := daemon.ready()) is not None:
        reap(record.pid)
        if not is_alive(record):
            raise DaemonError(daemon.name, reason="ended while starting", log=daemon.log)
        if time.monotonic() > deadline:
            raise DaemonError(daemon.name, reason=f"was not ready after {seconds:.0f} s: {missing}", log=daemon.log)
        time.sleep(0.1)


def stop_process(record: ProcessRecord, *, seconds: float = 10.0) -> None:
    """Asks the process to end, then makes it. Does nothing when that very process is gone."""
    for sign, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 5.0)):
        if not is_alive(record):
            return
        os.kill(record.pid, sign)
        deadline = time.monotonic() + patience
        while is_alive(record) and time.monotonic() < deadline:
            reap(record.pid)
            time.sleep(0.05)


def reap(pid: int) -> None:
    """Collects our own ended child; daemons of an earlier run have init as their parent."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def tail(log: Path, *, lines: int = 12) -> str:
    """Return the end of a log, indented."""
    if not log.exists():
        return ""
    with log.open("rb") as handle:
        handle.seek(max(0, log.stat().st_size - 16_384))
        text = handle.read().decode(errors="replace")
    return "\n".join(f"  {line[:300]}" for line in text.splitlines()[-lines:])


def run_logged(
    command: Sequence[str], *, log: Path, environ: Mapping[str, str] | None = None, cwd: Path | None = None
) -> None:
    """Runs a program to its end with all output in `log`. Raises CommandError."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        output.write(f"$ {' '.join(command)}\n".encode())
        output.flush()
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environ, cwd=cwd)
        RUNNING.add(child)
        try:
            status = child.wait()
        finally:
            RUNNING.discard(child)
    if status != 0:
        raise CommandError(command[0], status=status, log=log)


def end_running() -> None:
    """Ends the programs that `run_logged` waits for in other threads: after a failure nothing goes on unseen."""
    for child in list(RUNNING):
        child.terminate()
    for child in list(RUNNING):
        try:
            child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            child.kill()


class CommandError(RuntimeError):
    """A program failed; `log` holds its output."""

    def __init__(self, program: str, *, status: int, log: Path) -> None:
        super().__init__(f"{program} ended with status {status}; its log: {log}\n{tail(log)}")
        self.program = program
        self.status = status
        self.log = log
