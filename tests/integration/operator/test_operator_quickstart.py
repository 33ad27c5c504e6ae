"""The quickstart, reconciled to Ready against a real API server; only what is outside of it is ours."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.operator_outside import finish_job

pytestmark = pytest.mark.timeout(300)  # each waits for many things in turn
FOLDER = Path(__file__).parents[3] / "crds/examples/quickstart"
SOURCES = ("inbox", "documents", "chats", "calendar")


def quickstart() -> list[dict[str, Any]]:
    """The quickstart on one machine, `home`: there is one Ray outside."""
    found = []
    for file in sorted(FOLDER.glob("*.yaml")):
        item = yaml.safe_load(file.read_text())
        if item["kind"] == "InferenceNode":
            if item["metadata"]["name"] == "gpu":
                continue
            item["metadata"]["name"] = "home"
        for variant in item["spec"].get("variants", ()):
            variant["node"] = {"name": "home"}
        found.append(item)
    return found


QUICKSTART = quickstart()
REPORT = {
    "started": "2026-10-05T09:00:00Z",
    "finished": "2026-10-05T09:00:09Z",
    "outcome": "Succeeded",
    "counts": {"added": 60, "updated": 0, "deleted": 0, "unchanged": 0, "quarantined": 0, "failed": 0},
    "bytes": 12345,
}


async def bring_up(stage) -> None:
    stage.apply(*QUICKSTART)
    await stage.until_condition("InferenceNode", "home", "True")
    await stage.until_condition("ModelDeployment", "chat", "True")
    await stage.until_condition("ModelDeployment", "embed", "True")
    await stage.until_condition("KnowledgeBase", "work", "True")
    for source in SOURCES:
        job = await stage.until(lambda s=source: active_job(stage, s), why=f"first run of {source}")
        await finish_job(stage.kube, job, namespace=stage.namespace, report=REPORT)
        await stage.until_condition("IngestionSource", source, "True")


async def active_job(stage, source):
    obj = await stage.kube.get("IngestionSource", source)
    return ((obj or {}).get("status") or {}).get("activeJob")


async def test_the_whole_quickstart_becomes_ready_and_then_nothing_is_written(stage) -> None:
    await stage.start()
    await bring_up(stage)

    chat = await stage.kube.get("ModelDeployment", "chat")
    entry = chat["status"]["variants"][0]
    assert entry["state"] == "Available"
    assert entry["url"] == f"https://hearth-node-home.{stage.namespace}.svc:8000/chat/cpu"
    assert entry["tokenSecretRef"] == {"name": "hearth-serve-home", "key": "token"}
    assert entry["slots"] == 2
    embed = await stage.kube.get("ModelDeployment", "embed")
    assert embed["status"]["dimensions"] == 384
    kb = await stage.kube.get("KnowledgeBase", "work")
    assert kb["status"]["collection"] == "kb_work"
    inbox = await stage.kube.get("IngestionSource", "inbox")
    assert inbox["status"]["lastRun"]["counts"]["added"] == 60
    assert inbox["status"]["lastRunNow"] == "first"

    role = await stage.kube.get("Role", "hearth-gateway-nodes")
    assert role["rules"][0]["resourceNames"] == ["hearth-serve-home"]
    keys = await stage.kube.get("Secret", "hearth-api-keys")
    assert len(keys["data"]) == 1
    assert await stage.kube.get("Secret", "hearth-kek")
    assert await stage.kube.get("Secret", "hearth-admin-key")

    # Idle: passes go on, heartbeats too, and nothing is written anywhere.
    await asyncio.sleep(4)
    before = await versions(stage)
    puts = len(stage.fake.puts)
    await asyncio.sleep(8)
    assert await versions(stage) == before
    assert len(stage.fake.puts) == puts
    events = stage.kubectl("get", "events", "-o", "jsonpath={range .items[*]}{.reason} {.message}{'\\n'}{end}")
    assert "Serving Available" in events
    assert "UnexpectedJob" not in events


async def versions(stage) -> dict[str, str]:
    kinds = (
        "InferenceNode",
        "ModelDeployment",
        "KnowledgeBase",
        "IngestionSource",
        "Secret",
        "ConfigMap",
        "CronJob",
        "Deployment",
        "Service",
        "ServiceAccount",
        "Role",
        "RoleBinding",
        "PersistentVolumeClaim",
        "Job",
    )
    return {
        f"{kind}/{o['metadata']['name']}": o["metadata"]["resourceVersion"]
        for kind in kinds
        for o in await stage.kube.list_all(kind)
    }
