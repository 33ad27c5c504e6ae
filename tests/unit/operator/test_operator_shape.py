"""All kinds say what they know in one shape: to people, to kstatus, to Argo CD; and Events tell transitions only."""

import ast
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hearth_api.condition_reasons import may_carry
from hearth_api.conditions import ConditionType, find_condition
from hearth_api.crd import build_crds
from hearth_api.kinds import KINDS
from hearth_api.kinds.base import Status
from hearth_api.reasons import PASSING, Reason
from hearth_api.wire.ingest import RunReport
from hearth_api.wire.knowledge import KbStatus
from hearth_api.wire.serve import ServeInfo
from hearth_operator.errors import InvalidSpecError, NotYetError, UnreachableError, outcome_of
from hearth_operator.facts import EndpointFacts, PodFacts, RayApp, RayNode, Reach, ServingFacts
from hearth_operator.reconcile.loop import failure_status, former_conditions
from hearth_operator.reconcile.report import write_status
from hearth_operator.status.conditions import Verdict, false, true, unknown, write_conditions
from hearth_operator.status.knowledge import knowledge_status
from hearth_operator.status.model import VariantFacts, model_status
from hearth_operator.status.node import node_status
from hearth_operator.status.source import JobFacts, source_status
from support.argo_lua import run_script
from support.kstatus import kstatus
from support.operator_gen import knowledge_base, managed_node, model, source, variant
from support.operator_still import StillKube, still_context

ROOT = Path(__file__).parents[3]
HEALTH = (ROOT / "charts/argocd/hearth.banjonet.com/_/health.lua").read_text()
NOW = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)
GENERATION = 3
PIN = {"hearth-node": "home"}
UP = EndpointFacts(reach=Reach.REACHABLE, version="2.60.0", raylets=(RayNode("n", True, PIN, 1, 1),))
INFO = ServeInfo.model_validate(
    {
        "build": "b", "engine": "LlamaCpp", "engine_version": "1", "model_id": "chat", "model_digest": "d" * 64,
        "context_tokens": 2048, "slots_total": 2, "slots_busy": 0, "tokens_produced": 5,
        "memory": {"now": 1, "peak": 100}, "node": "home", "pid": 1,
    }
)  # fmt: skip


def at_generation(resource: Any) -> Any:
    """The same resource, changed twice since it was made."""
    return resource.model_copy(update={"metadata": resource.metadata.model_copy(update={"generation": GENERATION})})


def node(facts: EndpointFacts, *, pod: PodFacts | None = None, **spec: Any) -> Status:
    return node_status(
        at_generation(managed_node(**spec)), facts=facts, pod=pod or PodFacts(), pin=PIN, urls=("http://r", "https://s"),
        memory=1, millicores=1, planned=0, models=(), now=NOW,
    )  # fmt: skip


def chat(*changes: dict[str, Any], refused: Verdict | None = None, **spec: Any) -> Status:
    names = ("cpu", "gpu")[: len(changes)]
    wanted = at_generation(model("chat", *(variant(name) for name in names), **spec))
    base = {
        "node": "home", "reach": Reach.REACHABLE, "fits": True, "current": True, "url": "https://x",
        "app": RayApp("chat.cpu", "RUNNING", replicas=("r",), config={}), "serving": ServingFacts(info=INFO, alive=True),
    }  # fmt: skip
    facts = [VariantFacts(**{**base, "variant": v, **c}) for v, c in zip(wanted.spec.variants, changes, strict=True)]
    return model_status(wanted, facts=facts, refused=refused, now=NOW)


def base(
    observed: dict[str, Any] | None, blocked: Verdict | None = None, *, rerank: Verdict | None = None, **spec: Any
) -> Status:
    body = {
        "collection": "c", "documents": 3, "chunks": 9, "embedding": {"model": "e", "digest": "d", "dimensions": 3},
        "consistency": {"consistent": True, "expectedChunks": 9, "indexedChunks": 9},
    }  # fmt: skip
    found = KbStatus.model_validate({**body, **observed}) if observed is not None else None
    return knowledge_status(
        at_generation(knowledge_base(**spec)), observed=found, blocked=blocked, rerank=rerank, now=NOW
    )


def inbox(*jobs: JobFacts, blocked: Verdict | None = None, **spec: Any) -> Status:
    return source_status(at_generation(source(**spec)), jobs=jobs, blocked=blocked, last_run_now="first", now=NOW)


