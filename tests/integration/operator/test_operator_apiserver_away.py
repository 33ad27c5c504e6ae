"""The API server goes away and comes back while Ray changes: no crash, no harm to Ray, and soon the truth again.

Away for 10 s here; HEARTH_AWAY_SECONDS=60 is what was measured (`operator/README.md`).
"""

import asyncio
import os
import signal
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from hearth_hack.controlplane import ControlPlane
from hearth_operator.settings import Intervals
from integration.operator.conftest import apply_crds
from integration.operator.test_operator_asked import wanted

AWAY_SECONDS = float(os.environ.get("HEARTH_AWAY_SECONDS", "10"))
APISERVER = "kube-apiserver"
RECOVERED_SECONDS = 60.0
"""For a machine with two busy cores; 15 is what is asked, and what it took is printed."""


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    """An API server of its own: others would notice."""
    with ControlPlane(controllers=True) as plane:
        apply_crds(plane)
        yield plane


async def hang(plane: ControlPlane) -> None:
    """Connections stay open, nobody answers."""
    plane.signal(APISERVER, signal.SIGSTOP)


async def wake(plane: ControlPlane) -> None:
    plane.signal(APISERVER, signal.SIGCONT)


async def kill(plane: ControlPlane) -> None:
    """Connections break and are refused."""
    await asyncio.to_thread(plane.signal, APISERVER, signal.SIGKILL)


async def restart(plane: ControlPlane) -> None:
    await asyncio.to_thread(plane.start, APISERVER)


WAYS = {"hangs": (hang, wake), "is killed": (kill, restart)}


def healthy(port: int) -> bool:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
        return bool(answer.status == 200)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", WAYS)
async def test_the_api_server_is_away_and_comes_back(stage, way, caplog) -> None:
    go, come = WAYS[way]
    settings = replace(stage.settings, intervals=Intervals())  # the real ones: how soon it is back is what is asked
    await stage.start(settings=settings)
    stage.apply(*wanted("home", "chat", "embed"))
    for model in ("chat", "embed"):
        await stage.until_condition("ModelDeployment", model, "True", seconds=60)
    puts = len(stage.fake.puts)
    caplog.clear()

    await go(stage.plane)
    try:
        # Meanwhile a replica of one model stops answering, and the machine loses the other model.
        stage.fake.mute.add("chat.cpu")
        del stage.fake.apps["embed.cpu"]
        await asyncio.sleep(AWAY_SECONDS)
        running(stage)
        assert await asyncio.to_thread(healthy, settings.http_port), (
            "an API server that is away is no reason to restart"
        )
        attempts = sum("Request attempt" in record.getMessage() for record in caplog.records)
        assert attempts <= 9 * (AWAY_SECONDS / 2 + 3), "nine watches do not spin"
    finally:
        await come(stage.plane)
    back = time.monotonic()
    for document in stage.fake.puts[puts:]:
        assert {app["name"] for app in document["applications"]} >= {"chat.cpu"}, "Ray keeps what it has"

    stage.kubectl("patch", "mdep", "chat", "--type=merge", "-p", '{"spec": {"progressDeadlineSeconds": 777}}')
    patched = time.monotonic()
    took: dict[str, float] = {}

    async def when(what: str, probe: Callable[[], Awaitable[Any]], since: float) -> None:
        await stage.until(probe, seconds=RECOVERED_SECONDS, why=what)
        took[what] = round(time.monotonic() - since, 1)

    async def observed() -> bool:
        chat = await stage.kube.get("ModelDeployment", "chat")
        return chat["status"].get("observedGeneration") == chat["metadata"]["generation"]

    async def told() -> bool:
        return (await stage.condition("ModelDeployment", "chat")).get("status") == "False"

    async def put_again() -> bool:
        serving = await stage.condition("ModelDeployment", "embed")
        return "embed.cpu" in stage.fake.apps and serving.get("status") == "True"

    await asyncio.gather(
        when("a change is observed", observed, patched),
        when("what failed is told", told, back),
        when("what was lost serves again", put_again, back),
    )
    for document in stage.fake.puts[puts:]:
        assert {app["name"] for app in document["applications"]} >= {"chat.cpu"}, "Ray keeps what it has"
    stage.fake.mute.clear()
    await stage.until_condition("ModelDeployment", "chat", "True", seconds=RECOVERED_SECONDS)
    running(stage)
    print(
        f"\nAPI server {way} for {AWAY_SECONDS:.0f} s, {attempts} attempts of watches; seconds after its return: {took}"
    )


def running(stage: Any) -> None:
    """Fail with the operator's own error where it ended."""
    for _, task in stage._tasks:
        assert not task.done(), task.exception()
