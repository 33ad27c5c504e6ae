"""Sources over time: their schedule as Kubernetes reads it, freshness, runs that never overlap, and their end."""

import copy
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hearth_api.conditions import find_condition
from hearth_api.kinds.knowledge import DeletionPolicy
from hearth_api.parse import parse_observed
from hearth_api.wire.knowledge import KbStatus
from hearth_operator import names
from hearth_operator.cron import ScheduleError, parse_schedule
from hearth_operator.errors import UnreachableError
from hearth_operator.facts import SourceFacts
from hearth_operator.manifests.source import build_source
from hearth_operator.reconcile.queue import Key
from hearth_operator.reconcile.source import reconcile_source
from hearth_operator.reconcile.world import World
from hearth_operator.settings import Settings
from hearth_operator.status.knowledge import knowledge_status
from support.fake_kube import as_stored
from support.operator_gen import knowledge_base, source

CRON = json.loads((Path(__file__).parents[2] / "data" / "cron" / "expected.json").read_text())
SETTINGS = Settings(namespace="n", control_image="c", serve_image="s")
NOW = datetime(2026, 10, 5, 9, 0, tzinfo=UTC)


def said(status: Any, type_: str) -> tuple[str, str]:
    found = find_condition(status.conditions, type_)
    return (found.status.value, found.reason)


# The schedule


@pytest.mark.parametrize("case", CRON, ids=lambda c: f"{c['schedule']} {c['zone']} {c['after'][:10]}")
def test_a_schedule_means_what_kubernetes_makes_of_it(case: dict[str, Any]) -> None:
    try:
        schedule = parse_schedule(case["schedule"], case["zone"])
    except ScheduleError:
        assert case["refused"]
        return
    assert not case["refused"]
    moment, found = datetime.fromisoformat(case["after"]), []
    while len(found) < case["times"] and (moment := schedule.after(moment)) is not None:
        found.append(moment.strftime("%Y-%m-%dT%H:%M:%SZ"))
    assert found == case["next"]


@pytest.mark.parametrize(
    ("text", "zone", "part"),
    [
        ("99 * * * *", "Etc/UTC", "minute"),
        ("* * 32 * *", "Etc/UTC", "day of month"),
        ("* * * * 7", "Etc/UTC", "day of week"),
        ("x * * * *", "Etc/UTC", "minute"),
        ("* * * *", "Etc/UTC", "five fields"),
        ("@daily", "Europe/Atlantis", "timeZone"),
        ("@daily", "../etc/passwd", "timeZone"),
        ("@daily", "Europe", "timeZone"),
    ],
)
def test_a_schedule_without_sense_is_named(text: str, zone: str, part: str) -> None:
    with pytest.raises(ScheduleError, match=part):
        parse_schedule(text, zone)


# One source, pass by pass


