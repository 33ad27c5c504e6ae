"""Facts to conditions."""

from datetime import UTC, datetime

import pytest

from hearth_api.conditions import find_condition
from hearth_api.kinds.memory import MemorySource
from hearth_api.reasons import Reason
from hearth_api.wire.ingest import RunReport
from hearth_api.wire.knowledge import KbStatus
from hearth_api.wire.serve import ServeInfo
from hearth_operator.facts import EndpointFacts, PodFacts, RayApp, RayNode, Reach, ServingFacts
from hearth_operator.plan.capacity import place
from hearth_operator.status.conditions import false, transitions
from hearth_operator.status.knowledge import knowledge_status
from hearth_operator.status.memory import PlannedMemory
from hearth_operator.status.messages import read_failure
from hearth_operator.status.model import VariantFacts, model_status
from hearth_operator.status.node import judge_version, node_ready, node_status
from hearth_operator.status.source import job_facts, source_status
from support.operator_gen import knowledge_base, managed_node, model, source, variant

NOW = datetime(2026, 10, 5, 9, 0, tzinfo=UTC)
LATER = datetime(2026, 10, 5, 10, 0, tzinfo=UTC)
PIN = {"hearth-node": "home"}
RAYLET = RayNode(node_id="n", alive=True, labels=PIN, cpus=2, memory=1)
UP = EndpointFacts(reach=Reach.REACHABLE, version="2.60.0", raylets=(RAYLET,))
OFF = EndpointFacts(reach=Reach.OFFLINE, message="cannot connect")


def said(status, type_):
    c = find_condition(status.conditions, type_)
    return (c.status.value, c.reason)


# Nodes


def node_of(facts, *, pod=None, node=None):
    return node_status(
        node or managed_node(),
        facts=facts,
        pod=pod or PodFacts(),
        pin=PIN,
        urls=("http://r", "https://s"),
        memory=1024**3,
        millicores=2000,
        planned=0,
        models=["b.cpu", "a.cpu"],
        now=NOW,
    )


SEEN = managed_node(status={"rayVersion": "2.60.0"})


@pytest.mark.parametrize(
    ("facts", "pod", "node", "reachable", "ready"),
    [
        (UP, PodFacts(), None, ("True", "Reachable"), ("True", "Ready")),
        (OFF, PodFacts(), None, ("Unknown", "NodeStarting"), ("Unknown", "NodeStarting")),
        (OFF, PodFacts(), SEEN, ("Unknown", "NodeOffline"), ("Unknown", "NodeOffline")),
        (OFF, PodFacts(failure="ErrImagePull: no"), SEEN, ("False", "PodFailed"), ("False", "PodFailed")),
        (
            EndpointFacts(reach=Reach.REFUSED, message="403"),
            PodFacts(),
            SEEN,
            ("False", "AuthenticationFailed"),
            ("False", "AuthenticationFailed"),
        ),
        (
            EndpointFacts(reach=Reach.NO_SECRET, message="Secret x does not exist"),
            PodFacts(),
            SEEN,
            ("False", "SecretNotFound"),
            ("False", "SecretNotFound"),
        ),
        (
            EndpointFacts(reach=Reach.REACHABLE, version="2.60.0"),
            PodFacts(),
            SEEN,
            ("False", "RayNodeNotFound"),
            ("False", "RayNodeNotFound"),
        ),
        (UP, PodFacts(), managed_node(suspend=True), ("True", "Reachable"), ("False", "Suspended")),
    ],
)
def test_a_node_is_what_was_seen_of_it(facts, pod, node, reachable, ready) -> None:
    status = node_of(facts, pod=pod, node=node)
    assert said(status, "Reachable") == reachable
    assert said(status, "Ready") == ready
    assert status.models == ("a.cpu", "b.cpu")


@pytest.mark.parametrize(
    ("version", "status", "reason"),
    [
        ("2.60.0", "True", Reason.VERSION_SUPPORTED),
        ("2.61.1", "True", Reason.VERSION_DIFFERS),
        ("2.54.0", "True", Reason.VERSION_DIFFERS),
        ("2.53.9", "False", Reason.VERSION_UNSUPPORTED),
        ("3.0.0", "False", Reason.VERSION_UNSUPPORTED),
        ("1.13.0", "False", Reason.VERSION_UNSUPPORTED),
        ("", "Unknown", Reason.NOT_OBSERVED),
        ("nightly", "Unknown", Reason.NOT_OBSERVED),
    ],
)
def test_which_ray_is_supported(version, status, reason) -> None:
    verdict = judge_version(version)
    assert (verdict.status.value, verdict.reason) == (status, reason)


