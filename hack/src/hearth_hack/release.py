"""The namespace and the Helm release of Hearth in the local cluster."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from hearth_hack.binaries import Binaries
from hearth_hack.images import REGISTRY, Image
from hearth_hack.kube import Kube, Object
from hearth_hack.paths import Paths
from hearth_hack.processes import run_logged

NAMESPACE = "hearth"
RELEASE = "hearth"
NODE_PORT = 30080
NAMESPACE_PATH = f"/api/v1/namespaces/{NAMESPACE}"
FINGERPRINT = "hearth.banjonet.com/chart-and-values"

NAMESPACE_OBJECT: Object = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {
        "name": NAMESPACE,
        "labels": {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")},
    },
}


def gateway_url(node_address: str) -> str:
    """Where the host reaches the gateway."""
    return f"http://{node_address}:{NODE_PORT}"


def build_values(images: Sequence[Image], *, url: str, name_server: str) -> dict[str, Any]:
    """What differs from the chart's defaults."""
    return {
        "image": {"registry": REGISTRY, "tags": {image.name: image.tag for image in images}},
        "gateway": {"publicURL": url, "service": {"type": "NodePort", "nodePort": NODE_PORT}},
        "knowledge": {"backup": {"enabled": True}},
        # The local cluster's name server is a process of the machine, not a pod.
        "networkPolicies": {"dns": {"cidrs": [f"{name_server}/32"]}},
    }


def chart_fingerprint(chart: Path, *, values: dict[str, Any]) -> str:
    """Over every file of the chart and the values."""
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for file in sorted(path for path in chart.rglob("*") if path.is_file()):
        digest.update(f"{file.relative_to(chart)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:32]


def is_installed(kube: Kube, *, fingerprint: str) -> bool:
    """Whether the namespace says that exactly this chart with these values was installed last, and it still is."""
    namespace = kube.get(NAMESPACE_PATH) or {}
    noted = namespace.get("metadata", {}).get("annotations", {}).get(FINGERPRINT)
    selector = f"labelSelector=owner%3Dhelm,name%3D{RELEASE},status%3Ddeployed"
    return noted == fingerprint and bool(kube.items(f"{NAMESPACE_PATH}/secrets?{selector}"))


def install_release(
    kube: Kube, *, images: Sequence[Image], url: str, name_server: str, binaries: Binaries, paths: Paths
) -> bool:
    """Namespace and release. Returns whether Helm had to run."""
    kube.apply(NAMESPACE_PATH, NAMESPACE_OBJECT)
    values = build_values(images, url=url, name_server=name_server)
    chart = paths.repo / "charts" / "hearth"
    fingerprint = chart_fingerprint(chart, values=values)
    if is_installed(kube, fingerprint=fingerprint):
        return False
    file = paths.config / "values.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    command = [str(binaries.path("helm")), "upgrade", "--install", RELEASE, str(chart), "--namespace", NAMESPACE]
    environ = {**os.environ, "KUBECONFIG": str(paths.kubeconfig)}
    run_logged([*command, "--values", str(file), "--timeout", "2m"], log=paths.logs / "helm.log", environ=environ)
    kube.merge(NAMESPACE_PATH, {"metadata": {"annotations": {FINGERPRINT: fingerprint}}})
    return True
