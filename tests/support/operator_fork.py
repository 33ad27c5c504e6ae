"""The operator as a process that can be killed again and again: `python -m support.operator_fork`.

Reads a line per life from its input, forks, and prints the child's process id; prints `ended PID STATUS` when one is
gone. What takes a second, the imports, is done once: a child watches the API server some tenths of a second later.
Intervals are those of the integration tests, as JSON in HEARTH_TEST_INTERVALS.
"""

import asyncio
import json
import logging
import os
import selectors
import sys
import traceback

from hearth_common.logs import configure_logging
from hearth_operator.handlers.run import run_operator
from hearth_operator.settings import Intervals, Settings


def _live() -> None:
    """Run the operator until it is killed; it ends by itself only where it failed."""
    os.dup2(2, 1)  # the log; the output is the process ids
    configure_logging("hearth-operator", level="INFO")
    logging.getLogger("kopf").setLevel(logging.ERROR)
    environ = os.environ
    settings = Settings(
        namespace=environ["HEARTH_NAMESPACE"],
        control_image="hearth.local/hearth-control:test",
        serve_image="hearth.local/hearth-serve:test",
        knowledge_url=environ["HEARTH_KNOWLEDGE_URL"],
        knowledge_token_path=environ["HEARTH_KNOWLEDGE_TOKEN_PATH"],
        http_port=int(environ["HEARTH_HTTP_PORT"]),
        intervals=Intervals(**json.loads(environ["HEARTH_TEST_INTERVALS"])),
    )
    asyncio.run(run_operator(settings, kubeconfig=environ["KUBECONFIG"]))


def main() -> None:
    """Fork a life for every line until the input ends; a child that is left over ends with it."""
    children: set[int] = set()
    waiting = selectors.DefaultSelector()
    waiting.register(sys.stdin, selectors.EVENT_READ)
    while True:
        if waiting.select(timeout=0.02):
            if not sys.stdin.readline():
                break
            if (pid := os.fork()) == 0:
                try:
                    _live()
                except BaseException:
                    traceback.print_exc()
                os._exit(1)
            children.add(pid)
            print(pid, flush=True)
        while children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            children.discard(pid)
            print(f"ended {pid} {os.waitstatus_to_exitcode(status)}", flush=True)
    for pid in children:
        os.kill(pid, 9)


if __name__ == "__main__":
    main()
