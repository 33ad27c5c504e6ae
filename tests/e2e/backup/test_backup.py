"""Backups on the running product: into an empty volume, and after the vector store's files are lost."""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.cluster import Cluster

QUERIES = ("How long is the vendor late?", "When is the planning meeting?", "Who approved the travel budget?")
VOLUMES = Path(__file__).resolve().parents[3] / ".local" / "volumes"
DEPLOYMENT = "deployment/hearth-knowledge"


def volume(cluster: Cluster, claim: str) -> Path:
    """The folder of this machine behind a claim."""
    name = cluster.get("persistentvolumeclaim", claim)["spec"]["volumeName"]
    folder = Path(cluster.get("persistentvolume", name)["spec"]["local"]["path"])
    assert folder.parent == VOLUMES, folder
    return folder


def empty(folder: Path) -> None:
    for entry in folder.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


@contextmanager
def stopped(cluster: Cluster) -> Iterator[None]:
    """The knowledge service scaled to none, and back."""
    cluster.kubectl("scale", DEPLOYMENT, "--replicas=0")
    try:
        cluster.wait_for(
            "no knowledge pod", lambda: not cluster.items("pod", "app.kubernetes.io/name=hearth-knowledge"), seconds=90
        )
        yield
    finally:
        cluster.kubectl("scale", DEPLOYMENT, "--replicas=1")
        cluster.kubectl("rollout", "status", DEPLOYMENT, "--timeout=240s")


def found(cluster: Cluster) -> list[list[tuple[str, int]]]:
    """What searches find, best first; the vectors of a rebuilt index are the same, its scores may differ in the last digit."""
    return [[(hit["document"], hit["chunk"]) for hit in cluster.search("work", query, top_k=5)] for query in QUERIES]


def back_up(cluster: Cluster) -> dict:
    made = cluster.request("POST", "/v1/backups", {})
    assert cluster.request("GET", "/v1/backups")["items"][0]["name"] == made["name"]
    return made


@pytest.mark.timeout(900)
def test_after_the_vector_stores_files_are_lost_the_same_is_found(cluster: Cluster) -> None:
    before = found(cluster)
    assert all(before)
    with stopped(cluster):
        empty(volume(cluster, "hearth-knowledge") / "milvus")
    cluster.wait_indexed("work", seconds=400)
    cluster.wait_for("the same results", lambda: found(cluster) == before, seconds=60)


@pytest.mark.timeout(900)
def test_a_backup_fills_an_empty_volume(cluster: Cluster) -> None:
    before, entry = found(cluster), cluster.wait_indexed("work")
    backup = back_up(cluster)
    folder = volume(cluster, "hearth-backup")
    stored = [file for file in folder.rglob("*") if file.is_file()]
    assert stored
    words = b"vendor"
    assert not [file for file in stored if words in file.read_bytes()], "a backup must be sealed"
    restore = {"name": "HEARTH_RESTORE", "value": backup["name"]}
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "knowledge", "env": [restore]}]}}}}
    with stopped(cluster):
        empty(volume(cluster, "hearth-knowledge") / "knowledge")
        empty(volume(cluster, "hearth-knowledge") / "milvus")
        cluster.kubectl("patch", DEPLOYMENT, "--type=strategic", "-p", json.dumps(patch))
    again = cluster.wait_indexed("work", seconds=400)
    assert again["documents"] == entry["documents"]
    cluster.wait_for("the same results", lambda: found(cluster) == before, seconds=60)
    # A second start finds its data and leaves it alone, whatever HEARTH_RESTORE says.
    stamp = time.time()
    with stopped(cluster):
        pass
    assert cluster.wait_indexed("work", seconds=120)["documents"] == entry["documents"]
    assert (volume(cluster, "hearth-knowledge") / "knowledge").stat().st_mtime < stamp + 300
    cluster.kubectl(
        "patch",
        DEPLOYMENT,
        "--type=strategic",
        "-p",
        json.dumps(patch).replace(json.dumps(restore), json.dumps({"name": "HEARTH_RESTORE", "value": ""})),
    )
    cluster.kubectl("rollout", "status", DEPLOYMENT, "--timeout=240s")
    # Sources go on where they were: nothing is read twice.
    run = cluster.run_now("documents")
    assert run["counts"]["added"] == run["counts"]["updated"] == 0
    assert run["counts"]["unchanged"] > 0
