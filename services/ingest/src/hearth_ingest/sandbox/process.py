"""The parser process as the run sees it: ask, and get an answer or an error of that one item."""

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

import structlog

from hearth_ingest.errors import ItemError, RefusedError

_log = structlog.get_logger(__name__)
_COMMAND = (sys.executable, "-s", "-P", "-B", "-m", "hearth_ingest.sandbox.worker")
# Nothing of the run's environment gets in; a fixed hash seed keeps answers the same in every process.
_ENVIRONMENT = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}
_MAX_HEAD = 1 << 20
_START_SECONDS = 60.0
_ITEMS_PER_PROCESS = 500

Frame = tuple[dict[str, Any], bytes]


class Sandbox:
    """Keeps one parser process warm and replaces it when it died, hung, or has read its share of items."""

    def __init__(self, command: tuple[str, ...] = _COMMAND, *, items_per_process: int = _ITEMS_PER_PROCESS) -> None:
        self._command = command
        self._share = items_per_process
        self._process: subprocess.Popen[bytes] | None = None
        self._asked = 0
        self._lock = threading.Lock()

    def ask(
        self, job: str, data: bytes, *, seconds: float, max_output: int, args: Mapping[str, object] | None = None
    ) -> list[Frame]:
        """Return the answer's frames (the last one excepted).

        Raises RefusedError (too-slow, too-much-memory, what the parser refuses) or ItemError (parser-died, what the
        parser could not read). `max_output` bounds the bytes of all frames.
        """
        with self._lock:
            process = self._running()
            late = threading.Event()
            timer = _timer(process, seconds, late)
            head = {"job": job, "bytes": len(data), "seconds": seconds, "args": dict(args or {})}
            try:
                frames, last = _exchange(process, json.dumps(head).encode() + b"\n", data, max_output=max_output)
            except OSError as error:
                self._close()
                raise _death(process.returncode, late=late.is_set(), seconds=seconds) from error
            except BaseException:
                # Interrupted in the middle of an answer: the next item must not be given the rest of it.
                self._close()
                raise
            finally:
                timer.cancel()
            self._asked += 1
            if late.is_set() or self._asked >= self._share or last.get("error") in {"too-much-memory", "parser-died"}:
                self._close()
        if "error" in last:
            kind = RefusedError if last.get("refused") else ItemError
            raise kind(str(last["error"])[:60], str(last.get("detail", ""))[:300])
        return frames

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._close()
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_ENVIRONMENT,
                cwd="/",
                close_fds=True,
                start_new_session=True,
            )
            self._asked = 0
            timer = _timer(self._process, _START_SECONDS, threading.Event())
            try:
                _greet(self._process)
            finally:
                timer.cancel()
        return self._process

    def close(self) -> None:
        """End the process, if there is one."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        _kill(process)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    # Bytes that the dead process never read are still buffered.
                    continue
        process.wait()


def _timer(process: subprocess.Popen[bytes], seconds: float, late: threading.Event) -> threading.Timer:
    def stop() -> None:
        late.set()
        _kill(process)

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    return timer


def _greet(process: subprocess.Popen[bytes]) -> None:
    """Read how the process is locked in. One that dies before it says so is found dead by the first question."""
    line = process.stdout.readline(_MAX_HEAD) if process.stdout is not None else b""
    if line.endswith(b"\n") and b'"seccomp"' not in line:
        _log.warning("sandbox_without_filter", hint="the kernel refused seccomp; limits and the audit hook still hold")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and its own group, which is no one else's: it was started as the leader of a session."""
    if process.poll() is not None:
        return
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()


def _exchange(
    process: subprocess.Popen[bytes], head: bytes, data: bytes, *, max_output: int
) -> tuple[list[Frame], dict[str, Any]]:
    """Return the frames of one answer and its last head. Raises OSError when the process is gone or talks nonsense."""
    if process.stdin is None or process.stdout is None:
        raise OSError("no pipes")
    process.stdin.write(head)
    process.stdin.write(data)
    process.stdin.flush()
    frames: list[Frame] = []
    left = max_output
    while True:
        line = process.stdout.readline(_MAX_HEAD)
        if not line.endswith(b"\n"):
            raise OSError("the answer ended early")
        try:
            answer = json.loads(line)
            size = int(answer["bytes"])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise OSError("the answer is no answer") from error
        if size < 0 or size + len(line) > left:
            raise RefusedError("output-too-large", f"more than {max_output} bytes of text")
        left -= size + len(line)
        blob = process.stdout.read(size)
        if len(blob) != size:
            raise OSError("the answer ended early")
        if answer.get("done"):
            return frames, answer
        frames.append((answer, blob))


def _death(status: int | None, *, late: bool, seconds: float) -> ItemError:
    if late or status == -signal.SIGXCPU:
        return RefusedError("too-slow", f"not read within {seconds:g} seconds")
    if status is not None and status < 0:
        return ItemError("parser-died", f"by signal {-status}")
    return ItemError("parser-died", f"the parser ended with status {status}")


SANDBOX = Sandbox()
"""The process that all parsers of a run share."""
atexit.register(SANDBOX.close)