class Cluster:
    """The API server, as far as one source needs it. Jobs get no pods unless a test gives them."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], dict[str, Any]] = {
            ("PersistentVolumeClaim", "hearth-data"): {"metadata": {"name": "hearth-data"}},
        }
        self.writes: list[str] = []
        self.told: list[str] = []
        self.after_apply = lambda: None

    async def get(self, kind: str, name: str) -> dict[str, Any] | None:
        return copy.deepcopy(self.objects.get((kind, name)))

    async def list_all(self, kind: str, *, labels: Any = None) -> list[dict[str, Any]]:
        return copy.deepcopy([o for (k, _), o in sorted(self.objects.items()) if k == kind])

    async def apply(self, manifest: dict[str, Any]) -> dict[str, Any]:
        key = (manifest["kind"], manifest["metadata"]["name"])
        self.writes.append(f"apply {key[0]}")
        old = self.objects.setdefault(key, {"metadata": {}})
        old.update({k: v for k, v in manifest.items() if k not in {"metadata", "spec"}})
        old["metadata"] = {**old["metadata"], **manifest["metadata"]}
        old["spec"] = {**old.get("spec", {}), **manifest.get("spec", {})}
        if key[0] == "CronJob":
            self.after_apply()
        return old

    async def apply_status(self, kind: str, name: str, status: dict[str, Any]) -> dict[str, Any]:
        self.writes.append(f"status {kind}")
        self.objects[kind, name]["status"] = json.loads(json.dumps(status))
        return self.objects[kind, name]

    async def create(self, manifest: dict[str, Any]) -> bool:
        key = (manifest["kind"], manifest["metadata"]["name"])
        if key[0] == "Event":
            self.told.append(manifest["reason"])
            return True
        if key in self.objects:
            return False
        self.writes.append(f"create {key[0]}")
        self.objects[key] = {**copy.deepcopy(manifest), "status": {}}
        return True

    async def set_finalizers(self, obj: dict[str, Any], finalizers: list[str]) -> None:
        self.objects[obj["kind"], obj["metadata"]["name"]]["metadata"]["finalizers"] = finalizers

    def job(self, name: str, *, asked: bool = False) -> None:
        """The CronJob's controller (or we) started a Job."""
        labels = {names.RUN_LABEL: "x"} if asked else {}
        meta = {"name": name, "labels": labels, "creationTimestamp": "2026-10-05T08:00:00Z"}
        self.objects["Job", name] = {"kind": "Job", "metadata": meta, "spec": {}, "status": {}}

    def finish(self, name: str, when: datetime, *, end: str = "Complete", outcome: str = "Succeeded") -> None:
        at = when.isoformat()
        job = self.objects["Job", name]
        job["status"] = {
            "conditions": [{"type": end, "status": "True", "lastTransitionTime": at}],
            "completionTime": at,
        }
        report = {"started": at, "finished": at, "outcome": outcome, "counts": {"added": 1}, "bytes": 1}
        terminated = {"terminated": {"message": json.dumps(report)}}
        self.objects["Pod", name] = {
            "metadata": {"name": name, "labels": {"batch.kubernetes.io/job-name": name}},
            "status": {"phase": "Succeeded", "containerStatuses": [{"state": terminated}]},
        }


class Knowledge:
    """What the service answers when it is told to erase."""

    def __init__(self) -> None:
        self.left: list[int | Exception] = [0]
        self.asked: list[tuple[str, str]] = []

    async def erase_source(self, kb: str, name: str) -> int:
        self.asked.append((kb, name))
        answer = self.left.pop(0) if len(self.left) > 1 else self.left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Stage:
    """One source and its knowledge base."""

    def __init__(self, **spec: Any) -> None:
        self.kube, self.knowledge, self.now = Cluster(), Knowledge(), NOW
        self.woken: list[Key] = []
        self.events = self.kube.told
        ready = {"type": "Provisioned", "status": "True", "reason": "Provisioned"}
        conditions = [{**ready, "lastTransitionTime": "2026-10-01T00:00:00Z", "message": ""}]
        self._put(knowledge_base(status={"conditions": conditions}))
        self._put(source(**spec))
        self.raw["metadata"].update(creationTimestamp="2026-10-05T08:30:00Z", uid="u")
        self.ctx = SimpleNamespace(
            settings=SETTINGS,
            kube=self.kube,
            knowledge=self.knowledge,
            instance="test",
            wrote=lambda *_: None,
            now=lambda: self.now,
            world=World(),
            wake=lambda key, delay=0.0: self.woken.append(key),
            wake_users=lambda _kind, _name: None,
        )

    def _put(self, resource: Any) -> None:
        found = as_stored(resource)
        self.kube.objects[found["kind"], found["metadata"]["name"]] = found

    @property
    def raw(self) -> dict[str, Any]:
        return self.kube.objects[names.SOURCE, "inbox"]

    @property
    def suspended(self) -> bool:
        return bool(self.kube.objects["CronJob", "hearth-ingest-inbox"]["spec"]["suspend"])

    @property
    def jobs(self) -> list[str]:
        return [name for kind, name in self.kube.objects if kind == "Job"]

    async def step(self, **later: float) -> float | None:
        self.now += timedelta(**later)
        raw = copy.deepcopy(self.raw)
        resource = parse_observed(raw)
        return await reconcile_source(self.ctx, raw, resource)

    @property
    def status(self) -> Any:
        return parse_observed(self.raw).status

    def ask(self, value: str) -> None:
        self.raw["metadata"].setdefault("annotations", {})[names.ANNOTATION_RUN_NOW] = value

    def delete(self) -> None:
        self.raw["metadata"]["deletionTimestamp"] = "2026-10-05T09:00:00Z"


