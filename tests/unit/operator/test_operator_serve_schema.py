"""Our check of the Serve document against the pinned Ray's schema: as a complete implementation, and strict."""

import copy
import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearth_operator.facts import RayApp
from hearth_operator.plan.revisions import dress
from hearth_operator.plan.serve_document import build_application, plan_put
from hearth_operator.plan.serve_schema import KEYWORDS, check_application, check_document, load_schema
from support.operator_gen import external_node, managed_node, model, variant

COMPLETE = jsonschema.Draft202012Validator(load_schema())


def document(m: Any, node: Any = None, *, surge: bool | None = None) -> dict[str, Any]:
    node = node or managed_node()
    apps = [dress(build_application(m, v, node), owner="ab12", surge=surge) for v in m.spec.variants]
    nothing: dict[str, RayApp] = {}
    plan = plan_put(apps, nothing, held=frozenset(), broken=frozenset(), serve_url="https://h:8000", last_digest=None)
    return plan.document


FULL = document(
    model(
        "chat",
        variant("a", threads=4, gpuLayers=3, context={"maxTokens": 4096, "concurrency": 4}),
        variant("b", engine="Transformers"),
        sampling={"temperature": "0.7", "topP": "0.9", "maxTokens": 100, "systemPrompt": "Be brief."},
    ),
    surge=True,
)


@pytest.mark.parametrize(
    "made",
    [
        FULL,
        document(model("embed", variant(engine="OnnxRuntime"), task="Embed")),
        document(model("mac", variant()), external_node("studio", external={"rayNodeLabels": {"a": "b"}}), surge=False),
    ],
)
def test_our_documents_pass(made) -> None:
    assert check_document(made) == ()
    assert list(COMPLETE.iter_errors(made)) == []
    assert all(check_application(app) == () for app in made["applications"])


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("applications.0.deployments.0.ray_actor_options.label_selectr", {}, "is no field that Ray knows"),
        ("applications.0.deployments.0.max_surge_percent", 101, "is more than 100"),
        ("applications.0.deployments.0.max_ongoing_requests", 0, "is not more than 0"),
        ("applications.0.deployments.0.num_replicas", True, "is not of type"),
        ("applications.0.deployments.0.ray_actor_options.label_selector", {"a": 1}, "is not of type string"),
        ("applications.0.import_path", None, "is not of type string"),
        ("proxy_location", "Everywhere", "is none of Disabled, HeadOnly, EveryNode"),
        ("http_options.sslcert", "x", "is no field that Ray knows"),
        ("http_options.port", "8000", "is not of type integer"),
    ],
)
def test_what_ray_would_misunderstand_is_named(path, value, said) -> None:
    bad = copy.deepcopy(FULL)
    *way, last = path.split(".")
    place = bad
    for step in way:
        place = place[int(step)] if step.isdigit() else place[step]
    place[last] = value
    problems = check_document(bad)
    assert len(problems) == 1
    assert said in problems[0]
    assert path.split(".")[-1] in problems[0]


def test_a_missing_field_is_named() -> None:
    assert check_document({}) == ("document.applications is missing",)
    assert check_application({"name": "a"}) == ("a.import_path is missing",)
    assert check_application(None) == ("? is not of type object",)


def test_the_schema_uses_no_keyword_that_the_checker_does_not_know() -> None:
    def keywords(node: Any, *, names: bool = False) -> set[str]:
        if isinstance(node, list):
            return set().union(*(keywords(n) for n in node))
        if not isinstance(node, dict):
            return set()
        own = set() if names else set(node)
        inner = (keywords(v, names=k in {"properties", "$defs"} and not names) for k, v in node.items() if k != "enum")
        return own.union(*inner)

    assert keywords(load_schema()) <= KEYWORDS


def places(node: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [way, *(p for key, value in items for p in places(value, (*way, key)))]


JUNK = st.sampled_from([None, True, 0, -1, 1.5, "", "x", [], [1], {}, {"a": "b"}, 101, 1e9, json.loads("1.0")])


@given(st.sampled_from(places(FULL)[1:]), JUNK, st.sampled_from(["set", "drop", "add"]))
def test_it_judges_as_a_complete_implementation(way, junk, how) -> None:
    bad = copy.deepcopy(FULL)
    place = bad
    for step in way[:-1]:
        place = place[step]
    if how == "set":
        place[way[-1]] = junk
    elif how == "drop":
        del place[way[-1]]
    elif isinstance(place, dict):
        place["unheard_of"] = junk
    assert (check_document(bad) == ()) == COMPLETE.is_valid(bad)