def run(outcome: str, *, succeeded: bool = True, report: bool = True) -> JobFacts:
    said = RunReport.model_validate(
        {"started": NOW, "finished": NOW, "outcome": outcome, "counts": {"added": 1}, "bytes": 7}
    )
    return JobFacts(name="j", started=NOW, finished=NOW, succeeded=succeeded, report=said if report else None)


def failed(kind: str, error: Exception) -> Status:
    raw = {"kind": kind, "metadata": {"name": "x", "generation": GENERATION}}
    return failure_status(raw, error, outcome_of(error), now=NOW)


NOTHING = {"app": None, "serving": ServingFacts()}
LOADING = {"app": RayApp("chat.cpu", "DEPLOYING", config={}), "serving": ServingFacts()}
BROKEN = {"app": RayApp("chat.cpu", "DEPLOY_FAILED", "boom", config={}), "serving": ServingFacts()}
OFF = {"reach": Reach.OFFLINE, **NOTHING}
NO_NODE = {"node": None, "fits": False, "fit_reason": Reason.NODE_NOT_FOUND, **NOTHING}

STATES: dict[tuple[str, str], tuple[Status, str]] = {
    # (kind, what is so): the status, and Argo CD's health
    ("InferenceNode", "answers"): (node(UP), "Healthy"),
    ("InferenceNode", "starts"): (node(EndpointFacts(reach=Reach.OFFLINE)), "Progressing"),
    ("InferenceNode", "is off"): (
        node(EndpointFacts(reach=Reach.OFFLINE), status={"rayVersion": "2.60.0"}),
        "Degraded",
    ),
    ("InferenceNode", "refuses the token"): (node(EndpointFacts(reach=Reach.REFUSED)), "Degraded"),
    ("InferenceNode", "has no Secret"): (node(EndpointFacts(reach=Reach.NO_SECRET)), "Degraded"),
    ("InferenceNode", "has a pod that cannot run"): (
        node(EndpointFacts(), pod=PodFacts(exists=True, failure="ErrImagePull")),
        "Degraded",
    ),
    ("InferenceNode", "has an old Ray"): (
        node(EndpointFacts(reach=Reach.REACHABLE, version="2.40.0", raylets=UP.raylets)),
        "Degraded",
    ),
    ("InferenceNode", "has no raylet"): (node(EndpointFacts(reach=Reach.REACHABLE, version="2.60.0")), "Degraded"),
    ("InferenceNode", "is suspended"): (node(EndpointFacts(reach=Reach.OFFLINE), suspend=True), "Suspended"),
    ("ModelDeployment", "serves"): (chat({}), "Healthy"),
    ("ModelDeployment", "serves by fallback"): (chat(OFF, {}), "Healthy"),
    ("ModelDeployment", "serves its former revision"): (chat({"current": False}), "Progressing"),
    ("ModelDeployment", "serves its former revision, too long"): (
        chat({"current": False, "overdue": True}),
        "Degraded",
    ),
    ("ModelDeployment", "loads"): (chat(LOADING), "Progressing"),
    ("ModelDeployment", "loads twice"): (chat(LOADING, NOTHING), "Progressing"),
    ("ModelDeployment", "loads twice, too long"): (chat(LOADING | {"overdue": True}, BROKEN), "Degraded"),
    ("ModelDeployment", "failed"): (chat(BROKEN), "Degraded"),
    ("ModelDeployment", "is unreachable"): (chat(OFF), "Degraded"),
    ("ModelDeployment", "has no node"): (chat(NO_NODE), "Degraded"),
    ("ModelDeployment", "is not accepted"): (chat({}, refused=false(Reason.ALIAS_TAKEN, "gpt")), "Degraded"),
    ("ModelDeployment", "is suspended"): (chat({}, suspend=True), "Suspended"),
    ("ModelDeployment", "is suspended and not accepted"): (
        chat({}, refused=false(Reason.ALIAS_TAKEN, "gpt"), suspend=True),
        "Suspended",
    ),
    ("KnowledgeBase", "is full"): (base({}), "Healthy"),
    ("KnowledgeBase", "is empty"): (base({"documents": 0}), "Healthy"),
    ("KnowledgeBase", "indexes"): (base({"queue": {"pending": 2}}), "Healthy"),
    ("KnowledgeBase", "lost passages"): (
        base({"consistency": {"consistent": False, "expectedChunks": 9, "indexedChunks": 8}}),
        "Degraded",
    ),
    ("KnowledgeBase", "waits for its model"): (base(None, false(Reason.EMBEDDING_MODEL_NOT_READY)), "Progressing"),
    ("KnowledgeBase", "names no model"): (base(None, false(Reason.EMBEDDING_MODEL_NOT_FOUND)), "Degraded"),
    ("KnowledgeBase", "reranks"): (base({}, rerank=false(Reason.RERANKING)), "Healthy"),
    ("KnowledgeBase", "waits for its reranker"): (base({}, rerank=true(Reason.RERANK_MODEL_NOT_READY)), "Healthy"),
    ("KnowledgeBase", "names no reranker"): (base({}, rerank=true(Reason.RERANK_MODEL_NOT_FOUND)), "Degraded"),
    ("KnowledgeBase", "has no service"): (base(None, unknown(Reason.UNREACHABLE)), "Degraded"),
    ("KnowledgeBase", "is suspended"): (base({}, suspend=True), "Suspended"),
    ("KnowledgeBase", "is suspended and blocked"): (
        base(None, false(Reason.EMBEDDING_MODEL_NOT_FOUND), suspend=True),
        "Suspended",
    ),
    ("IngestionSource", "synced"): (inbox(run("Succeeded")), "Healthy"),
    ("IngestionSource", "took not everything"): (inbox(run("PartiallyFailed")), "Healthy"),
    ("IngestionSource", "runs first"): (inbox(JobFacts(name="j", started=NOW)), "Progressing"),
    ("IngestionSource", "never ran"): (inbox(), "Progressing"),
    ("IngestionSource", "failed"): (inbox(run("Failed", succeeded=False)), "Degraded"),
    ("IngestionSource", "left no report"): (inbox(run("Failed", report=False)), "Degraded"),
    ("IngestionSource", "waits"): (inbox(blocked=false(Reason.KNOWLEDGE_BASE_NOT_READY)), "Progressing"),
    ("IngestionSource", "lacks its claim"): (inbox(blocked=false(Reason.CLAIM_NOT_FOUND)), "Degraded"),
    ("IngestionSource", "is suspended"): (inbox(run("Succeeded"), suspend=True), "Suspended"),
    ("IngestionSource", "is suspended and blocked"): (
        inbox(blocked=false(Reason.CLAIM_NOT_FOUND), suspend=True),
        "Suspended",
    ),
} | {
    (kind, what): (failed(kind, error), health)
    for kind in KINDS
    for what, error, health in (
        ("cannot be read", InvalidSpecError("InvalidSpec", "spec.x: no"), "Degraded"),
        ("lacks a Secret", NotYetError("SecretNotFound", "Secret x does not exist"), "Degraded"),
        ("met silence", UnreachableError("RayUnreachable", "no answer"), "Degraded"),
        ("met a bug", KeyError("x"), "Degraded"),
    )
}


