"""Two machines: a model moves by editing one field, and what a machine carried is told and comes back with it."""

import json
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from support.cluster import Cluster
from support.pair import build, chat

PATIENCE = 300


def model(name: str, *, node: str) -> dict:
    return chat(name, {**build("cpu", {"name": node}), "context": {"maxTokens": 512, "concurrency": 1}})


def serving_node(cluster: Cluster, name: str) -> str | None:
    for variant in cluster.get("modeldeployment", name).get("status", {}).get("variants", []):
        if variant["state"] == "Available":
            return variant["node"]
    return None


def say(cluster: Cluster, name: str) -> dict:
    body = {"model": name, "messages": [{"role": "user", "content": "Say yes."}], "max_tokens": 4}
    return cluster.request("POST", "/v1/chat/completions", body)


def test_chat_and_embeddings_run_on_different_machines(cluster: Cluster) -> None:
    for name in ("chat", "embed"):
        cluster.wait_ready("modeldeployment", name, seconds=PATIENCE)  # an earlier story may have had them away
    assert serving_node(cluster, "chat") == "studio"
    assert serving_node(cluster, "embed") == "gpu"

    def shown() -> bool:
        nodes = cluster.request("GET", "/v1/status")["nodes"]
        # Models of other stories may be there, or still be on their way out: only these two are judged.
        found = {n["name"]: [app for app in n["models"] if app.partition(".")[0] in {"chat", "embed"}] for n in nodes}
        return {name: apps for name, apps in found.items() if apps} == {"studio": ["chat.cpu"], "gpu": ["embed.cpu"]}

    cluster.wait_for("each on its own machine in the status view", shown, seconds=30)


@pytest.mark.timeout(900)
def test_a_model_moves_by_editing_one_field(cluster: Cluster) -> None:
    with cluster.applied(model("mover", node="studio")):
        cluster.wait_ready("modeldeployment", "mover", seconds=PATIENCE)
        assert say(cluster, "mover")["choices"]
        cluster.apply(model("mover", node="gpu"))
        cluster.wait_for("mover on gpu", lambda: serving_node(cluster, "mover") == "gpu", seconds=PATIENCE)
        cluster.wait_ready("modeldeployment", "mover", seconds=PATIENCE)
        assert say(cluster, "mover")["choices"]
        planned = {n: cluster.get("inferencenode", n)["status"]["models"] for n in ("studio", "gpu")}
        assert not [entry for entry in planned["studio"] if entry.startswith("mover")]
        assert [entry for entry in planned["gpu"] if entry.startswith("mover")]
        # The other models of both machines were not touched.
        assert serving_node(cluster, "chat") == "studio"
        assert serving_node(cluster, "embed") == "gpu"


@contextmanager
def away(cluster: Cluster, node: str) -> Iterator[None]:
    """Take a machine off: its Ray ends and does not come back until the end."""
    cluster.kubectl("patch", "inferencenode", node, "--type=merge", "-p", json.dumps({"spec": {"suspend": True}}))
    try:
        yield
    finally:
        cluster.kubectl("patch", "inferencenode", node, "--type=merge", "-p", json.dumps({"spec": {"suspend": False}}))


@pytest.mark.timeout(900)
def test_a_machine_that_goes_takes_its_models_and_only_these(cluster: Cluster) -> None:
    query = "How long is the vendor late?"
    before = [hit["document"] for hit in cluster.search("work", query)]
    assert before
    with away(cluster, "gpu"):

        def told() -> bool:
            condition = cluster.condition("modeldeployment", "embed", "Ready")
            return condition.get("status") in {"False", "Unknown"} and bool(condition.get("message"))

        cluster.wait_for("embed is told to be away", told, seconds=60)
        assert cluster.condition("inferencenode", "studio", "Ready")["status"] == "True"
        assert say(cluster, "chat")["choices"], "the other machine goes on answering"
        # Words are still found: the search goes without its dense leg.
        assert cluster.search("work", query)
        status, error = cluster.failure("POST", "/v1/embeddings", {"model": "embed", "input": "x"})
        assert status == 503, error
        page = cluster.request("GET", "/v1/status")
        (entry,) = (each for each in page["models"] if each["name"] == "embed")
        assert entry["ready"] is False
    cluster.wait_ready("inferencenode", "gpu", seconds=PATIENCE)
    cluster.wait_ready("modeldeployment", "embed", seconds=PATIENCE)

    def again() -> bool:
        return [hit["document"] for hit in cluster.search("work", query)] == before

    cluster.wait_for("the same answers as before", again, seconds=60)


@pytest.mark.timeout(600)
def test_the_status_page_is_right_within_five_seconds_of_a_change(cluster: Cluster) -> None:
    """Of a change of status at the API server, as a watcher of both sees it."""
    with cluster.applied(model("timed", node="studio")):
        cluster.wait_ready("modeldeployment", "timed", seconds=PATIENCE)

        def shown() -> bool:
            models = {m["name"]: m["ready"] for m in cluster.request("GET", "/v1/status")["models"]}
            return models.get("timed") is True

        cluster.wait_for("the status view shows it", shown, seconds=5, every=0.2)
    cluster.wait_for(
        "the status view has forgotten it",
        lambda: "timed" not in {m["name"] for m in cluster.request("GET", "/v1/status")["models"]},
        seconds=5,
        every=0.2,
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        say(cluster, "timed")
    refused.value.close()
    assert refused.value.code == 404
