"""The chart on a real API server: strict field validation, Pod Security, upgrade and uninstall.

We test these aspects: every object is accepted under strict field validation; each pod template passes Pod Security
`restricted`; an upgrade changes what was asked and keeps Secrets; uninstall leaves CRDs, resources and claims.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hearth_hack.binaries import ensure_binaries
from hearth_hack.controlplane import ControlPlane

CHART = Path(__file__).resolve().parents[3] / "charts" / "hearth"
NAMESPACE = "hearth"


@dataclass(frozen=True)
class Installation:
    helm: Path
    kubeconfig: Path

    def run(self, *command: str | Path, stdin: str | None = None) -> str:
        done = subprocess.run(
            command,
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.run("kubectl", "--namespace", NAMESPACE, *arguments, stdin=stdin)

    def upgrade(self, *arguments: str) -> None:
        self.run(self.helm, "upgrade", "--install", "hearth", CHART, "--namespace", NAMESPACE, *arguments)

    def items(self, kind: str) -> dict[str, Any]:
        return {item["metadata"]["name"]: item for item in json.loads(self.kubectl("get", kind, "-o", "json"))["items"]}


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    with ControlPlane(controllers=True) as plane:
        found = Installation(helm=ensure_binaries(["helm"]).path("helm"), kubeconfig=plane.kubeconfig)
        found.kubectl("create", "namespace", NAMESPACE)
        found.kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
        found.upgrade()
        yield found


def test_every_object_passes_strict_validation(installation: Installation) -> None:
    rendered = installation.run(installation.helm, "template", "hearth", CHART, "--namespace", NAMESPACE)
    installation.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=rendered)


def test_every_pod_template_passes_pod_security_restricted(installation: Installation) -> None:
    deployments = installation.items("deployments")
    assert set(deployments) == {"hearth-egress", "hearth-gateway", "hearth-knowledge", "hearth-operator"}
    for name, deployment in deployments.items():
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": deployment["spec"]["template"]["spec"],
        }
        installation.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))


def test_an_upgrade_changes_what_was_asked_and_nothing_else(installation: Installation) -> None:
    before = installation.items("deployments")
    installation.upgrade("--set", "gateway.publicURL=https://hearth.example.org")
    after = installation.items("deployments")
    assert after["hearth-operator"]["metadata"]["generation"] == before["hearth-operator"]["metadata"]["generation"]
    assert after["hearth-gateway"]["metadata"]["generation"] == before["hearth-gateway"]["metadata"]["generation"] + 1
    env = after["hearth-gateway"]["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "HEARTH_PUBLIC_URL", "value": "https://hearth.example.org"} in env


def test_uninstall_leaves_resources_and_claims(installation: Installation) -> None:
    base = {
        "apiVersion": "hearth.banjonet.com/v1alpha1",
        "kind": "KnowledgeBase",
        "metadata": {"name": "kept"},
        "spec": {"embedding": {"model": "embed"}},
    }
    installation.kubectl("apply", "-f", "-", stdin=json.dumps(base))
    installation.run(installation.helm, "uninstall", "hearth", "--namespace", NAMESPACE, "--wait=false")
    assert set(installation.items("persistentvolumeclaims")) == {"hearth-data", "hearth-knowledge"}
    assert "kept" in installation.items("knowledgebases")
    assert "hearth-gateway" not in installation.items("deployments")
    installation.upgrade()
    assert "kept" in installation.items("knowledgebases")