def _objects() -> Iterator[Any]:
    for (kind, what), (status, health) in STATES.items():
        obj = {"kind": kind, "metadata": {"name": "x", "generation": GENERATION}, "status": status.to_json_object()}
        yield pytest.param(obj, health, id=f"{kind} {what}")


OBJECTS = tuple(_objects())


@pytest.mark.parametrize(("obj", "health"), OBJECTS)
def test_one_shape(obj: dict[str, Any], health: str) -> None:
    status = obj["status"]
    assert status["observedGeneration"] == GENERATION
    conditions = status["conditions"]
    assert conditions[-1]["type"] == "Ready"
    assert len({c["type"] for c in conditions}) == len(conditions)
    for condition in conditions:
        assert set(condition) == {"type", "status", "observedGeneration", "lastTransitionTime", "reason", "message"}
        assert condition["observedGeneration"] == GENERATION
        assert condition["status"] in {"True", "False", "Unknown"}
        assert condition["lastTransitionTime"] == "2026-11-23T06:00:00Z"
        assert Reason.lookup(condition["reason"]) is not None
        assert may_carry(condition["type"], condition["reason"]), (condition["type"], condition["reason"])
    # Positive polarity everywhere but for these two, which say how, not whether.
    bad = [c for c in conditions[:-1] if c["type"] not in {"Degraded", "Progressing"} and c["status"] != "True"]
    ready = conditions[-1]
    if ready["status"] == "True":
        assert not [c for c in bad if c["type"] in {"Accepted", "Available", "Reachable", "Scheduled", "Provisioned"}]
    elif ready["reason"] != "Suspended" and ":" in ready["message"] and bad:
        assert ready["reason"] in {c["reason"] for c in bad}, "Ready repeats a cause"


