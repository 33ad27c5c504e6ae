"""Reading files strictly and observed objects leniently."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hearth_api.kinds import KINDS, InferenceNode, KnowledgeBase
from hearth_api.kinds.node import ManagedNode, ModelVolume
from hearth_api.kinds.source import IngestionSource
from hearth_api.names import API_VERSION, MAX_NAME_LENGTH, ingest_name, node_name, serve_secret_name
from hearth_api.parse import ParseError, parse_file, parse_object, parse_observed, parse_text

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = sorted((ROOT / "crds/examples").rglob("*.yaml"))


def example(path: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "crds/examples" / path).read_text())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.relative_to(ROOT / "crds/examples").as_posix())
def test_example_round_trips(path: Path) -> None:
    for document, resource in zip(yaml.safe_load_all(path.read_text()), parse_file(path), strict=True):
        assert resource.to_manifest() == document, "what was written, in other words"
        assert parse_object(resource.to_json_object()) == resource, "with all defaults written out"
        assert parse_observed(document) == resource


def test_every_kind_has_its_examples() -> None:
    for name in KINDS:
        for size in ("smallest", "typical", "full"):
            [resource] = parse_file(ROOT / f"crds/examples/{name.lower()}/{size}.yaml")
            assert (resource.kind, resource.metadata.name) == (name, size)


def test_examples_share_no_name_within_a_kind() -> None:
    """All of them can be applied beside each other; the house's are a set of their own."""
    for house in (True, False):
        paths = [path for path in EXAMPLES if (path.parent.name == "house") is house]
        names = [(r.kind, r.metadata.name) for path in paths for r in parse_file(path)]
        assert len(names) == len(set(names))


def nested_objects(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        yield path, node
        for name, value in node.items():
            yield from nested_objects(value, f"{path}.{name}".lstrip("."))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from nested_objects(value, f"{path}[{number}]")


MAPS = ("selector", "nodeSelector", "rayNodeLabels", "labels", "annotations")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.relative_to(ROOT / "crds/examples").as_posix())
def test_unknown_fields_are_refused_by_path_in_files_and_ignored_when_observed(path: Path) -> None:
    document = yaml.safe_load(path.read_text())
    places = [place for place, _ in nested_objects(document) if not place.endswith(MAPS)]
    for place in places:
        typo = copy.deepcopy(document)
        dict(nested_objects(typo))[place]["unheardOf"] = 1
        with pytest.raises(ParseError) as error:
            parse_object(typo, where="my.yaml")
        assert error.value.problems == (f"{place}.unheardOf".lstrip(".") + ": unknown field",)
        assert str(error.value).startswith("my.yaml: ")
        assert parse_observed(typo) == parse_observed(document)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        pytest.param({"apiVersion": "v1"}, f"apiVersion: must be {API_VERSION}, not 'v1'", id="another group"),
        pytest.param({"kind": "Pod"}, "kind: must be one of InferenceNode, ", id="another kind"),
        pytest.param({"kind": []}, "kind: must be one of ", id="a kind that is no text"),
        pytest.param({"spec": None}, "spec: ", id="no spec"),
        pytest.param({"metadata": {}}, "metadata.name: Field required", id="no name"),
        pytest.param({"metadata": {"name": "x" * 39}}, "metadata.name: ", id="a long name"),
        pytest.param({"metadata": {"name": "A.b"}}, "metadata.name: ", id="a name that is no label"),
    ],
)
def test_what_is_no_resource_is_refused(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(ParseError) as error:
        parse_object(example("knowledgebase/full.yaml") | change)
    assert error.value.problems[0].startswith(problem)


@pytest.mark.parametrize(
    ("text", "problem"),
    [("a: [", "not YAML"), ("just text", "must be an object"), ("- a", "must be an object")],
)
def test_texts_that_are_no_objects_are_refused(text: str, problem: str) -> None:
    with pytest.raises(ParseError, match=problem):
        parse_text(text, where="my.yaml")


def test_a_file_may_hold_several_and_empty_documents() -> None:
    text = (ROOT / "crds/examples/knowledgebase/full.yaml").read_text()
    assert len(parse_text(f"---\n{text}---\n---\n{text}")) == 2
    assert parse_text("") == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [("suspend", "yes"), ("suspend", 1), ("chunking", {"targetTokens": "160"}), ("embedding", {"model": 5})],
)
def test_files_are_read_without_coercion(field: str, value: Any) -> None:
    """The API server would refuse these too."""
    document = example("knowledgebase/full.yaml")
    document["spec"][field] = value
    with pytest.raises(ParseError, match=rf"spec\.{field}"):
        parse_object(document)


