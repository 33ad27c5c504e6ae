"""The pass from pydantic to structural schemas: no bound is lost, nothing that Kubernetes refuses comes out."""

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from hearth_api.crd import build_crd, build_crds, build_object_schema
from hearth_api.kinds import KINDS
from hearth_api.kinds.base import ApiModel
from hearth_api.schema import SchemaError, build_schema

SCHEMAS = {name: build_object_schema(kind) for name, kind in KINDS.items()}
ALLOWED = {
    "type", "description", "enum", "pattern", "format", "minLength", "maxLength", "minimum", "maximum", "minItems",
    "maxItems", "maxProperties", "required", "default", "properties", "items", "additionalProperties",
    "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-validations", "x-kubernetes-int-or-string",
}  # fmt: skip


def walk(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from walk(child, f"{path}.{name}")
    for key, step in (("items", "[]"), ("additionalProperties", ".*")):
        if key in schema:
            yield from walk(schema[key], path + step)


NODES = [(f"{kind}{path}", node) for kind, schema in SCHEMAS.items() for path, node in walk(schema)]


@pytest.mark.parametrize(("path", "node"), NODES, ids=[path for path, _ in NODES])
def test_every_node_is_structural_and_bounded(path: str, node: dict[str, Any]) -> None:
    assert set(node) <= ALLOWED
    assert ("type" in node) != bool(node.get("x-kubernetes-int-or-string"))
    assert not ("properties" in node and "additionalProperties" in node)
    top = path.split(".")[1:]
    if top and top[0] in {"spec", "status"} and path.count(".") > 1 and not path.endswith(("[]", ".*")):
        assert node.get("description"), "kubectl explain has nothing to say"
    match node.get("type"):
        case "string" if top[0] in {"spec", "status"}:
            assert {"maxLength", "enum"} & set(node) or node.get("format") == "date-time"
        case "array":
            assert node["maxItems"] > 0
            assert node["x-kubernetes-list-type"] in {"atomic", "set", "map"}
            for key in node.get("x-kubernetes-list-map-keys", ()):
                assert key in node["items"]["required"]
        case "object" if "additionalProperties" in node:
            assert node["maxProperties"] > 0
    for name in node.get("required", ()):
        assert "default" not in node["properties"][name]
    for rule in node.get("x-kubernetes-validations", ()):
        named, steps = node, rule["fieldPath"].lstrip(".").split(".")
        for step in steps:
            named = named["properties"][step]
        assert steps[-1] in rule["message"] or "name" in rule["message"]


def models_of(model: type[BaseModel], seen: set[type[BaseModel]] | None = None) -> set[type[BaseModel]]:
    found = set() if seen is None else seen
    if model in found:
        return found
    found.add(model)
    for field in model.model_fields.values():
        for inner in _models_in(field.annotation):
            models_of(inner, found)
    return found


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _models_in(argument)


def _bounds(metadata: Any) -> dict[str, Any]:
    """Bounds that an annotation states, under their names in a schema for texts and numbers."""
    names = {"max_length": "maxLength", "min_length": "minLength", "ge": "minimum", "le": "maximum"}
    found = {}
    for item in metadata:
        for attribute, keyword in names.items():
            if getattr(item, attribute, None) is not None:
                found[keyword] = getattr(item, attribute)
        if getattr(item, "pattern", None):
            found["pattern"] = item.pattern
        if isinstance(item, FieldInfo):
            found |= _bounds(item.metadata)
    return found


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_pydantic_loses_no_bound_on_its_way_into_the_schema(kind: type[ApiModel]) -> None:
    """It does where a validator precedes the bound, which is how the pattern of quantities was lost once."""
    for block in ("spec", "status"):
        for model in models_of(kind.model_fields[block].annotation):  # type: ignore[arg-type]
            schema = build_schema(model)["properties"]
            for name, field in model.model_fields.items():
                child = schema[field.alias or name]
                wanted = _bounds(field.metadata)
                if get_origin(field.annotation) in {Union, UnionType}:  # T | None keeps T's bounds inside
                    for argument in get_args(field.annotation):
                        wanted |= _bounds(getattr(argument, "__metadata__", ()))
                for keyword, value in wanted.items():
                    written = [child.get(keyword), child.get("items", {}).get(keyword)]
                    plural = {"maxLength": ("maxItems", "maxProperties"), "minLength": ("minItems",)}.get(keyword, ())
                    assert value in [*written, *(child.get(other) for other in plural)], f"{model}.{name} {keyword}"


def test_rules_are_kept() -> None:
    for kind in KINDS.values():
        for block in ("spec", "status"):
            for model in models_of(kind.model_fields[block].annotation):  # type: ignore[arg-type]
                if rules := getattr(model, "rules", ()):
                    validations = build_schema(model)["x-kubernetes-validations"]
                    assert [v["rule"] for v in validations] == [rule.cel for rule in rules]


class Colour(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    name: Annotated[str, Field(max_length=5)] = "red"
    """Its
    name."""


class Inner(BaseModel):
    plain: Colour = Colour()
    mine: Colour = Colour(name="blue")


@pytest.mark.parametrize(
    ("annotation", "default", "expected"),
    [
        pytest.param(Literal["One"], ..., {"type": "string", "enum": ["One"]}, id="a Literal is an enum"),
        pytest.param(
            Annotated[int, Field(gt=0, lt=5)], ..., {"type": "integer", "minimum": 1, "maximum": 4},
            id="exclusive bounds of integers are inclusive ones",
        ),
        pytest.param(
            Annotated[str, Field(max_length=9)] | None, None, {"type": "string", "maxLength": 9},
            id="an optional field is not nullable and has no default",
        ),
        pytest.param(
            Annotated[tuple[Literal["a", "b"], ...], Field(max_length=2)], (),
            {
                "type": "array", "maxItems": 2, "x-kubernetes-list-type": "atomic",
                "items": {"type": "string", "enum": ["a", "b"]},
            },
            id="a list is atomic unless it says otherwise, and an empty one is no default",
        ),
        pytest.param(
            Annotated[dict[str, Annotated[str, Field(max_length=3)]], Field(max_length=4)], ...,
            {"type": "object", "maxProperties": 4, "additionalProperties": {"type": "string", "maxLength": 3}},
            id="a map",
        ),
        pytest.param(
            Inner, Inner(),
            {
                "type": "object", "default": {},
                "properties": {
                    "plain": {
                        "type": "object", "default": {}, "properties": {
                            "name": {"description": "Its name.", "type": "string", "maxLength": 5, "default": "red"}
                        },
                    },
                    "mine": {
                        "type": "object", "default": {"name": "blue"}, "properties": {
                            "name": {"description": "Its name.", "type": "string", "maxLength": 5, "default": "red"}
                        },
                    },
                },
            },
            id="references are inlined and defaults say only what inner defaults do not",
        ),
    ],
)  # fmt: skip
def test_translation(annotation: Any, default: Any, expected: dict[str, Any]) -> None:
    model = type("M", (BaseModel,), {"__annotations__": {"x": annotation}} | ({} if default is ... else {"x": default}))
    assert build_schema(model)["properties"]["x"] == expected


@pytest.mark.parametrize(
    ("annotation", "problem"),
    [
        pytest.param(str, "max_length", id="an unbounded text"),
        pytest.param(tuple[int, ...], "max_length", id="an unbounded list"),
        pytest.param(dict[str, int], "max_length", id="an unbounded map"),
        pytest.param(float, "number", id="a float"),
        pytest.param(Any, "missing", id="no type"),
        pytest.param(int | Colour, "union", id="a union"),
        pytest.param(Annotated[int, Field(multiple_of=3)], "multipleOf", id="a keyword that Kubernetes drops"),
        pytest.param(
            Annotated[
                tuple[Colour, ...], Field(max_length=2, json_schema_extra={"x-kubernetes-list-map-keys": ["name"]})
            ],
            "must be required",
            id="a list's key with a default",
        ),
    ],
)
def test_what_kubernetes_cannot_say_is_refused_with_its_path(annotation: Any, problem: str) -> None:
    model = type("M", (BaseModel,), {"__annotations__": {"x": annotation}})
    with pytest.raises(SchemaError, match=problem) as error:
        build_schema(model)
    assert error.value.path == ".x"


def test_status_has_no_default_but_that_nothing_was_observed() -> None:
    for schema in SCHEMAS.values():
        status = schema["properties"]["status"]
        assert status["default"] == {"observedGeneration": -1}
        rest = {key: value for key, value in status.items() if key != "default"}
        assert all("default" not in node for _, node in walk(rest))


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_crd_reads_well_in_kubectl(kind: type[Any]) -> None:
    crd = build_crd(kind)["spec"]
    assert crd["names"]["categories"] == ["hearth", "all"]
    [version] = crd["versions"]
    assert version["subresources"] == {"status": {}}
    columns = version["additionalPrinterColumns"]
    shown = [column["name"] for column in columns if "priority" not in column]
    assert shown[-3:] == ["Ready", "Reason", "Age"]
    known = {path.removeprefix(kind.info.kind) for path, _ in NODES if path.startswith(kind.info.kind)}
    for column in columns:
        path = column["jsonPath"].partition("[")[0]
        assert path in known or path.startswith(".metadata"), f"no field at {column['jsonPath']}"


def test_building_twice_gives_the_same() -> None:
    assert build_crds() == build_crds()
