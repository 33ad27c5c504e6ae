"""What the pinned Ray knows of a Serve document, as a check before every PUT.

Ray takes a document with fields that it does not know and ignores them. `serve_schema.json` is its own schema with
unknown fields refused (`./hack/generate` writes it). The checker knows the keywords in that file, no others: a test
compares it with a complete implementation.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list, tuple),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}
KEYWORDS = frozenset(
    {
        *("$comment", "$defs", "$ref", "type", "enum", "anyOf", "properties", "required", "additionalProperties"),
        *("items", "minimum", "maximum", "exclusiveMinimum"),
    }
)


@cache
def load_schema() -> dict[str, Any]:
    """Return the schema of the whole document."""
    loaded: dict[str, Any] = json.loads(Path(__file__).with_name("serve_schema.json").read_text())
    return loaded


def check_document(document: Any) -> tuple[str, ...]:
    """Return what is wrong with a document, one sentence each; empty: Ray takes it as it is meant."""
    return tuple(_check(document, load_schema(), "document"))


def check_application(application: Any) -> tuple[str, ...]:
    """Return what is wrong with one application."""
    name = application.get("name", "?") if isinstance(application, Mapping) else "?"
    return tuple(_check(application, {"$ref": "#/$defs/ServeApplicationSchema"}, str(name)))


def _check(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    if reference := schema.get("$ref"):
        yield from _check(value, load_schema()["$defs"][reference.rpartition("/")[2]], path)
    if choices := schema.get("anyOf"):
        found = [tuple(_check(value, choice, path)) for choice in choices]
        if all(found):
            yield min(found, key=len)[0]
            return
    kind = schema.get("type")
    if kind is not None and not _is(value, kind):
        yield f"{path} is not of type {kind}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path} is none of {', '.join(map(str, schema['enum']))}"
    if isinstance(value, dict):
        yield from _check_object(value, schema, path)
    elif isinstance(value, list | tuple) and "items" in schema:
        for index, item in enumerate(value):
            yield from _check(item, schema["items"], f"{path}[{index}]")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _check_number(value, schema, path)


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[kind])


def _check_object(value: dict[str, Any], schema: Mapping[str, Any], path: str) -> Iterator[str]:
    known = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{path}.{name} is missing"
    for name, item in value.items():
        if name in known:
            yield from _check(item, known[name], f"{path}.{name}")
        elif others is False:
            yield f"{path}.{name} is no field that Ray knows"
        elif isinstance(others, dict):
            yield from _check(item, others, f"{path}.{name}")


def _check_number(value: float, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    if "minimum" in schema and value < schema["minimum"]:
        yield f"{path} is less than {schema['minimum']}"
    if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
        yield f"{path} is not more than {schema['exclusiveMinimum']}"
    if "maximum" in schema and value > schema["maximum"]:
        yield f"{path} is more than {schema['maximum']}"
