"""The namespace and the Helm release of Hearth."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hearth_hack.images import REGISTRY, Image
from hearth_hack.kube import Kube, Object
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


def local_values(images: Sequence[Image], *, url: str, name_server: str, denied: Sequence[str] = ()) -> dict[str, Any]:
    """What differs from the chart's defaults in the local cluster. `denied` are the addresses of pods and Services."""
    return {
        "image": {"registry": REGISTRY, "tags": {image.name: image.tag for image in images}},
        "gateway": {"publicURL": url, "service": {"type": "NodePort", "nodePort": NODE_PORT}},
        "knowledge": {"backup": {"enabled": True}},
        "egress": {"deniedNetworks": list(denied)},
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


@dataclass(frozen=True, slots=True)
class HelmTarget:
    """Where Helm installs to and from where: `folder` takes the values file, `files` are more values of the owner's."""

    helm: Path
    chart: Path
    kubeconfig: Path
    folder: Path
    log: Path
    files: tuple[Path, ...] = ()


def install_release(kube: Kube, *, values: dict[str, Any], target: HelmTarget) -> bool:
    """Namespace and release. Returns whether Helm had to run."""
    kube.apply(NAMESPACE_PATH, NAMESPACE_OBJECT)
    owners = {str(file): file.read_text() for file in target.files}
    fingerprint = chart_fingerprint(target.chart, values={"values": values, "files": owners})
    if is_installed(kube, fingerprint=fingerprint):
        return False
    file = target.folder / "values.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    command = [str(target.helm), "upgrade", "--install", RELEASE, str(target.chart), "--namespace", NAMESPACE]
    for each in (file, *target.files):
        command += ["--values", str(each)]
    environ = {**os.environ, "KUBECONFIG": str(target.kubeconfig)}
    run_logged([*command, "--timeout", "2m"], log=target.log, environ=environ)
    kube.merge(NAMESPACE_PATH, {"metadata": {"annotations": {FINGERPRINT: fingerprint}}})
    return True
