"""Gives every pending claim of class `hearth-local` a folder of this machine: a `local` volume honours fsGroup.

Runs as a daemon of the cluster: `python -m hearth_hack.volumes URL PKI VOLUMES DATA`.

A claim's folder is deleted with the claim, as with any dynamic provisioner. The claim `hearth-data` is the exception:
its folder is HEARTH_DATA, which belongs to the user and stays.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hearth_hack.apiserver import client_context
from hearth_hack.certs import Authority
from hearth_hack.datafolder import keep_shared
from hearth_hack.kube import Kube, KubeError, Object

CLASS = "hearth-local"
NODE = "hearth-local"
DATA_CLAIM = "hearth-data"
USER = 10001  # the uid and gid of all Hearth pods
CLAIMS = "/api/v1/persistentvolumeclaims"
VOLUMES = "/api/v1/persistentvolumes"

STORAGE_CLASS: Object = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
    "provisioner": "kubernetes.io/no-provisioner",
    "volumeBindingMode": "Immediate",
}


@dataclass(frozen=True, slots=True)
class Folders:
    """`volumes` holds one folder per claim; `data` is HEARTH_DATA."""

    volumes: Path
    data: Path

    def folder(self, claim: Object) -> Path:
        """Return the folder behind a claim."""
        meta = claim["metadata"]
        if meta["name"] == DATA_CLAIM:
            return self.data
        return self.volumes / f"{meta['namespace']}_{meta['name']}_{meta['uid'][:8]}"


def is_waiting(claim: Object) -> bool:
    """A claim of ours that no volume has been made for."""
    spec = claim["spec"]
    phase = claim.get("status", {}).get("phase", "Pending")
    return (
        spec.get("storageClassName") == CLASS
        and phase == "Pending"
        and not spec.get("volumeName")
        and "deletionTimestamp" not in claim["metadata"]
    )


def build_volume(claim: Object, *, folder: Path) -> Object:
    """The PersistentVolume, reserved for exactly this claim."""
    meta, spec = claim["metadata"], claim["spec"]
    node = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"hearth-{meta['uid']}", "labels": {"app.kubernetes.io/managed-by": "hearth-up"}},
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": CLASS,
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": meta["namespace"],
                "name": meta["name"],
                "uid": meta["uid"],
            },
            "local": {"path": str(folder)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [node]}]}},
        },
    }


def make_folder(folder: Path) -> None:
    """Group-writable and with inherited group: the kubelet then finds nothing to change for fsGroup."""
    if not folder.exists():
        folder.mkdir(parents=True)
        os.chown(folder, USER, USER)
        folder.chmod(0o2770)


def released(volume: Object) -> bool:
    """A volume of ours whose claim is gone."""
    return (
        volume["spec"].get("storageClassName") == CLASS
        and volume.get("status", {}).get("phase") in ("Released", "Failed")
        and "deletionTimestamp" not in volume["metadata"]
    )


def reconcile(kube: Kube, *, folders: Folders) -> str:
    """One pass over all claims and volumes. Returns the resource version of the claims it saw."""
    for volume in kube.items(VOLUMES):
        if released(volume):
            folder = Path(volume["spec"]["local"]["path"])
            kube.request("DELETE", f"{VOLUMES}/{volume['metadata']['name']}")
            if folder.parent == folders.volumes:
                shutil.rmtree(folder, ignore_errors=True)
    claims = kube.request("GET", CLAIMS)
    for claim in claims["items"]:
        if is_waiting(claim):
            provide(kube, claim=claim, folders=folders)
    return str(claims["metadata"]["resourceVersion"])


def provide(kube: Kube, *, claim: Object, folders: Folders) -> None:
    """Make a claim's folder and volume."""
    folder = folders.folder(claim)
    make_folder(folder)
    try:
        kube.request("POST", VOLUMES, body=build_volume(claim, folder=folder))
    except KubeError as error:
        if error.status != 409:  # it was made in an earlier pass and is being bound
            raise
    print(f"volume for {claim['metadata']['namespace']}/{claim['metadata']['name']}: {folder}", flush=True)


def serve(kube: Kube, *, folders: Folders) -> None:
    """Passes after every change of a claim, and every half minute; a server that is away is asked again."""
    while True:
        try:
            version = reconcile(kube, folders=folders)
            for event in kube.watch(CLAIMS, query={"resourceVersion": version, "timeoutSeconds": "30"}, timeout=35):
                if event["type"] in ("ADDED", "DELETED", "ERROR"):
                    break
        except (KubeError, OSError) as error:
            print(f"asking again: {error}", flush=True)
            time.sleep(1)


def main(argv: Sequence[str]) -> int:
    """Serves until it is killed."""
    url, pki, volumes, data = argv
    kube = Kube(url, context=client_context(Authority(directory=Path(pki)), user="volumes"))
    make_folder(Path(data))
    threading.Thread(target=keep_shared, args=(Path(data),), kwargs={"group": USER}, daemon=True).start()
    serve(kube, folders=Folders(volumes=Path(volumes), data=Path(data)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
