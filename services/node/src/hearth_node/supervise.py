"""Keeping Ray alive: started anew with growing pauses, ended by process id, and kept within its memory."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import structlog

from hearth_node.ray import MARK

log = structlog.get_logger(__name__)
_FIRST_PAUSE = 1.0
_MOST_PAUSE = 60.0
_SETTLED = 60.0
"""Who lived for so long has started: the next pause is short again."""
_END_SECONDS = 15.0
_MEMORY_SECONDS = 5.0
_TIMES_OVER = 3


@dataclass(slots=True)
class RayState:
    """What the supervisor tells."""

    pid: int | None = None
    since: float = 0.0
    """Monotonic seconds of the last start."""
    starts: int = 0
    last_exit: int | None = None


def next_pause(pause: float, *, lived: float) -> float:
    """Return the seconds until the next start, given the last pause and how long the process lived."""
    return _FIRST_PAUSE if lived >= _SETTLED else min(pause * 2, _MOST_PAUSE)


class Supervisor:
    """Runs a command again and again until cancelled."""

    def __init__(
        self,
        command: list[str],
        *,
        environment: Mapping[str, str],
        log_path: Path,
        cwd: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._command = command
        self._environment = dict(environment)
        self._log_path = log_path
        self._cwd = cwd
        self._clock = clock
        self.state = RayState()

    async def run(self) -> None:
        """Start, wait, start again. When cancelled nothing of it is left."""
        mark = self._environment[MARK]
        pause = _FIRST_PAUSE / 2
        await asyncio.to_thread(end_marked, mark, seconds=_END_SECONDS)  # of a supervisor that was killed
        try:
            while True:
                began = self._clock()
                code = await self._once(began)
                await asyncio.to_thread(end_marked, mark, seconds=_END_SECONDS)
                pause = next_pause(pause, lived=self._clock() - began)
                log.warning("ray_ended", code=code, next_start_in=pause)
                await asyncio.sleep(pause)
        finally:
            await asyncio.shield(asyncio.to_thread(end_marked, mark, seconds=_END_SECONDS))

    async def _once(self, began: float) -> int | None:
        self.state.since, self.state.starts = began, self.state.starts + 1
        rotate(self._log_path)
        with self._log_path.open("ab") as file:
            try:
                process = await asyncio.create_subprocess_exec(
                    *self._command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    env=self._environment,
                    cwd=self._cwd,
                    start_new_session=True,
                )
            except OSError as error:
                log.error("ray_not_started", error=error.strerror)  # noqa: TRY400 (no trace helps the owner)
                return None
        self.state.pid = process.pid
        log.info("ray_started", pid=process.pid, starts=self.state.starts)
        try:
            self.state.last_exit = await process.wait()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()  # Ray's own end first: it ends its processes in order
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _END_SECONDS)
            raise
        finally:
            self.state.pid = None
        return self.state.last_exit


def rotate(path: Path, *, most_bytes: int = 10 * 1024 * 1024) -> None:
    """Keep one former log."""
    with contextlib.suppress(OSError):
        if path.stat().st_size > most_bytes:
            path.replace(path.with_suffix(".old"))


def marked(mark: str) -> list[psutil.Process]:
    """Return the processes that carry the mark. Those of other users cannot be asked and are not ours."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and _belongs(process, mark):
                found.append(process)
    return found


def is_marked(pid: int, *, mark: str) -> bool:
    """Whether the process with this id carries the mark."""
    try:
        return _belongs(psutil.Process(pid), mark)
    except (psutil.Error, OSError):
        return False


def _belongs(process: psutil.Process, mark: str) -> bool:
    """Whether a process is of this prefix. Ray's workers write their title over their environment: the folder tells."""
    if process.environ().get(MARK) == mark:
        return True
    return "".join(process.cmdline()[:1]).startswith("ray::") and Path(process.cwd()) == Path(mark) / "var"


def end_marked(mark: str, *, seconds: float) -> int:
    """End every process with the mark, by force where it must be; return how many there were."""
    left = marked(mark)
    count = len(left)
    for sign in (signal.SIGTERM, signal.SIGKILL):
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.send_signal(sign)
        psutil.wait_procs(left, timeout=seconds if sign is signal.SIGTERM else 5.0)
        left = marked(mark)
        if not left:
            break
    return count


def largest(processes: Iterable[psutil.Process]) -> tuple[int, psutil.Process | None]:
    """Return resident bytes of all, and the largest of them."""
    total, most, found = 0, -1, None
    for process in processes:
        with contextlib.suppress(psutil.Error):
            size = process.memory_info().rss
            total += size
            if size > most:
                most, found = size, process
    return total, found


async def watch_memory(mark: str, *, limit: int) -> None:
    """End the largest process while all together take more than `limit` bytes, until cancelled.

    systemd does so by itself; macOS has no limit that it would enforce. Ray starts a replica that ended again.
    """
    over = 0
    while True:
        await asyncio.sleep(_MEMORY_SECONDS)
        total, process = await asyncio.to_thread(lambda: largest(marked(mark)))
        over = over + 1 if total > limit else 0
        if over >= _TIMES_OVER and process is not None:
            log.error("memory_limit", bytes=total, limit=limit, ended=process.pid)
            with contextlib.suppress(psutil.Error):
                process.kill()
            over = 0