async def test_the_next_run_is_said_and_written_once_per_run() -> None:
    stage = Stage(schedule="0 * * * *", timeZone="Asia/Kolkata")
    await stage.step()
    stage.kube.finish(stage.jobs[0], NOW)
    await stage.step(seconds=10)
    assert stage.status.next_run == datetime(2026, 10, 5, 9, 30, tzinfo=UTC)
    stage.kube.writes.clear()
    for _ in range(20):
        delay = await stage.step(minutes=1)
        assert 0 < delay <= 60
    assert stage.kube.writes == []
    stage.now = datetime(2026, 10, 5, 9, 29, 50, tzinfo=UTC)
    assert await stage.step() == 11.0
    await stage.step(seconds=11)
    assert stage.status.next_run == datetime(2026, 10, 5, 10, 30, tzinfo=UTC)
    assert stage.kube.writes == [f"status {names.SOURCE}"]


@pytest.mark.parametrize("spec", [{"schedule": None}, {"schedule": "@daily", "suspend": True}])
async def test_without_a_schedule_in_force_there_is_no_next_run(spec: dict[str, Any]) -> None:
    stage = Stage(**spec)
    await stage.step()
    assert stage.status.next_run is None


async def test_a_schedule_that_cannot_be_is_said_and_no_cronjob_is_made() -> None:
    stage = Stage(schedule="99 * * * *")
    assert await stage.step() == SETTINGS.intervals.not_yet
    assert said(stage.status, "Scheduled") == ("False", "InvalidSpec")
    assert "minute '99'" in find_condition(stage.status.conditions, "Scheduled").message
    assert [kind for kind, _ in stage.kube.objects if kind in {"CronJob", "Job"}] == []


async def test_the_cronjob_has_what_the_spec_says() -> None:
    spec = {
        "schedule": "@daily", "timeZone": "Europe/Berlin", "deadlineSeconds": 60, "startingDeadlineSeconds": 61,
        "successfulRunsHistoryLimit": 7, "failedRunsHistoryLimit": 9,
    }  # fmt: skip
    cron = build_source(source(**spec), settings=SETTINGS)[2]["spec"]
    assert cron["jobTemplate"]["spec"]["activeDeadlineSeconds"] == 60
    assert {k: cron[k] for k in cron if k != "jobTemplate"} == {
        "schedule": "@daily", "timeZone": "Europe/Berlin", "suspend": False, "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": 61, "successfulJobsHistoryLimit": 7, "failedJobsHistoryLimit": 9,
    }  # fmt: skip


# Runs that were asked for


async def test_the_schedule_pauses_while_a_run_that_was_asked_for_goes_on() -> None:
    stage = Stage(schedule="* * * * *")
    await stage.step()
    (first,) = stage.jobs
    assert stage.suspended
    await stage.step(minutes=1)
    assert stage.suspended
    stage.kube.finish(first, stage.now)
    await stage.step(minutes=1)
    assert not stage.suspended
    assert stage.jobs == [first]


async def test_a_run_asked_for_during_another_waits_for_its_end_and_comes_once() -> None:
    stage = Stage(schedule="* * * * *")
    await stage.step()
    stage.kube.finish(stage.jobs[0], stage.now)
    stage.kube.job("scheduled-1")
    stage.ask("a")
    await stage.step(seconds=5)
    stage.ask("b")
    await stage.step(seconds=5)
    assert len(stage.jobs) == 2
    assert not stage.suspended
    stage.kube.finish("scheduled-1", stage.now)
    await stage.step(seconds=5)
    await stage.step(seconds=5)
    assert len(stage.jobs) == 3
    assert stage.suspended
    assert stage.status.last_run_now == "b"