@pytest.mark.parametrize(("obj", "health"), OBJECTS)
def test_argo_cd_says_the_same_of_real_statuses(obj: dict[str, Any], health: str) -> None:
    assert run_script(HEALTH, obj)["status"] == health
    assert run_script(HEALTH, obj | {"metadata": {"generation": GENERATION + 1}})["status"] == "Progressing"


@pytest.mark.parametrize(("obj", "health"), OBJECTS)
def test_kstatus_is_kept(obj: dict[str, Any], health: str) -> None:
    ready = obj["status"]["conditions"][-1]["status"]
    assert kstatus(obj) == ("Current" if ready == "True" else "InProgress")
    assert kstatus(obj | {"metadata": {"generation": GENERATION + 1}}) == "InProgress"
    assert kstatus(obj | {"metadata": {"generation": GENERATION, "deletionTimestamp": "now"}}) == "Terminating"
    if health == "Healthy":
        assert kstatus(obj) == "Current"


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_resource_is_in_progress_before_anybody_looked(kind: str) -> None:
    crd = next(c for c in build_crds().values() if c["spec"]["names"]["kind"] == kind)
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    new = {"kind": kind, "metadata": {"generation": 1}, "status": schema["properties"]["status"]["default"]}
    assert kstatus(new) == "InProgress"
    assert run_script(HEALTH, new)["status"] == "Progressing"
    assert schema["properties"]["status"]["properties"]["observedGeneration"]["minimum"] == -1


@pytest.mark.parametrize("kind", KINDS)
def test_suspend_is_alike_for_all_kinds(kind: str) -> None:
    suspended = [status for (k, what), (status, _) in STATES.items() if k == kind and "is suspended" in what]
    assert suspended
    for status in suspended:
        ready = find_condition(status.conditions, "Ready")
        assert ready is not None
        assert (ready.status, ready.reason, ready.message) == ("False", "Suspended", "spec.suspend is true")
    spec = KINDS[kind].model_fields["spec"].annotation
    assert spec is not None
    assert spec.model_fields["suspend"].default is False
    assert next(iter(spec.model_fields)) == "suspend", "stands first, where everybody finds it"


