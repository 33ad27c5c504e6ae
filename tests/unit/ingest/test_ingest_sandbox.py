"""The parser process: nothing can be reached from it, and whatever happens in it is one item's misfortune."""

import json
import sys
import time
from collections.abc import Iterator

import pytest

from hearth_api.wire.ingest import RunLimits
from hearth_ingest.documents.body import RTF
from hearth_ingest.documents.parsers import read_body
from hearth_ingest.errors import ItemError, RefusedError
from hearth_ingest.sandbox.process import Sandbox

HOSTILE = """
import ctypes, json, os, signal, socket, subprocess, sys
from hearth_ingest.errors import RefusedError
from hearth_ingest.sandbox.worker import main

def answer(text):
    return iter([({}, text.encode())])

def attempt(what):
    try:
        return repr(what())
    except BaseException as error:
        return type(error).__name__

def probe(data, args):
    attempts = {
        "inet": lambda: socket.socket(),
        "unix": lambda: socket.socket(socket.AF_UNIX),
        "pair": lambda: socket.socketpair(),
        "connect": lambda: socket.create_connection(("127.0.0.1", 80)),
        "resolve": lambda: socket.getaddrinfo("localhost", 80),
        "open": lambda: open("/etc/passwd"),
        "write": lambda: open("/tmp/hearth-sandbox-was-here", "w"),
        "list": lambda: os.listdir("/"),
        "fork": lambda: os.fork(),
        "exec": lambda: os.execv("/bin/true", ["true"]),
        "run": lambda: subprocess.run(["/bin/true"]),
        "kill": lambda: os.kill(os.getppid(), 0),
    }
    return answer(json.dumps({name: attempt(what) for name, what in attempts.items()}))

def raw(data, args):
    libc = ctypes.CDLL(None, use_errno=True)
    return answer(str(libc.socket(2, 1, 0)) + " " + str(ctypes.get_errno()))

LIBC = ctypes.CDLL(None, use_errno=True)
def native(data, args):
    return answer(f"{LIBC.socket(2, 1, 0)} {LIBC.open(b'/etc/passwd', 0)} {LIBC.kill(os.getppid(), 0)} {ctypes.get_errno()}")

def state(data, args):
    fds = [fd for fd in range(64) if attempt(lambda: os.get_inheritable(fd)) != "OSError"]
    return answer(json.dumps({"environment": sorted(os.environ), "fds": fds}))

def echo(data, args):
    return answer(data.decode() + str(os.getpid()))

def segv(data, args):
    os.kill if False else ctypes.string_at(0)

def abort(data, args):
    os.abort()

def hog(data, args):
    return iter([({}, b"x" * (2 << 30))])

def loop(data, args):
    while True:
        pass

def flood(data, args):
    while True:
        yield {}, b"x" * 1_000_000

def babble(data, args):
    sys.stdout.buffer.write(b"not an answer\\n"); sys.stdout.buffer.flush(); return iter([])

def bug(data, args):
    raise ZeroDivisionError("with content in it")

def refuse(data, args):
    raise RefusedError("too-odd", "a rule")

main({name: value for name, value in globals().items() if callable(value)})
"""


@pytest.fixture(scope="module")
def hostile() -> Iterator[Sandbox]:
    made = Sandbox((sys.executable, "-s", "-P", "-c", HOSTILE))
    yield made
    made.close()


def ask(sandbox: Sandbox, job: str, data: bytes = b"", *, seconds: float = 20) -> str:
    ((_, blob),) = sandbox.ask(job, data, seconds=seconds, max_output=10_000_000)
    return blob.decode()


def test_no_socket_no_file_no_program_and_no_signal_to_others(hostile: Sandbox) -> None:
    answers = json.loads(ask(hostile, "probe"))
    assert set(answers.values()) <= {"PermissionError", "gaierror"}, answers


def test_it_is_locked_in_without_any_privilege() -> None:
    drop = "import os, hearth_ingest.sandbox.worker\nif os.getuid() == 0: os.setgid(10001); os.setuid(10001)\n"
    sandbox = Sandbox((sys.executable, "-s", "-P", "-c", HOSTILE.replace("main({", f"{drop}main({{")))
    answers = json.loads(ask(sandbox, "probe"))
    sandbox.close()
    assert set(answers.values()) <= {"PermissionError", "gaierror", "LookupError"}, answers


def test_the_kernel_refuses_native_code_too(hostile: Sandbox) -> None:
    assert ask(hostile, "native") == "-1 -1 -1 1"


def test_the_environment_is_empty_and_only_the_pipes_are_open(hostile: Sandbox) -> None:
    state = json.loads(ask(hostile, "state"))
    assert set(state["environment"]) <= {"PYTHONHASHSEED", "LC_ALL", "LC_CTYPE"}
    assert state["fds"] == [0, 1, 2]


@pytest.mark.parametrize(
    ("job", "code", "kind"),
    [
        ("segv", "parser-died: by signal 11", ItemError),
        ("abort", "parser-died: by signal 6", ItemError),
        ("hog", "too-much-memory", RefusedError),
        ("loop", "too-slow: not read within 0.3 seconds", RefusedError),
        ("flood", "output-too-large", RefusedError),
        ("babble", "parser-died", ItemError),
        ("bug", "parser-died: ZeroDivisionError$", ItemError),
        ("refuse", "too-odd: a rule", RefusedError),
    ],
)
def test_what_happens_inside_loses_only_that_item(hostile: Sandbox, job: str, code: str, kind: type[ItemError]) -> None:
    with pytest.raises(kind, match=code):
        ask(hostile, job, seconds=0.3 if job == "loop" else 20)
    assert ask(hostile, "echo", b"still here ").startswith("still here ")


def test_one_process_serves_many_items_and_is_replaced_after_its_share() -> None:
    sandbox = Sandbox((sys.executable, "-s", "-P", "-c", HOSTILE), items_per_process=2)
    pids = [ask(sandbox, "echo") for _ in range(3)]
    sandbox.close()
    assert pids[0] == pids[1] != pids[2]


def test_a_process_that_cannot_even_start_is_an_error_of_the_item() -> None:
    sandbox = Sandbox((sys.executable, "-c", "raise SystemExit(3)"))
    with pytest.raises(ItemError, match="parser-died"):
        ask(sandbox, "echo", b"x" * 1_000_000)
    sandbox.close()


def test_answers_are_the_same_every_time_and_cost_little() -> None:
    data = rb"{\rtf1\ansi Words {\b bold}\par}"
    first = read_body(data, RTF, limits=RunLimits())
    started = time.perf_counter()
    assert all(read_body(data, RTF, limits=RunLimits()) == first for _ in range(50))
    assert time.perf_counter() - started < 1.0