def test_a_dead_raylet_or_another_label_makes_no_ready_node() -> None:
    dead = EndpointFacts(reach=Reach.REACHABLE, version="2.60.0", raylets=(RayNode("n", False, PIN, 1, 1),))
    assert node_ready(UP, managed_node(), PIN)
    assert not node_ready(dead, managed_node(), PIN)
    assert not node_ready(UP, managed_node(), {"hearth-node": "other"})


def test_since_when_moves_only_with_the_status() -> None:
    first = node_of(UP)
    again = node_status(
        managed_node(status=first.to_json_object()),
        facts=UP,
        pod=PodFacts(),
        pin=PIN,
        urls=("http://r", "https://s"),
        memory=1024**3,
        millicores=2000,
        planned=0,
        models=["a.cpu", "b.cpu"],
        now=LATER,
    )
    assert again.to_json_object() == first.to_json_object()
    assert transitions(first.conditions, again.conditions) == ()


# Models


def info(**changes):
    body = {
        "build": "b",
        "engine": "LlamaCpp",
        "engine_version": "1",
        "model_id": "chat",
        "model_digest": "d" * 64,
        "context_tokens": 2048,
        "slots_total": 2,
        "slots_busy": 0,
        "tokens_produced": 5,
        "memory": {"now": 1, "peak": 100 * 1024**2},
        "node": "home",
        "pid": 1,
    }
    return ServeInfo.model_validate({**body, **changes})


def app(status="RUNNING", message="", replicas=("r1",)):
    return RayApp(name="chat.cpu", status=status, message=message, replicas=replicas, config={})


SILENT = ServingFacts(info=info(), error="no answer")


def facts(**changes):
    base = {
        "variant": model().spec.variants[0],
        "node": "home",
        "reach": Reach.REACHABLE,
        "url": "https://x/chat/cpu",
        "fits": True,
        "memory": PlannedMemory(estimate=1024**3, source=MemorySource.DECLARED, words="declared", reserved=1024**3),
        "app": app(),
        "current": True,
        "serving": ServingFacts(info=info(), alive=True),
    }
    return VariantFacts(**{**base, **changes})


@pytest.mark.parametrize(
    ("changes", "state", "reason", "available", "ready"),
    [
        pytest.param({}, "Available", "Serving", "True", "True", id="a replica answered a probe"),
        pytest.param(
            {"serving": ServingFacts(error="500")},
            "Failed",
            "ProbeFailed",
            "False",
            "False",
            id="Ray calls it healthy and it computes nothing",
        ),
        pytest.param({"app": None}, "Pending", "RollingOut", "False", "False", id="Ray was not told yet"),
        pytest.param(
            {"app": app("DEPLOYING", replicas=()), "serving": ServingFacts()},
            "Loading",
            "Loading",
            "False",
            "False",
            id="it loads",
        ),
        pytest.param(
            {"app": app("DEPLOYING", replicas=()), "overdue": True},
            "Failed",
            "DeadlineExceeded",
            "False",
            "False",
            id="it loads for too long",
        ),
        pytest.param(
            {"app": app("DEPLOY_FAILED", "hearth_serve.errors.WeightsMissingError: no file", ())},
            "Failed",
            "WeightsMissing",
            "False",
            "False",
            id="its file is missing",
        ),
        pytest.param(
            {"app": app("DEPLOY_FAILED", "boom"), "current": False},
            "Available",
            "Serving",
            "True",
            "True",
            id="a bad new revision, the old one serves",
        ),
        pytest.param(
            {"reach": Reach.OFFLINE, "reach_message": "cannot connect", "app": None, "serving": SILENT},
            "Unreachable",
            "NodeOffline",
            "Unknown",
            "Unknown",
            id="its machine is off: nothing is known",
        ),
        pytest.param(
            {"reach": Reach.OFFLINE, "reach_message": "cannot connect", "app": None, "serving": ServingFacts()},
            "Unreachable",
            "NodeOffline",
            "Unknown",
            "Unknown",
            id="its machine is off, and it was never asked",
        ),
        pytest.param(
            {"reach": Reach.GARBLED, "reach_message": "not JSON", "app": None, "serving": SILENT},
            "Unreachable",
            "UnexpectedAnswer",
            "Unknown",
            "Unknown",
            id="something else answers for Ray, and nothing for the variant",
        ),
        pytest.param(
            {"reach": Reach.REFUSED, "reach_message": "401", "app": None, "serving": SILENT},
            "Unreachable",
            "AuthenticationFailed",
            "Unknown",
            "Unknown",
            id="Ray refuses the token, and nothing answers for the variant",
        ),
        *(
            pytest.param(
                {"reach": reach, "reach_message": "no answer", "app": None, "current": False},
                "Available",
                "RayUnreachable",
                "True",
                "True",
                id=f"it computes, though Ray is {reach.value}",
            )
            for reach in (Reach.OFFLINE, Reach.GARBLED, Reach.REFUSED)
        ),
        pytest.param(
            {"reach": Reach.NOT_OBSERVED, "app": None, "serving": ServingFacts()},
            "Pending",
            "NotObserved",
            "Unknown",
            "Unknown",
            id="Ray was not asked yet",
        ),
        pytest.param(
            {"app": app(replicas=()), "serving": ServingFacts()},
            "Loading",
            "Loading",
            "False",
            "False",
            id="Ray answers and has no replica",
        ),
        pytest.param({"node_suspended": True}, "Suspended", "Suspended", "False", "False", id="its node is suspended"),
        pytest.param(
            {"node": None, "fits": False, "app": None, "fit_reason": Reason.NODE_NOT_FOUND, "fit_message": "no node"},
            "Pending",
            "NodeNotFound",
            "False",
            "False",
            id="there is no such node",
        ),
        pytest.param(
            {"fits": False, "app": None, "fit_reason": Reason.INSUFFICIENT_MEMORY, "fit_message": "2Gi of 1Gi"},
            "Pending",
            "InsufficientMemory",
            "False",
            "False",
            id="it does not fit",
        ),
        pytest.param(
            {"invalid": "no claim", "app": None}, "Failed", "InvalidSpec", "False", "False", id="it cannot be"
        ),
        pytest.param({"node_supported": False}, "Pending", "NodeNotReady", "False", "False", id="an older Ray"),
    ],
)
def test_a_variant_is_what_was_seen_of_it(changes, state, reason, available, ready) -> None:
    status = model_status(model(), facts=[facts(**changes)], refused=None, now=NOW)
    assert (status.variants[0].state.value, status.variants[0].reason) == (state, reason)
    assert said(status, "Available")[0] == available
    assert said(status, "Ready")[0] == ready


