"""What happens after the first day: runs, failures, absences, deletions and restarts."""

import asyncio
import json

import pytest

from hearth_operator.handlers.run import run_operator
from hearth_operator.rbac import role_rules
from integration.operator.test_operator_quickstart import QUICKSTART, REPORT, active_job, bring_up, versions
from support.operator_outside import finish_job

pytestmark = pytest.mark.timeout(300)  # each waits for many things in turn

NAMES = {"node": "home", "knowledge": "work"}


async def up(stage, *parts: str) -> None:
    """Apply only some resources of the quickstart."""
    wanted = {NAMES.get(part, part) for part in parts}
    stage.apply(*(item for item in QUICKSTART if item["metadata"]["name"] in wanted))


async def test_runs_are_started_by_the_annotation_retried_and_suspended(stage) -> None:
    await stage.start()
    await up(stage, "node", "embed", "knowledge", "inbox")
    first = await stage.until(lambda: active_job(stage, "inbox"))
    await finish_job(stage.kube, first, namespace=stage.namespace, report=REPORT)
    await stage.until_condition("IngestionSource", "inbox", "True")

    stage.kubectl("annotate", "isrc", "inbox", "hearth.banjonet.com/run-now=one")
    second = await stage.until(lambda: active_job(stage, "inbox"))
    assert second != first
    owner = (await stage.kube.get("Job", second))["metadata"]["ownerReferences"][0]
    assert owner["kind"] == "IngestionSource"
    # A pod that is killed leaves no report; the Job makes another.
    await finish_job(stage.kube, second, namespace=stage.namespace, report=None, failed=True)
    partial = {**REPORT, "outcome": "PartiallyFailed", "counts": {"added": 1, "failed": 2}, "firstError": "bad mail"}
    await finish_job(stage.kube, second, namespace=stage.namespace, report=partial, seconds=60)
    synced = await stage.until_condition("IngestionSource", "inbox", "True", type_="Synced", reason="PartiallyFailed")
    assert "failed 2: bad mail" in synced["message"]
    assert (await stage.kube.get("IngestionSource", "inbox"))["status"]["lastRunNow"] == "one"

    stage.kubectl(
        "patch", "isrc", "inbox", "--type=merge", "-p", '{"spec": {"suspend": true, "schedule": "* * * * *"}}'
    )
    await stage.until_condition("IngestionSource", "inbox", "False", reason="Suspended")

    async def suspended():
        spec = (await stage.kube.get("CronJob", "hearth-ingest-inbox"))["spec"]
        return spec["schedule"] == "* * * * *" and spec["suspend"]

    await stage.until(suspended)
    stage.kubectl("annotate", "isrc", "inbox", "hearth.banjonet.com/run-now=two", "--overwrite")
    await asyncio.sleep(2)
    assert await active_job(stage, "inbox") is None
    stage.kubectl("patch", "isrc", "inbox", "--type=merge", "-p", '{"spec": {"suspend": false}}')
    assert await stage.until(lambda: active_job(stage, "inbox"))
    events = stage.kubectl("get", "events", "-o", "jsonpath={.items[*].reason}")
    assert "UnexpectedJob" not in events


async def test_a_machine_that_goes_is_unknown_and_what_it_lost_is_put_again(stage) -> None:
    await stage.start()
    await up(stage, "node", "chat")
    await stage.until_condition("ModelDeployment", "chat", "True")

    stage.fake.ray_up = False
    await stage.until_condition("InferenceNode", "home", "Unknown", reason="NodeOffline", seconds=15)
    await stage.until_condition("ModelDeployment", "chat", "Unknown", reason="NodeOffline", seconds=15)
    entry = (await stage.kube.get("ModelDeployment", "chat"))["status"]["variants"][0]
    assert entry["state"] == "Unreachable"

    stage.fake.lose_apps()
    puts = len(stage.fake.puts)
    stage.fake.ray_up = True
    await stage.until_condition("ModelDeployment", "chat", "True")
    assert len(stage.fake.puts) == puts + 1
    # A head that loses its applications while nobody looks away.
    stage.fake.lose_apps()

    async def again():
        return "chat.cpu" in stage.fake.apps

    await stage.until(again)