async def test_when_the_schedule_is_a_moment_faster_the_asked_run_waits() -> None:
    stage = Stage(schedule="* * * * *")
    await stage.step()
    stage.kube.finish(stage.jobs[0], stage.now)
    await stage.step()
    stage.ask("a")
    stage.kube.after_apply = lambda: stage.kube.job("scheduled-1") if "scheduled-1" not in stage.jobs else None
    await stage.step()
    assert len(stage.jobs) == 2, "only the scheduled one"
    assert stage.status.last_run_now == "first"
    stage.kube.after_apply = lambda: None
    await stage.step()
    assert not stage.suspended
    stage.kube.finish("scheduled-1", stage.now)
    await stage.step()
    assert len(stage.jobs) == 3
    assert stage.status.last_run_now == "a"


# Freshness


async def test_a_source_whose_run_was_due_and_did_not_succeed_is_stale_until_one_does() -> None:
    stage = Stage(schedule="0 * * * *", deadlineSeconds=600, startingDeadlineSeconds=300)
    await stage.step()
    stage.kube.finish(stage.jobs[0], NOW)
    await stage.step(seconds=30)
    assert said(stage.status, "Fresh") == ("True", "Fresh")
    assert stage.status.last_success == NOW
    assert stage.woken == [Key(names.KNOWLEDGE_BASE, "work")] * 2
    await stage.step(hours=1, minutes=14)  # 10:14:30: within both deadlines
    assert said(stage.status, "Fresh") == ("True", "Fresh")
    stage.events.clear()
    await stage.step(minutes=1)
    await stage.step(minutes=1)
    assert said(stage.status, "Fresh") == ("False", "Stale")
    assert said(stage.status, "Ready") == ("False", "Stale")
    message = find_condition(stage.status.conditions, "Fresh").message
    assert message == (
        "a run was due at 2026-10-05T10:00:00Z and none has succeeded since; last success at 2026-10-05T09:00:00Z"
    )
    assert stage.events == ["Stale", "Stale"], "one each of Fresh and Ready"
    stage.kube.job("failed")
    stage.kube.finish("failed", stage.now, end="Failed", outcome="Failed")
    await stage.step(seconds=1)
    assert said(stage.status, "Fresh") == ("False", "Stale")
    assert stage.ctx.world.sources["inbox"].fresh is False
    stage.kube.job("good")
    stage.kube.finish("good", stage.now, outcome="PartiallyFailed")
    await stage.step(seconds=1)
    assert said(stage.status, "Fresh") == ("True", "Fresh")


async def test_a_source_that_never_succeeded_is_stale_from_its_first_missed_run() -> None:
    stage = Stage(schedule="0 * * * *", deadlineSeconds=60)
    await stage.step()
    assert said(stage.status, "Fresh") == ("Unknown", "NeverRan")
    await stage.step(minutes=10)
    assert said(stage.status, "Fresh") == ("False", "Stale")
    assert "no run has succeeded yet" in find_condition(stage.status.conditions, "Fresh").message


KB_STATUS = KbStatus.model_validate(
    {
        "collection": "kb_work_1", "documents": 3, "chunks": 5,
        "embedding": {"model": "embed", "digest": "d", "dimensions": 4},
        "sources": [{"source": "inbox", "documents": 3, "lastWrite": "2026-10-05T08:00:00Z"}],
        "consistency": {"consistent": True, "expectedChunks": 5, "indexedChunks": 5},
        "index": {
            "built": "2026-10-05T07:00:00Z",
            "building": {
                "collection": "kb_work_2", "embedding": {"model": "next", "digest": "e", "dimensions": 8},
                "started": "2026-10-05T08:00:00Z", "done": 1, "total": 3,
            },
        },
    }
)  # fmt: skip


def test_a_knowledge_base_says_which_of_its_sources_are_stale_and_answers_all_the_same() -> None:
    def status(kb: Any, sources: dict[str, Any]) -> Any:
        return knowledge_status(kb, observed=KB_STATUS, blocked=None, sources=sources, now=NOW)

    facts = {
        "inbox": SourceFacts(knowledge_base="work", fresh=False, last_success=NOW),
        "new": SourceFacts(knowledge_base="work"),
        "foreign": SourceFacts(knowledge_base="home", fresh=False),
    }
    before = status(knowledge_base(), facts)
    assert said(before, "Fresh") == ("False", "Stale")
    assert said(before, "Ready") == ("True", "Ready")
    assert [(s.source, s.documents, s.fresh) for s in before.sources] == [("inbox", 3, False), ("new", 0, None)]
    kept = knowledge_base(status=before.to_json_object())
    assert status(kept, {}).sources == before.sources, "a restarted operator keeps what was known"
    assert [s.source for s in status(kept, {"new": None}).sources] == ["inbox"]
    gone = status(kept, {"inbox": None})
    assert (gone.sources[0].fresh, said(gone, "Fresh")) == (None, ("Unknown", "NotObserved"))


