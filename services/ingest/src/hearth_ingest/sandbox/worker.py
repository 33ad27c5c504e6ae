"""The process that parses. Started by `process.py`; imports everything it needs, locks itself in, then answers.

Requests on standard input: a line of JSON {"job", "bytes", "seconds", "args"}, then that many bytes.
Answers on standard output: frames of a line of JSON {"bytes": n, ...} and n bytes; the last one has "done" (and perhaps
"error", "detail", "refused"). The first frame of all says how the process is locked in: {"locked": "seccomp" | "hook"}.
"""

import encodings
import importlib
import json
import pkgutil
import resource
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import IO, Any

from hearth_ingest.errors import ItemError, RefusedError
from hearth_ingest.sandbox.seccomp import forbid_new_privileges, install_filter

# Below the pod's limit of 1 GiB: beyond that the kernel would end every process of the pod, not only this one.
MEMORY_BYTES = 768 << 20
_DENIED = ("socket.", "subprocess.", "os.exec", "os.fork", "os.spawn", "os.posix_spawn", "os.system", "ctypes.dlopen")
_RECURSION = 2000

Frame = tuple[dict[str, Any], bytes]
Job = Callable[[bytes, Mapping[str, Any]], Iterator[Frame]]


def lock_in() -> str:
    """Give up everything that parsing does not need and return how: "seccomp", or "hook" where no filter can be had."""
    for limit, value in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        hard = resource.getrlimit(limit)[1]
        wanted = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (wanted, wanted))
    forbid_new_privileges()
    try:
        install_filter()
        locked = "seccomp"
    except OSError:
        locked = "hook"
    # Holds where the kernel filters nothing, and says in an error's name what was tried where it does.
    sys.addaudithook(_refuse)
    return locked


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    del arguments
    if event.startswith(_DENIED):
        raise PermissionError(f"{event} is not for a parser")


def preload() -> None:
    """Import every codec: nothing can be opened once the process is locked in."""
    for module in pkgutil.iter_modules(encodings.__path__):
        with suppress(ImportError):
            importlib.import_module(f"encodings.{module.name}")


def _allow_seconds(seconds: float) -> None:
    """Let the kernel end the process when this item has used its processor time."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _send(answers: IO[bytes], head: Mapping[str, object], blob: bytes = b"") -> None:
    answers.write(json.dumps({**head, "bytes": len(blob)}).encode() + b"\n" + blob)


def _answer(job: Job, data: bytes, arguments: Mapping[str, Any], answers: IO[bytes]) -> dict[str, object]:
    try:
        for head, blob in job(data, arguments):
            _send(answers, head, blob)
    except ItemError as error:
        return {"error": error.code, "detail": error.detail, "refused": isinstance(error, RefusedError)}
    except MemoryError:
        return {"error": "too-much-memory", "detail": "more memory than allowed", "refused": True}
    except RecursionError:
        return {"error": "parser-died", "detail": "nested too deeply"}
    except Exception as error:  # noqa: BLE001 - a bug that a file found is that file's error, and its kind is told
        return {"error": "parser-died", "detail": type(error).__name__}
    return {}


def serve(jobs: Mapping[str, Job], requests: IO[bytes], answers: IO[bytes], *, locked: str) -> None:
    """Answer until standard input ends."""
    _send(answers, {"locked": locked})
    answers.flush()
    while line := requests.readline():
        head = json.loads(line)
        data = requests.read(head["bytes"])
        _allow_seconds(head["seconds"])
        _send(answers, {"done": True, **_answer(jobs[head["job"]], data, head["args"], answers)})
        answers.flush()


def main(jobs: Mapping[str, Job] | None = None) -> None:
    """Lock in and serve."""
    if jobs is None:
        # Heavy libraries load in this process only.
        from hearth_ingest.documents.jobs import JOBS  # noqa: PLC0415

        jobs = JOBS
    sys.setrecursionlimit(_RECURSION)
    preload()
    serve(jobs, sys.stdin.buffer, sys.stdout.buffer, locked=lock_in())


if __name__ == "__main__":
    main()