@pytest.mark.parametrize("kind", KINDS)
def test_columns_and_names_are_alike(kind: str) -> None:
    info = KINDS[kind].info
    columns = [column.name for column in info.columns]
    assert columns[-4:] == ["Ready", "Reason", "Message", "Age"]
    assert len(columns) == len(set(columns))
    assert sum(column.priority == 0 for column in info.columns) <= 9, "fits into a terminal"
    assert info.short_name == {
        "InferenceNode": "inode", "ModelDeployment": "mdep", "KnowledgeBase": "kb", "IngestionSource": "isrc",
    }[kind]  # fmt: skip
    schema = next(c for c in build_crds().values() if c["spec"]["names"]["kind"] == kind)
    paths = schema["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for column in info.columns:
        if column.path.startswith((".spec.", ".status.")) and "[" not in column.path:
            place = paths
            for part in column.path.strip(".").split("."):
                place = place["properties"][part]


# Events


async def write(kube: StillKube, status: Status) -> bool:
    raw = await kube.get("ModelDeployment", "chat")
    assert raw is not None
    ctx = still_context(kube, clock=lambda: 0.0)
    return await write_status(ctx, raw, before=former_conditions(raw), status=status)


async def test_a_hundred_passes_without_a_change_write_and_post_nothing() -> None:
    kube = StillKube([{"kind": "ModelDeployment", "metadata": {"name": "chat", "generation": GENERATION}}])
    assert await write(kube, chat(LOADING))
    posted, writes = len(kube.posted), len(kube.writes)
    assert posted
    for _ in range(100):
        assert not await write(kube, chat(LOADING))
    assert (len(kube.posted), len(kube.writes)) == (posted, writes)
    await write(kube, chat({}))
    assert {event["reason"] for event in kube.posted[posted:]} >= {"Serving", "Ready"}


async def test_a_message_that_flaps_posts_nothing_and_one_that_only_counts_on_is_not_even_written() -> None:
    kube = StillKube([{"kind": "ModelDeployment", "metadata": {"name": "chat", "generation": GENERATION}}])
    texts = ["RuntimeError: too small", "RuntimeError: too late"]

    def broken(text: str) -> Status:
        return chat(BROKEN | {"app": RayApp("chat.cpu", "DEPLOY_FAILED", text, config={})})

    await write(kube, broken(texts[0]))
    posted = len(kube.posted)
    for number in range(1, 100):
        await write(kube, broken(texts[number % 2]))
    assert len(kube.posted) == posted
    writes = len(kube.writes)
    for number in range(100):
        await write(kube, broken(f"RuntimeError: too late pid={number}, ip=10.0.0.{number}"))
    assert len(kube.writes) <= writes + 1


async def test_an_event_is_bounded_and_a_warning_only_where_somebody_must_look() -> None:
    for (kind, what), (status, _) in STATES.items():
        kube = StillKube([{"kind": kind, "metadata": {"name": "x"}}])
        ctx = still_context(kube, clock=lambda: 0.0)
        await write_status(ctx, {"kind": kind, "metadata": {"name": "x"}}, before=(), status=status)
        for event in kube.posted:
            assert len(event["message"]) <= 1000
            assert re.fullmatch(r"[A-Z][A-Za-z]*", event["reason"])
            if event["type"] == "Warning":
                assert Reason(event["reason"]) not in PASSING, (kind, what, event)


async def test_an_event_that_was_told_before_a_kill_is_told_once_and_a_later_one_again() -> None:
    kube = StillKube([{"kind": "ModelDeployment", "metadata": {"name": "chat", "uid": "u", "generation": GENERATION}}])
    seen = await kube.get("ModelDeployment", "chat")
    assert seen is not None
    ctx = still_context(kube, clock=lambda: 0.0)
    kube.refuses_status = True
    with pytest.raises(UnreachableError):
        await write_status(ctx, seen, before=(), status=chat({}))
    told = [event["metadata"]["name"] for event in kube.posted]
    assert told, "before the status"
    kube.refuses_status = False
    seen["metadata"]["resourceVersion"], seen["metadata"]["generation"] = "2", GENERATION + 1
    await write_status(ctx, seen, before=(), status=chat({}))
    assert [event["metadata"]["name"] for event in kube.posted] == told, "the same ones, whatever else was changed"
    await write(kube, chat(LOADING))
    between = len(kube.posted)
    await write(kube, chat({}))
    assert {event["reason"] for event in kube.posted[between:]} >= {"Serving"}, "news again"


async def test_an_event_that_is_refused_keeps_no_status_from_being_written() -> None:
    kube = StillKube([{"kind": "ModelDeployment", "metadata": {"name": "chat", "generation": GENERATION}}])
    kube.refuses_events = True
    assert await write(kube, chat({}))
    assert kube.posted == []


def test_since_when_stays_while_the_status_does() -> None:
    verdicts = {ConditionType.AVAILABLE: false(Reason.LOADING, "one")}
    first = write_conditions(verdicts, before=(), required=(ConditionType.AVAILABLE,), generation=1, now=NOW)
    verdicts = {ConditionType.AVAILABLE: false(Reason.PROBE_FAILED, "two")}
    later = NOW + timedelta(hours=1)
    second = write_conditions(verdicts, before=first, required=(ConditionType.AVAILABLE,), generation=2, now=later)
    assert [c.last_transition_time for c in first] == [c.last_transition_time for c in second]


# Reasons


def test_every_reason_is_used_and_every_used_one_exists() -> None:
    sources = [*ROOT.glob("operator/src/**/*.py"), ROOT / "crds/src/hearth_api/conditions.py"]
    trees = [ast.parse(path.read_text()) for path in sources]
    used = {
        found.attr
        for tree in trees
        for found in ast.walk(tree)
        if isinstance(found, ast.Attribute) and isinstance(found.value, ast.Name) and found.value.id == "Reason"
    } - {"lookup"}
    literal = {
        n.value for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)
    }
    assert used <= set(Reason.__members__)
    unused = {r.value for r in Reason if r.name not in used and r.value not in literal}
    assert not unused, f"in no code: {unused}"