def test_the_catalog_is_what_the_gateway_reads(golden) -> None:
    status = model_status(model(), facts=[facts()], refused=None, now=NOW)
    golden("catalog", status.to_json_object())


def test_ready_names_the_cause() -> None:
    off = model_status(
        model(),
        facts=[facts(fits=False, app=None, fit_reason=Reason.INSUFFICIENT_MEMORY, fit_message="2Gi of 1Gi")],
        refused=None,
        now=NOW,
    )
    ready = find_condition(off.conditions, "Ready")
    assert (ready.reason, ready.message) == ("InsufficientMemory", "Fits: 2Gi of 1Gi")


def test_a_fallback_serves_and_says_why() -> None:
    two = model("chat", variant("gpu", node="gpu"), variant("cpu"))
    first, second = two.spec.variants
    status = model_status(
        two,
        facts=[
            facts(
                variant=first, node="gpu", reach=Reach.OFFLINE, reach_message="cannot connect", app=None, serving=SILENT
            ),
            facts(variant=second),
        ],
        refused=None,
        now=NOW,
    )
    assert said(status, "Ready") == ("True", "Ready")
    assert said(status, "Degraded") == ("True", "FallbackServing")
    assert status.serving == "cpu"


def test_a_variant_that_serves_unwatched_says_so_and_is_not_on_its_way() -> None:
    unwatched = facts(reach=Reach.OFFLINE, reach_message="no answer", app=None, current=False)
    status = model_status(model(), facts=[unwatched], refused=None, now=NOW)
    assert said(status, "Available") == ("True", "Serving")
    assert "Ray on home does not answer (no answer)" in find_condition(status.conditions, "Available").message
    assert said(status, "Degraded") == ("True", "RayUnreachable")
    assert said(status, "Progressing") == ("True", "RolledOut")


def test_who_came_back_waits_in_the_open() -> None:
    two = model("chat", variant("gpu", node="gpu"), variant("cpu"))
    first, second = two.spec.variants
    words = "answers since 09:00:00Z; cpu serves until it has done so for 30 s on end"
    back = facts(variant=first, node="gpu", recovering=words)
    status = model_status(two, facts=[back, facts(variant=second)], refused=None, now=NOW)
    assert [v.state.value for v in status.variants] == ["Loading", "Available"]
    assert status.serving == "cpu"
    assert said(status, "Degraded") == ("True", "FallbackServing")
    assert words in find_condition(status.conditions, "Degraded").message
    assert said(status, "Progressing") == ("True", "RolledOut"), "it is loaded: only its turn has not come"