async def test_what_fails_says_why_and_leaves_the_others_alone(stage) -> None:
    await stage.start()
    stage.fake.failing["chat.cpu"] = (
        "Failed to update\n\x1b[36mray::x\x1b[39m\nhearth_serve.errors.WeightsMissingError: no file x.gguf"
    )
    await up(stage, "node", "chat", "embed")
    await stage.until_condition("ModelDeployment", "embed", "True")
    found = await stage.until_condition("ModelDeployment", "chat", "False", reason="WeightsMissing")
    untouched = await stage.condition("ModelDeployment", "embed")
    assert found["message"] == "WeightsReady: variant cpu: no file x.gguf"

    second = {
        "apiVersion": "hearth.banjonet.com/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "copy"},
        "spec": {
            "task": "Embed",
            "aliases": ["embed"],
            "variants": [
                {"name": "a", "node": {"name": "moon"}, "engine": "OnnxRuntime", "model": {"source": "package://x/y"}}
            ],
        },
    }
    stage.apply(second)
    taken = await stage.until_condition("ModelDeployment", "copy", "False", reason="AliasTaken")
    assert "embed" in taken["message"]
    second["spec"]["aliases"] = []
    stage.apply(second)
    await stage.until_condition("ModelDeployment", "copy", "False", reason="NodeNotFound")
    assert set(stage.fake.apps) == {"chat.cpu", "embed.cpu"}

    # Its file appears: it is tried again, and shown as failed until it serves.
    stage.fake.failing.clear()
    await stage.until_condition("ModelDeployment", "chat", "True")
    assert await stage.condition("ModelDeployment", "embed") == untouched

    stage.fake.mute.add("embed.cpu")
    await stage.until_condition("ModelDeployment", "embed", "False", reason="ProbeFailed")
    stage.fake.mute.clear()
    await stage.until_condition("ModelDeployment", "embed", "True")


async def test_a_model_that_takes_too_long_is_told_so(stage) -> None:
    await stage.start()
    stage.fake.starting.add("chat.cpu")
    await up(stage, "node", "chat")
    stage.kubectl("patch", "mdep", "chat", "--type=merge", "-p", '{"spec": {"progressDeadlineSeconds": 10}}')
    await stage.until_condition("ModelDeployment", "chat", "True", type_="Progressing", reason="RollingOut")
    await stage.until_condition(
        "ModelDeployment", "chat", "False", type_="Progressing", reason="DeadlineExceeded", seconds=20
    )
    stage.fake.starting.clear()
    await stage.until_condition("ModelDeployment", "chat", "True")


async def test_deleting_takes_away_what_was_made_and_nothing_else(stage) -> None:
    await stage.start()
    await up(stage, "node", "chat", "embed", "knowledge")
    await stage.until_condition("KnowledgeBase", "work", "True")
    await stage.until_condition("ModelDeployment", "chat", "True")
    foreign = {"name": "theirs", "import_path": "my.app:x", "args": {"task": "x"}}
    stage.fake.apps["theirs"] = foreign

    await asyncio.to_thread(stage.kubectl, "delete", "mdep", "chat", "--timeout=30s")
    assert set(stage.fake.apps) == {"embed.cpu", "theirs"}
    assert stage.fake.apps["theirs"] == foreign

    stage.kubectl("patch", "kb", "work", "--type=merge", "-p", '{"spec": {"deletionPolicy": "Delete"}}')

    async def held():
        return (await stage.kube.get("KnowledgeBase", "work"))["metadata"].get("finalizers")

    await stage.until(held)
    stage.fake.knowledge_up = False
    stage.kubectl("delete", "kb", "work", "--wait=false")
    await stage.until_condition("KnowledgeBase", "work", "Unknown", reason="Unreachable")
    assert stage.fake.deleted == []
    stage.fake.knowledge_up = True

    async def gone():
        return await stage.kube.get("KnowledgeBase", "work") is None

    await stage.until(gone)
    assert stage.fake.deleted == ["work"]

    await asyncio.to_thread(stage.kubectl, "delete", "inode", "home", "--timeout=30s")

    async def no_children():
        role = await stage.kube.get("Role", "hearth-gateway-nodes")
        return await stage.kube.get("Deployment", "hearth-node-home") is None and not role.get("rules")

    await stage.until(no_children)
    assert await stage.kube.get("Secret", "hearth-ray-home"), "a token outlives its node"
    # A machine that is gone is not waited for.
    await asyncio.to_thread(stage.kubectl, "delete", "mdep", "embed", "--timeout=30s")


