"""Rights equal use: the operator lives through everything, and the API server's audit log says what it asked for.

`tests/e2e/zy_rights` says the same of the real release, where the gateway and the others run too.
"""

import asyncio
import json

import pytest

from hearth_operator.rbac import role_rules
from integration.operator.test_operator_life import up
from integration.operator.test_operator_quickstart import QUICKSTART, REPORT, active_job, bring_up
from support.audit import Right, compare, denied, read_audit
from support.operator_outside import finish_job

pytestmark = pytest.mark.timeout(300)  # each waits for many things in turn
API = "hearth.banjonet.com/v1alpha1"


async def run_once(stage, source: str, stamp: str) -> None:
    """Ask for a run and end it."""
    before = (await stage.kube.get("IngestionSource", source))["status"]["lastRun"]["job"]
    stage.kubectl("annotate", "isrc", source, f"hearth.banjonet.com/run-now={stamp}", "--overwrite")

    async def started():
        job = await active_job(stage, source)
        return job if job != before else None

    await finish_job(stage.kube, await stage.until(started), namespace=stage.namespace, report=REPORT)

    async def told():
        return (await stage.kube.get("IngestionSource", source))["status"].get("lastRunNow") == stamp

    await stage.until(told)


async def change_and_roll_back(stage) -> None:
    """A bad revision, taken back; a restart; a pause."""
    stage.fake.failing["package://bad"] = "hearth_serve.errors.WeightsMissingError: no package bad"
    chat = next(item for item in QUICKSTART if item["metadata"]["name"] == "chat")
    variant = chat["spec"]["variants"][0]
    bad = {**variant, "model": {**variant["model"], "source": "package://bad"}}
    stage.apply({**chat, "spec": {**chat["spec"], "variants": [bad]}})
    await stage.until_condition("ModelDeployment", "chat", "True", type_="Degraded", reason="RolledBack", seconds=60)
    stage.apply(chat)
    await stage.until_condition("ModelDeployment", "chat", "False", type_="Degraded", seconds=60)
    for kind, name in (("inode", "home"), ("mdep", "chat")):
        stage.kubectl("annotate", kind, name, "hearth.banjonet.com/restart=one")
    for kind, resource, name in (
        ("ModelDeployment", "mdep", "chat"),
        ("KnowledgeBase", "kb", "work"),
        ("IngestionSource", "isrc", "documents"),
    ):
        stage.kubectl("patch", resource, name, "--type=merge", "-p", '{"spec": {"suspend": true}}')
        await stage.until_condition(kind, name, "False", reason="Suspended")
        stage.kubectl("patch", resource, name, "--type=merge", "-p", '{"spec": {"suspend": false}}')
        await stage.until_condition(kind, name, "True", seconds=60)


async def keep_stores(stage) -> None:
    """A Milvus of one's own and somebody else's, whose credentials come and go."""
    embedding = {"model": "embed"}
    managed = {"mode": "Managed", "managed": {"storage": {"size": "1Gi"}}}
    external = {"mode": "External", "external": {"uri": "http://milvus.lan:19530", "secretRef": {"name": "milvus"}}}
    stage.kubectl("create", "secret", "generic", "milvus", "--from-literal=username=a", "--from-literal=password=b")
    for name, store in (("own", managed), ("theirs", external)):
        spec = {"embedding": embedding, "store": store}
        stage.apply({"apiVersion": API, "kind": "KnowledgeBase", "metadata": {"name": name}, "spec": spec})

    async def entries(*wanted: str) -> bool:
        found = ((await stage.kube.get("Secret", "hearth-stores")) or {}).get("data") or {}
        return set(found) == set(wanted)

    await stage.until(lambda: entries("own", "theirs"))
    stage.kubectl("delete", "kb", "own", "theirs")
    await stage.until(entries)