def test_an_old_revision_is_degraded() -> None:
    status = model_status(
        model(), facts=[facts(app=app("DEPLOY_FAILED", "ValueError: bad"), current=False)], refused=None, now=NOW
    )
    assert said(status, "Degraded") == ("True", "OldRevisionServing")
    assert said(status, "Progressing") == ("True", "RollingOut")


def test_what_is_not_accepted_has_no_address() -> None:
    status = model_status(model(), facts=[facts()], refused=false(Reason.ALIAS_TAKEN, "gpt"), now=NOW)
    assert said(status, "Accepted") == ("False", "AliasTaken")
    assert said(status, "Ready") == ("False", "AliasTaken")
    assert status.variants[0].url is None


def test_dimensions_stay_known_while_the_machine_sleeps() -> None:
    before = {"dimensions": 384, "modelDigest": "d", "variants": []}
    status = model_status(
        model(status=before),
        facts=[facts(reach=Reach.OFFLINE, serving=ServingFacts(), app=None)],
        refused=None,
        now=NOW,
    )
    assert (status.dimensions, status.model_digest) == (384, "d")


def test_a_peak_that_creeps_up_is_no_news() -> None:
    one, two = (
        model_status(
            model(),
            facts=[facts(serving=ServingFacts(info=info(memory={"now": 1, "peak": p}), alive=True))],
            refused=None,
            now=NOW,
        )
        for p in (100_000_001, 100_400_000)
    )
    assert one == two


def test_a_placement_feeds_fits() -> None:
    placed = place([model()], {"home": managed_node()}, ready=set())["chat.cpu"]
    status = model_status(model(), facts=[facts(fits=placed.fits, fit_message=placed.message)], refused=None, now=NOW)
    assert (
        find_condition(status.conditions, "Fits").message
        == "chat.cpu: 1Gi of 1792Mi on home (declared in resources.memory)"
    )


# Ray's messages

TRACEBACK = """Failed to update the deployments ['Model'].
The deployment failed to start 3 times in a row. Error:
\x1b[36mray::cpu:Model.initialize_and_get_metadata()\x1b[39m (pid=865, ip=192.0.2.2, actor_id=3d6e94, repr=<x at 0x7f3e79>)
  File "/opt/venv/lib/python3.11/concurrent/futures/_base.py", line 456, in result
    return self.__get_result()
           ^^^^^^^^^^^^^^^^^^^
RuntimeError: Traceback (most recent call last):
  File "/opt/venv/hearth_serve/app.py", line 32, in __init__
    raise StartError(error.message) from error
hearth_serve.errors.WeightsMissingError: Model file /models/x.gguf does not exist on this node."""


@pytest.mark.parametrize(
    ("text", "reason", "line"),
    [
        (TRACEBACK, Reason.WEIGHTS_MISSING, "Model file /models/x.gguf does not exist on this node."),
        ("a\nhearth_serve.errors.DigestMismatchError: wrong", Reason.DIGEST_MISMATCH, "wrong"),
        (f"a\nhearth_serve.errors.DigestMismatchError: {'a1' * 32}", Reason.DIGEST_MISMATCH, "a1" * 32),
        ("Traceback:\nValueError: bad\n", Reason.DEPLOY_FAILED, "ValueError: bad"),
        ("\x1b[31mJust this\x1b[0m", Reason.DEPLOY_FAILED, "Just this"),
        ("", Reason.DEPLOY_FAILED, ""),
    ],
)
def test_a_message_of_ray_becomes_one_line(text, reason, line) -> None:
    failure = read_failure(text)
    assert (failure.reason, failure.message) == (reason, line)


def test_the_same_failure_reads_the_same_each_time() -> None:
    other = TRACEBACK.replace("865", "999").replace("0x7f3e79", "0x7f0000").replace("3d6e94", "ffffff")
    assert read_failure(TRACEBACK) == read_failure(other)


# Knowledge


def kb_facts(**changes):
    body = {
        "collection": "kb_work",
        "documents": 3,
        "chunks": 9,
        "embedding": {"model": "embed", "digest": "d", "dimensions": 384},
        "queue": {"pending": 0},
        "consistency": {"consistent": True, "expectedChunks": 9, "indexedChunks": 9},
    }
    return KbStatus.model_validate({**body, **changes})


