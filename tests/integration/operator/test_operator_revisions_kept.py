"""Good and bad revisions against a real API server: what is kept, over restarts of the operator, and until when."""

from typing import Any

SECRETLESS = ("token:", "password")


def resources() -> list[dict[str, Any]]:
    api = "hearth.banjonet.com/v1alpha1"
    node = {"type": "Managed", "managed": {"resources": {"memory": "6Gi", "cpu": "2"}}}
    return [
        {"apiVersion": api, "kind": "InferenceNode", "metadata": {"name": "home"}, "spec": node},
        {"apiVersion": api, "kind": "ModelDeployment", "metadata": {"name": "chat"}, "spec": spec("package://good")},
    ]


def spec(source: str) -> dict[str, Any]:
    variant = {
        "name": "cpu",
        "node": {"name": "home"},
        "engine": "LlamaCpp",
        "model": {"source": source},
        "resources": {"cpu": "250m", "memory": "1Gi"},
    }
    return {"task": "Chat", "variants": [variant]}


def change(source: str) -> dict[str, Any]:
    return {**resources()[1], "spec": spec(source)}


async def test_a_bad_revision_is_taken_back_and_stays_so_over_a_restart(stage) -> None:
    await stage.start()
    stage.apply(*resources())
    await stage.until_condition("ModelDeployment", "chat", "True", seconds=60)

    async def kept() -> Any:
        return await stage.kube.get("ConfigMap", "hearth-rollout-chat")

    record = await stage.until(kept)
    assert record["metadata"]["ownerReferences"][0]["name"] == "chat"
    assert not any(word in str(record["data"]).lower() for word in SECRETLESS)
    state = await stage.kube.get("ConfigMap", "hearth-operator-state")
    owner = state["data"]["owner"]
    # Another writer of that ConfigMap, who applies it whole, takes nothing away.
    applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "hearth-operator-state"}}
    await stage.kube.apply({**applied, "data": {"storesHoldData": "true"}})
    state = await stage.kube.get("ConfigMap", "hearth-operator-state")
    assert state["data"] == {"owner": owner, "storesHoldData": "true"}

    stage.fake.failing["package://bad"] = "hearth_serve.errors.WeightsMissingError: no package bad"
    stage.apply(change("package://bad"))
    told = await stage.until_condition("ModelDeployment", "chat", "True", type_="Degraded", reason="RolledBack")
    assert "WeightsMissing: no package bad" in told["message"]
    await stage.until_condition("ModelDeployment", "chat", "False", type_="Progressing", reason="RolledBack")
    await stage.until_condition("ModelDeployment", "chat", "True")
    assert stage.fake.apps["chat.cpu"]["args"]["model"]["source"] == "package://good"
    puts = len(stage.fake.puts)

    await stage.stop()
    await stage.start()
    await stage.until_condition("ModelDeployment", "chat", "True", type_="Degraded", reason="RolledBack")

    async def looked() -> bool:
        return stage.fake.probes > 3

    await stage.until(looked)
    assert len(stage.fake.puts) == puts, "neither tried again nor put back again"

    stage.apply(change("package://better"))
    await stage.until_condition("ModelDeployment", "chat", "False", type_="Degraded", reason="PreferredServing")
    await stage.until_condition("ModelDeployment", "chat", "True", type_="Progressing", reason="RolledOut")
    assert stage.fake.apps["chat.cpu"]["deployments"][0]["user_config"]["owner"] == owner

    stage.kubectl("delete", "mdep", "chat", "--wait=false")

    async def gone() -> bool:
        return await stage.kube.get("ConfigMap", "hearth-rollout-chat") is None

    await stage.until(gone, seconds=60)