def test_quantities_may_be_numbers_but_not_fractions() -> None:
    document = example("inferencenode/full.yaml")
    document["spec"]["managed"]["resources"]["cpu"] = 2
    node = parse_object(document)
    assert isinstance(node, InferenceNode)
    assert node.spec.managed is not None
    assert node.spec.managed.resources.millicores == 2000
    assert node.spec.managed.resources.memory_bytes == 2560 * 1024**2
    for wrong in (0.5, True, -1, []):
        document["spec"]["managed"]["resources"]["cpu"] = wrong
        with pytest.raises(ParseError, match=r"spec\.managed\.resources\.cpu"):
            parse_object(document)


def test_a_status_in_the_shape_of_another_release_counts_as_not_observed() -> None:
    document = example("modeldeployment/smallest.yaml")
    variant = {"name": "cpu", "engine": "OnnxRuntime", "state": "Dreaming"}
    observed = parse_observed(document | {"status": {"observedGeneration": 3, "variants": [variant]}})
    assert observed == parse_observed(document)
    with pytest.raises(ParseError, match=r"^spec\.task: .*; status\.variants\[0\]\.state: "):
        parse_observed({**document, "spec": document["spec"] | {"task": "Sing"}, "status": {"variants": [variant]}})


def test_null_is_the_same_as_absent() -> None:
    document = example("knowledgebase/full.yaml")
    document["spec"] |= {
        "suspend": None,
        "store": None,
        "chunking": {"targetTokens": None},
        "rerank": None,
        "encryption": None,
        "privacy": None,
    }
    kb = parse_object(document)
    assert isinstance(kb, KnowledgeBase)
    smallest = parse_object(example("knowledgebase/smallest.yaml"))
    assert isinstance(smallest, KnowledgeBase)
    assert kb.spec.model_copy(update={"deletion_policy": smallest.spec.deletion_policy}) == smallest.spec
    document["spec"]["embedding"] = None
    with pytest.raises(ParseError, match=r"spec\.embedding: Field required"):
        parse_object(document)


def test_all_problems_are_named_at_once() -> None:
    document = example("ingestionsource/full.yaml")
    document["spec"] |= {"trust": "Nobody", "schedule": "often", "typo": 1}
    with pytest.raises(ParseError) as error:
        parse_object(document)
    assert {problem.partition(":")[0] for problem in error.value.problems} == {
        "spec.trust", "spec.schedule", "spec.typo",
    }  # fmt: skip


@settings(deadline=None)  # the machine may be busy
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["type", "managed", "path", "name", "x"]), inner, max_size=3)
        ),
        max_leaves=8,
    ),
    st.sampled_from(list(KINDS)),
    st.booleans(),
)
def test_any_spec_is_read_or_refused_in_words(spec: Any, kind: str, strict: bool) -> None:
    obj = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": "x"}, "spec": spec}
    try:
        parse_object(obj, strict=strict)
    except ParseError as error:
        assert all(problem.startswith("spec") for problem in error.problems)  # noqa: PT017


def test_models_are_frozen_and_hold_helpers() -> None:
    source = parse_object(example("own-mail.yaml"))
    assert isinstance(source, IngestionSource)
    assert source.spec.location.path == "my.mbox"
    with pytest.raises(ValueError, match="frozen"):
        source.spec.suspend = True  # type: ignore[misc]
    volume = ModelVolume(claim_name="models")
    assert ManagedNode(volumes=(volume,)).volumes[0].path == "/models/models"
    assert not source.metadata.deleting
    base = KnowledgeBase.model_validate(example("knowledgebase/smallest.yaml"))
    assert (base.status.conditions, base.status.documents) == ((), None)


def test_derived_names_fit_into_kubernetes_limits() -> None:
    longest = "a" * MAX_NAME_LENGTH
    assert len(ingest_name(longest)) <= 52, "a CronJob's name"
    assert len(node_name(longest)) <= 63, "a Service's name"
    assert len(serve_secret_name(longest)) <= 253