@pytest.mark.parametrize(
    ("changes", "populated", "ready"),
    [
        ({}, ("True", "Populated"), "True"),
        ({"documents": 0}, ("False", "Empty"), "True"),
        ({"queue": {"pending": 2}}, ("False", "Indexing"), "True"),
        ({"queue": {"failed": 1, "last_error": "x"}}, ("False", "IndexingFailed"), "True"),
        (
            {"consistency": {"consistent": False, "expectedChunks": 9, "indexedChunks": 8}},
            ("True", "Populated"),
            "False",
        ),
    ],
)
def test_a_knowledge_base_is_what_the_service_says(changes, populated, ready) -> None:
    status = knowledge_status(knowledge_base(), observed=kb_facts(**changes), blocked=None, now=NOW)
    assert said(status, "Populated") == populated
    assert said(status, "Ready")[0] == ready


def test_counts_stay_known_while_the_service_does_not_answer() -> None:
    before = knowledge_status(knowledge_base(), observed=kb_facts(), blocked=None, now=NOW)
    status = knowledge_status(
        knowledge_base(status=before.to_json_object()),
        observed=None,
        blocked=false(Reason.EMBEDDING_MODEL_NOT_READY, "waits for ModelDeployment embed"),
        now=LATER,
    )
    assert status.documents == 3
    assert said(status, "Ready") == ("False", "EmbeddingModelNotReady")


# Sources


def report(outcome="Succeeded", *, failed=0, finished="2026-10-05T08:00:09Z"):
    return {
        "started": "2026-10-05T08:00:00Z",
        "finished": finished,
        "outcome": outcome,
        "counts": {"added": 3, "failed": failed},
        "bytes": 7,
        "firstError": "bad mail" if failed else None,
    }


def job(name="j1", *, end="Complete", finished="2026-10-05T08:00:10Z"):
    conditions = [{"type": end, "status": "True", "lastTransitionTime": finished, "message": "why"}] if end else []
    return {
        "metadata": {"name": name, "creationTimestamp": "2026-10-05T08:00:00Z"},
        "status": {"conditions": conditions, "startTime": "2026-10-05T08:00:00Z"},
    }


def pod(message):
    return {"status": {"containerStatuses": [{"state": {"terminated": {"message": message}}}]}}


def run_of(j, *messages):
    return job_facts(j, [pod(m) for m in messages])


def text(**kwargs):
    return RunReport.model_validate(
        {k: v for k, v in report(**kwargs).items() if v is not None}
    ).to_termination_message()


@pytest.mark.parametrize(
    ("jobs", "synced", "outcome"),
    [
        pytest.param([], ("Unknown", "NeverRan"), None, id="no run yet"),
        pytest.param([run_of(job(end=None))], ("Unknown", "Running"), None, id="the first run goes on"),
        pytest.param([run_of(job(), text())], ("True", "Synced"), "Succeeded", id="all taken"),
        pytest.param(
            [run_of(job(), text(outcome="PartiallyFailed", failed=1))],
            ("True", "PartiallyFailed"),
            "PartiallyFailed",
            id="not every item",
        ),
        pytest.param(
            [run_of(job(end="Failed"), text(outcome="Failed"))], ("False", "RunFailed"), "Failed", id="failed"
        ),
        pytest.param([run_of(job(), "no json")], ("False", "ReportMissing"), "Failed", id="no report"),
        pytest.param([run_of(job(end="Failed"))], ("False", "RunFailed"), "Failed", id="its pods were killed"),
        pytest.param([run_of(job(), "", text())], ("True", "Synced"), "Succeeded", id="a killed pod and its successor"),
        pytest.param(
            [run_of(job(), text()), run_of(job("j2", end=None))],
            ("True", "Synced"),
            "Succeeded",
            id="a later run goes on",
        ),
    ],
)
def test_a_source_is_what_its_last_run_said(jobs, synced, outcome) -> None:
    status = source_status(source(), jobs=jobs, blocked=None, last_run_now="first", now=NOW)
    assert said(status, "Synced") == synced
    assert (status.last_run.outcome.value if status.last_run else None) == outcome


def test_a_run_stays_known_when_its_job_and_pods_are_gone() -> None:
    before = source_status(source(), jobs=[run_of(job(), text())], blocked=None, last_run_now="first", now=NOW)
    kept = source(status=before.to_json_object())
    for left in ([], [run_of(job())]):
        after = source_status(kept, jobs=left, blocked=None, last_run_now="first", now=LATER)
        assert after.last_run == before.last_run


def test_a_suspended_source_is_not_ready_and_says_so() -> None:
    status = source_status(source(suspend=True), jobs=[], blocked=None, last_run_now=None, now=NOW)
    assert said(status, "Ready") == ("False", "Suspended")