def test_the_status_has_the_lineage_of_the_index() -> None:
    status = knowledge_status(knowledge_base(), observed=KB_STATUS, blocked=None, now=NOW)
    assert status.index.to_json_object() == {
        "collection": "kb_work_1", "model": "embed", "digest": "d", "dimensions": 4, "built": "2026-10-05T07:00:00Z",
        "building": {
            "collection": "kb_work_2", "model": "next", "digest": "e", "dimensions": 8,
            "started": "2026-10-05T08:00:00Z", "done": 1, "total": 3,
        },
    }  # fmt: skip


# The end


async def test_a_source_that_keeps_its_documents_has_no_finalizer() -> None:
    stage = Stage(deletionPolicy="Delete")
    assert await stage.step() == 0.0
    assert stage.raw["metadata"]["finalizers"] == [names.KNOWLEDGE_FINALIZER]
    stage.raw["spec"]["deletionPolicy"] = "Retain"
    assert await stage.step() == 0.0
    assert stage.raw["metadata"]["finalizers"] == []
    stage.delete()
    assert await stage.step() is None
    assert stage.knowledge.asked == []


async def ending() -> Stage:
    """A source with a run that goes on, being deleted with its documents."""
    stage = Stage(deletionPolicy="Delete", schedule="* * * * *")
    await stage.step()
    await stage.step()
    stage.delete()
    return stage


async def test_runs_end_before_the_documents_are_erased() -> None:
    stage = await ending()
    (job,) = stage.jobs
    stage.kube.objects["Pod", "p"] = {"metadata": {"name": "p"}, "status": {"phase": "Running"}}
    assert await stage.step() == SETTINGS.intervals.knowledge_busy
    assert stage.suspended
    assert stage.kube.objects["Job", job]["spec"]["suspend"] is True
    assert said(stage.status, "Ready") == ("False", "Erasing")
    assert stage.knowledge.asked == []
    del stage.kube.objects["Pod", "p"]
    stage.knowledge.left = [12, 0]
    await stage.step()
    assert stage.raw["metadata"]["finalizers"] == [names.KNOWLEDGE_FINALIZER]
    assert await stage.step() is None
    assert stage.knowledge.asked == [("work", "inbox")] * 2
    assert stage.raw["metadata"]["finalizers"] == []


async def test_a_silent_service_holds_the_deletion_with_a_reason_and_a_way_out() -> None:
    stage = await ending()
    stage.knowledge.left = [UnreachableError("KnowledgeUnreachable", "cannot connect")]
    await stage.step()
    stage.kube.writes.clear()
    stage.events.clear()
    for _ in range(3):
        assert await stage.step() == SETTINGS.intervals.knowledge
    assert said(stage.status, "Ready") == ("False", "EraseBlocked")
    message = find_condition(stage.status.conditions, "Ready").message
    assert "cannot connect" in message
    assert "set deletionPolicy to Retain" in message
    assert (stage.kube.writes, stage.events) == ([], []), "said once"
    stage.raw["spec"]["deletionPolicy"] = DeletionPolicy.RETAIN.value
    assert await stage.step() is None
    assert stage.raw["metadata"]["finalizers"] == []


async def test_with_its_knowledge_base_gone_a_source_is_let_go() -> None:
    stage = await ending()
    stage.knowledge.left = [UnreachableError("KnowledgeUnreachable", "cannot connect")]
    del stage.kube.objects[names.KNOWLEDGE_BASE, "work"]
    assert await stage.step() is None
    assert stage.raw["metadata"]["finalizers"] == []
