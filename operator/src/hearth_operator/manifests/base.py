"""Shapes that every manifest shares."""

from typing import Any

from hearth_operator import names

TMP = "/tmp"  # noqa: S108 (an emptyDir of the pod)
Manifest = dict[str, Any]
"""A Kubernetes object as the API server takes it."""


def owner_reference(kind: str, name: str, *, uid: str) -> Manifest:
    """Return the reference that makes a child go with its resource."""
    return {"apiVersion": names.API_VERSION, "kind": kind, "name": name, "uid": uid, "controller": True}


def metadata(name: str, *, namespace: str, labels: dict[str, str], owner: Manifest | None = None) -> Manifest:
    """Return metadata of a child object."""
    result: Manifest = {"name": name, "namespace": namespace, "labels": labels}
    if owner is not None:
        result["ownerReferences"] = [owner]
    return result


def pod_security() -> Manifest:
    """Return the pod's security context: Pod Security `restricted`, and volumes readable by our group."""
    return {
        "runAsNonRoot": True,
        "runAsUser": names.UID,
        "runAsGroup": names.UID,
        "fsGroup": names.UID,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> Manifest:
    """Return a container's security context: no privileges, nothing writable but volumes."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
    }
