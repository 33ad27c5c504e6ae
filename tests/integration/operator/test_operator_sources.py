"""Sources and stores against a real API server: schedule, pause, the end of a source, a Milvus of one's own."""

import base64
import json
from datetime import UTC, datetime

import pytest

from hearth_operator import names
from integration.operator.test_operator_life import up
from integration.operator.test_operator_quickstart import REPORT, active_job
from support.operator_outside import finish_job

pytestmark = pytest.mark.timeout(300)  # each waits for many things in turn


async def test_a_schedule_pauses_for_an_asked_run_and_says_what_comes_next(stage) -> None:
    await stage.start()
    await up(stage, "node", "embed", "knowledge", "inbox")
    stage.kubectl(
        "patch", "isrc", "inbox", "--type=merge", "-p",
        '{"spec": {"schedule": "0 3 * * *", "timeZone": "Europe/Berlin", "successfulRunsHistoryLimit": 1}}',
    )  # fmt: skip

    async def cron():
        return (await stage.kube.get("CronJob", "hearth-ingest-inbox") or {}).get("spec") or {}

    job = await stage.until(lambda: active_job(stage, "inbox"))

    async def paused():
        spec = await cron()
        return spec.get("schedule") == "0 3 * * *" and spec["suspend"]

    await stage.until(paused)
    now = datetime.now(UTC).isoformat()
    report = {**REPORT, "started": now, "finished": now}
    await finish_job(stage.kube, job, namespace=stage.namespace, report=report)

    async def goes_on():
        return not (await cron())["suspend"]

    await stage.until(goes_on)
    spec = await cron()
    assert (spec["timeZone"], spec["concurrencyPolicy"], spec["successfulJobsHistoryLimit"]) == (
        "Europe/Berlin", "Forbid", 1,
    )  # fmt: skip

    async def said():
        status = (await stage.kube.get("IngestionSource", "inbox"))["status"]
        return "nextRun" in status and "lastSuccess" in status and status

    # The CronJob is written before the status of the same pass.
    status = await stage.until(said)
    assert status["nextRun"][10:] in {"T01:00:00Z", "T02:00:00Z"}, "3 o'clock in Berlin"
    await stage.until_condition("IngestionSource", "inbox", "True", type_="Fresh", reason="Fresh")
    await stage.until_condition("KnowledgeBase", "work", "True", type_="Fresh", reason="Fresh")


async def test_a_source_with_deletion_policy_delete_waits_for_its_run_and_the_service(stage) -> None:
    await stage.start()
    await up(stage, "node", "embed", "knowledge", "inbox")
    stage.kubectl("patch", "isrc", "inbox", "--type=merge", "-p", '{"spec": {"deletionPolicy": "Delete"}}')
    job = await stage.until(lambda: active_job(stage, "inbox"))

    async def held():
        return (await stage.kube.get("IngestionSource", "inbox"))["metadata"].get("finalizers")

    await stage.until(held)
    stage.fake.knowledge_up = False
    stage.kubectl("delete", "isrc", "inbox", "--wait=false")
    blocked = await stage.until_condition("IngestionSource", "inbox", "False", reason="EraseBlocked")
    assert "deletionPolicy to Retain" in blocked["message"]
    assert (await stage.kube.get("Job", job))["spec"]["suspend"] is True
    assert (await stage.kube.get("CronJob", "hearth-ingest-inbox"))["spec"]["suspend"] is True
    stage.fake.knowledge_up = True

    async def gone():
        return await stage.kube.get("IngestionSource", "inbox") is None

    await stage.until(gone)
    assert stage.fake.erased == ["inbox"]


async def test_a_managed_store_passes_strict_validation_and_opens_with_its_secret(stage, tmp_path) -> None:
    """No Milvus runs here: its pod is said to be ready."""
    await stage.start()
    stage.kubectl("label", "namespace", stage.namespace, "pod-security.kubernetes.io/enforce=restricted")
    await up(stage, "node", "embed")
    base = {
        "apiVersion": "hearth.banjonet.com/v1alpha1",
        "kind": "KnowledgeBase",
        "metadata": {"name": "own"},
        "spec": {
            "embedding": {"model": "embed"},
            "store": {"mode": "Managed", "managed": {"storage": {"size": "1Gi"}}},
        },
    }
    stage.apply(base)
    await stage.until_condition("KnowledgeBase", "own", "False", type_="Provisioned", reason="StoreNotReady")
    deployment = await stage.kube.get("Deployment", "hearth-milvus-own")
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "milvus"},
        "spec": deployment["spec"]["template"]["spec"],
    }
    (tmp_path / "pod.json").write_text(json.dumps(pod))
    stage.kubectl("create", "--dry-run=server", "--validate=strict", "-f", str(tmp_path / "pod.json"))

    async def made():
        return await stage.kube.list_all("Pod", labels={"app.kubernetes.io/component": "store"})

    (running,) = await stage.until(made)
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-10-05T09:00:00Z"}
    status = {"status": {"phase": "Running", "conditions": [ready]}}
    stage.kubectl(
        "patch", "pod", running["metadata"]["name"], "--subresource=status", "--type=merge", "-p", json.dumps(status)
    )
    await stage.until_condition("KnowledgeBase", "own", "True", type_="Provisioned")
    assert stage.fake.configs["own"]["store"] == {
        "mode": "External", "uri": "http://hearth-milvus-own:19530", "credentials": "own",
    }  # fmt: skip
    root = (await stage.kube.get("Secret", "hearth-milvus-own"))["data"]["root-password"]
    entry = json.loads(base64.b64decode((await stage.kube.get("Secret", names.SECRET_STORES))["data"]["own"]))
    assert entry == {"username": "root", "password": base64.b64decode(root).decode()}
    stage.kubectl("delete", "kb", "own")

    async def entry_gone():
        return "own" not in ((await stage.kube.get("Secret", names.SECRET_STORES)).get("data") or {})

    await stage.until(entry_gone)
    assert await stage.kube.get("PersistentVolumeClaim", "hearth-milvus-own") is not None