async def repair(stage) -> None:
    """What somebody else changed or took away."""
    stage.kubectl("scale", "deployment", "hearth-node-home", "--replicas=2")
    for kind, name in (
        ("service", "hearth-node-home"),
        ("serviceaccount", "hearth-ingest-inbox"),
        ("rolebinding", "hearth-gateway-nodes"),
    ):
        stage.kubectl("delete", kind, name)

    async def repaired():
        deployment = await stage.kube.get("Deployment", "hearth-node-home")
        others = [
            await stage.kube.get("Service", "hearth-node-home"),
            await stage.kube.get("ServiceAccount", "hearth-ingest-inbox"),
            await stage.kube.get("RoleBinding", "hearth-gateway-nodes"),
        ]
        return deployment["spec"]["replicas"] == 1 and all(others)

    await stage.until(repaired)
    # The last key that may administer: its entry is written again from the admin's own Secret.
    stage.kubectl("patch", "secret", "hearth-api-keys", "--type=json", "-p", '[{"op": "remove", "path": "/data"}]')

    async def entered():
        return (await stage.kube.get("Secret", "hearth-api-keys")).get("data")

    await stage.until(entered)


async def end_everything(stage) -> None:
    """Erase a source while it runs, then delete all kinds."""
    for kind, name in (("isrc", "inbox"), ("kb", "work")):
        stage.kubectl("patch", kind, name, "--type=merge", "-p", '{"spec": {"deletionPolicy": "Delete"}}')
    stage.kubectl("annotate", "isrc", "inbox", "hearth.banjonet.com/run-now=last", "--overwrite")
    await stage.until(lambda: active_job(stage, "inbox"))
    for kind in ("isrc", "kb", "mdep", "inode"):
        await asyncio.to_thread(stage.kubectl, "delete", kind, "--all", "--timeout=60s")
    assert (stage.fake.erased, stage.fake.deleted, stage.fake.apps) == (["inbox"], ["work"], {})

    async def no_children():
        rules = (await stage.kube.get("Role", "hearth-gateway-nodes")).get("rules")
        return not rules and await stage.kube.get("Deployment", "hearth-node-home") is None

    await stage.until(no_children, seconds=60)


async def test_every_right_of_the_operator_is_used_and_none_lacks(stage) -> None:
    await stage.start()
    await bring_up(stage)
    await run_once(stage, "inbox", "one")
    await change_and_roll_back(stage)
    await keep_stores(stage)
    await repair(stage)
    await stage.stop()
    await stage.start()
    await end_everything(stage)
    await stage.stop()

    calls = read_audit(stage.plane.audit_log, namespace=stage.namespace)
    said = compare("hearth-operator", role_rules(), calls)
    assert not said, "\n".join(said)
    assert {call.namespace for call in calls} == {stage.namespace}, "nothing is asked of other namespaces"


async def test_the_comparison_sees_a_right_that_lacks_and_one_too_many(stage) -> None:
    """So that an empty list above means something: the log of a real refusal, and a verb that nobody needs."""
    rules = [
        {**rule, "verbs": [v for v in rule["verbs"] if (rule["resources"], v) != (["services"], "create")]}
        for rule in role_rules()
    ]
    stage.kubectl("patch", "role", "hearth-operator", "--type=merge", "-p", json.dumps({"rules": rules}))
    await stage.start()
    await up(stage, "node")

    async def refused():
        return denied(read_audit(stage.plane.audit_log, namespace=stage.namespace))

    found = await stage.until(refused)
    assert {call.rights for call in found} == {(Right("", "services", "patch", "hearth-node-home"),)}
    await stage.stop()
    more = [*rules, {"apiGroups": [""], "resources": ["secrets"], "verbs": ["delete"]}]
    said = compare("hearth-operator", more, read_audit(stage.plane.audit_log, namespace=stage.namespace))
    assert "hearth-operator holds a right that nothing used: delete secrets" in said
    assert any(line.startswith("hearth-operator was denied: ") and "services" in line for line in said)