async def test_a_restart_of_the_operator_changes_nothing(stage) -> None:
    await stage.start()
    await bring_up(stage)
    await asyncio.sleep(4)
    before, puts = await versions(stage), len(stage.fake.puts)
    await stage.stop()
    await stage.start()
    await asyncio.sleep(6)
    assert await versions(stage) == before
    assert len(stage.fake.puts) == puts


async def test_drift_is_put_right_and_keys_are_never_made_anew(stage) -> None:
    await stage.start()
    await up(stage, "node", "embed", "knowledge")
    await stage.until_condition("KnowledgeBase", "work", "True")
    key = (await stage.kube.get("Secret", "hearth-serve-home"))["data"]
    stage.kubectl("scale", "deployment", "hearth-node-home", "--replicas=3")
    stage.kubectl("delete", "service", "hearth-node-home")

    async def repaired():
        deployment = await stage.kube.get("Deployment", "hearth-node-home")
        return deployment["spec"]["replicas"] == 1 and await stage.kube.get("Service", "hearth-node-home")

    await stage.until(repaired)
    assert (await stage.kube.get("Secret", "hearth-serve-home"))["data"] == key

    stage.kubectl("delete", "secret", "hearth-kek", "hearth-admin-key")
    await stage.until_condition("KnowledgeBase", "work", "False", reason="SecretNotFound")
    await asyncio.sleep(4)
    assert await stage.kube.get("Secret", "hearth-kek") is None
    assert await stage.kube.get("Secret", "hearth-admin-key") is None, "an admin entry is there"


# The other watches die with their loop, connections open: in a pod the process ends right after.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
async def test_an_operator_that_may_not_watch_ends_instead_of_standing_still(stage) -> None:
    """A watch that failed for good sees no change any more: the pod must restart, not look healthy."""
    rules = [rule for rule in role_rules() if rule["resources"] != ["secrets"]]
    stage.kubectl("patch", "role", "hearth-operator", "--type=merge", "-p", json.dumps({"rules": rules}))
    running = asyncio.create_task(
        run_operator(
            stage.settings,
            kubeconfig=str(stage.operator_config),
            outside=stage.outside,
            stop=asyncio.Event(),
            ready=asyncio.Event(),
        )
    )
    done, _ = await asyncio.wait({running}, timeout=200)
    assert done, "the operator goes on without its watches"
    assert running.exception() is not None


async def test_a_live_account_waits_for_its_secret_and_then_runs(stage) -> None:
    await stage.start()
    await up(stage, "node", "embed", "knowledge")
    await stage.until_condition("KnowledgeBase", "work", "True")
    live = {
        "apiVersion": "hearth.banjonet.com/v1alpha1",
        "kind": "IngestionSource",
        "metadata": {"name": "live"},
        "spec": {
            "knowledgeBaseRef": {"name": "work"},
            "type": "Email",
            "email": {"imap": {"host": "mail.lan", "secretRef": {"name": "account"}}},
        },
    }
    stage.apply(live)
    told = await stage.until_condition("IngestionSource", "live", "False", reason="SecretNotFound")
    assert "account" in told["message"]
    stage.kubectl("create", "secret", "generic", "account", "--from-literal=username=anna")
    await stage.until(lambda: _says(stage, "live", "lacks password"))
    stage.kubectl("delete", "secret", "account")
    stage.kubectl("create", "secret", "generic", "account", "--from-literal=username=a", "--from-literal=password=b")
    job = await stage.until(lambda: active_job(stage, "live"), seconds=40)
    report = {**REPORT, "privacy": {"phone": 3}, "withheld": {"hidden-text": 1}}
    await finish_job(stage.kube, job, namespace=stage.namespace, report=report)
    await stage.until_condition("IngestionSource", "live", "True")
    run = (await stage.kube.get("IngestionSource", "live"))["status"]["lastRun"]
    assert (run["privacy"], run["withheld"]) == ({"phone": 3}, {"hidden-text": 1})


async def _says(stage, source: str, words: str) -> bool:
    return words in (await stage.condition("IngestionSource", source)).get("message", "")
