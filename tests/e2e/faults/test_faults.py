"""Killing any one pod during ingestion loses nothing: the rerun equals an undisturbed run."""

import mailbox
import random
from email.message import EmailMessage
from pathlib import Path

import pytest

from support.cluster import Cluster

GROUP = "hearth.banjonet.com/v1alpha1"
MAILS = 60
WORDS = ("valve", "anchor", "willow", "copper", "lantern", "meadow", "harbour", "walnut", "thunder", "ribbon", "castle")


def _write(path: Path) -> None:
    rng = random.Random(11)
    path.unlink(missing_ok=True)
    box = mailbox.mbox(str(path))
    for number in range(MAILS):
        mail = EmailMessage()
        mail["From"] = "a@example.org"
        mail["To"] = "b@example.org"
        mail["Subject"] = f"Batch {number}"
        mail["Date"] = "Mon, 02 Nov 2026 09:00:00 +0100"
        mail["Message-ID"] = f"<fault-{number}@example.org>"
        mail.set_content("\n\n".join(" ".join(rng.choices(WORDS, k=60)) for _ in range(3)) + f"\n\nMarker {number}.")
        box.add(mail)
    box.flush()
    box.close()
    path.chmod(0o644)


def knowledge_base(name: str) -> dict:
    return {
        "apiVersion": GROUP,
        "kind": "KnowledgeBase",
        "metadata": {"name": name},
        "spec": {"embedding": {"model": "embed"}, "deletionPolicy": "Delete"},
    }


def source(name: str, base: str) -> dict:
    return {
        "apiVersion": GROUP,
        "kind": "IngestionSource",
        "metadata": {"name": name},
        "spec": {"knowledgeBaseRef": {"name": base}, "type": "Email", "email": {"path": "fault.mbox"}},
    }


@pytest.fixture(scope="module")
def mbox(cluster: Cluster):
    path = cluster.data / "fault.mbox"
    _write(path)
    yield path
    path.unlink()


def _contents(cluster: Cluster, base: str) -> tuple[int, int, set[str]]:
    """Documents, chunks, and the keys found by searches over the whole collection."""
    entry = cluster.wait_indexed(base)
    keys = {
        hit["origin_key"] for word in WORDS for hit in cluster.search(base, f"Marker {word}", top_k=100, mode="dense")
    }
    return entry["documents"], entry["chunks"], keys


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster, mbox: Path):
    with cluster.applied(knowledge_base("calm"), source("calm-mail", "calm")):
        cluster.wait_ready("ingestionsource", "calm-mail")
        yield _contents(cluster, "calm")


@pytest.mark.parametrize(
    "selector",
    [
        "app.kubernetes.io/name=hearth-knowledge",
        "app.kubernetes.io/name=hearth-gateway",
        "app.kubernetes.io/name=hearth-operator",
        "hearth.banjonet.com/kind=InferenceNode",
        "hearth.banjonet.com/kind=IngestionSource",
    ],
    ids=["knowledge", "gateway", "operator", "node", "ingest"],
)
@pytest.mark.timeout(600)
def test_a_killed_pod_loses_nothing(cluster: Cluster, undisturbed, selector: str) -> None:
    with cluster.applied(knowledge_base("storm"), source("storm-mail", "storm")):
        pods = cluster.wait_for(
            "a pod to kill",
            lambda: [
                pod["metadata"]["name"]
                for pod in cluster.items("pod", selector)
                if pod["status"]["phase"] == "Running"
                and ("IngestionSource" not in selector or "storm" in pod["metadata"]["name"])
            ],
            every=0.1,
        )
        for pod in pods:
            cluster.kubectl("delete", "pod", pod, "--grace-period=0", "--force", "--ignore-not-found")
        cluster.wait_ready("ingestionsource", "storm-mail", seconds=400)
        cluster.wait_ready("modeldeployment", "embed", seconds=300)
        run = cluster.run_now("storm-mail", seconds=400)
        assert run["outcome"] == "Succeeded"
        assert run["counts"]["failed"] == 0
        assert _contents(cluster, "storm") == undisturbed
        cluster.wait_ready("modeldeployment", "chat", seconds=300)
