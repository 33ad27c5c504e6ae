"""Every file in crds/examples is applied; all that this machine can run becomes Ready."""

from pathlib import Path

import pytest
import yaml

from support.cluster import Cluster

EXAMPLES = Path(__file__).resolve().parents[3] / "crds" / "examples"
# They name machines of a house that is not this one: applied, told apart, never Ready here.
ELSEWHERE = "external"


def files() -> list[Path]:
    return sorted(p for p in EXAMPLES.rglob("*.yaml") if p.parent.name != "quickstart" and p.name != "own-mail.yaml")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(EXAMPLES)))
def test_an_example_becomes_ready(cluster: Cluster, path: Path) -> None:
    objects = [item for item in yaml.safe_load_all(path.read_text()) if item]
    with cluster.applied(*objects):
        for item in objects:
            kind, name = item["kind"].lower(), item["metadata"]["name"]
            if ELSEWHERE in path.name:

                def told(kind: str = kind, name: str = name) -> dict:
                    condition = cluster.condition(kind, name, "Ready")
                    assert condition["message"]
                    return condition

                assert cluster.wait_for(f"{name} has a verdict", told, seconds=60)["status"] != "True"
            else:
                cluster.wait_ready(kind, name, seconds=400)
    cluster.wait_ready("modeldeployment", "chat")
