"""Every file in crds/examples is applied; all that this machine can run becomes Ready."""

from pathlib import Path

import pytest
import yaml

from support.cluster import Cluster

EXAMPLES = Path(__file__).resolve().parents[3] / "crds" / "examples"
# They name machines of a house that is not this one: applied, told apart, never Ready here.
ELSEWHERE = "external"
# Applied by ./hack/up; a house that is not this one (every file of it: tests/integration/chart).
SETS = ("quickstart", "house")
SCRATCH = {
    "apiVersion": "hearth.banjonet.com/v1alpha1",
    "kind": "KnowledgeBase",
    "metadata": {"name": "scratch"},
    "spec": {"embedding": {"model": "embed"}, "deletionPolicy": "Delete"},
}


def files() -> list[Path]:
    return sorted(p for p in EXAMPLES.rglob("*.yaml") if p.parent.name not in SETS and p.name != "own-mail.yaml")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(EXAMPLES)))
def test_an_example_becomes_ready(cluster: Cluster, path: Path) -> None:
    objects = [item for item in yaml.safe_load_all(path.read_text()) if item]
    for item in objects:
        if item["kind"] == "IngestionSource":
            # Into a base of their own, which goes with all that they read: `work` stays as `./hack/up` left it.
            item["spec"]["knowledgeBaseRef"]["name"] = SCRATCH["metadata"]["name"]
    with cluster.applied(SCRATCH), cluster.applied(*objects):
        for item in objects:
            kind, name = item["kind"].lower(), item["metadata"]["name"]
            if ELSEWHERE in path.name:

                def told(kind: str = kind, name: str = name) -> dict:
                    condition = cluster.condition(kind, name, "Ready")
                    assert condition.get("message")
                    return condition

                assert cluster.wait_for(f"{name} has a verdict", told, seconds=60)["status"] != "True"
            else:
                cluster.wait_ready(kind, name, seconds=400)
    cluster.wait_ready("modeldeployment", "chat")
