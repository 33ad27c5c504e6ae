"""From pydantic's JSON schema to a Kubernetes structural schema. Pure.

Kubernetes takes a narrow dialect and drops or refuses the rest, so every keyword here is either kept, translated or
refused with its path (`SchemaError`): a constraint that a model states can never be lost on the way.

- `$ref` is inlined; `T | None` becomes an optional `T`; a Literal becomes an enum.
- `exclusiveMinimum`/`exclusiveMaximum` of integers become `minimum`/`maximum`.
- Texts, lists and maps must be bounded, else CEL over them is refused by its estimated cost.
- Lists say their type: `map` and `set` from the model, `atomic` otherwise.
- Quantities (marked in the model) become `x-kubernetes-int-or-string`.
- A default says only what the defaults within it do not give already; empty lists are no defaults.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]

_KEPT = frozenset({
    "type", "description", "enum", "pattern", "format", "minLength", "maxLength", "minimum", "maximum",
    "minItems", "maxItems", "minProperties", "maxProperties", "required", "default",
    "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-validations", "x-kubernetes-int-or-string",
})  # fmt: skip
_TRANSLATED = frozenset({
    "$ref", "$defs", "allOf", "anyOf", "const", "exclusiveMinimum", "exclusiveMaximum", "properties", "items",
    "additionalProperties",
})  # fmt: skip
_DROPPED = frozenset({"title", "propertyNames"})
"""`propertyNames` has no counterpart: names of labels are checked where they are used."""


class SchemaError(ValueError):
    """A model states something that Kubernetes' schemas cannot say."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path or '(root)'}: {problem}")
        self.path = path
        self.problem = problem


def build_schema(model: type[BaseModel], *, defaults: bool = True) -> Schema:
    """Return the structural schema of a model. Without `defaults` for status, which nobody defaults."""
    raw = model.model_json_schema(by_alias=True, mode="validation")
    return _convert(raw, raw.get("$defs", {}), "", defaults=defaults)


def _convert(raw: Mapping[str, Any], defs: Mapping[str, Any], path: str, *, defaults: bool) -> Schema:
    node = _flatten(raw, defs, path)
    if unknown := sorted(set(node) - _KEPT - _TRANSLATED - _DROPPED):
        raise SchemaError(path, f"Kubernetes has no {', '.join(unknown)}")
    schema = {key: value for key, value in node.items() if key in _KEPT}
    if "description" in schema:
        schema["description"] = " ".join(schema["description"].split())
    if "const" in node:
        schema["enum"] = [node["const"]]
    _translate_bounds(schema, node, path)
    _check_type(schema, path)
    match schema.get("type"):
        case "object":
            _convert_object(schema, node, defs, path, defaults=defaults)
        case "array":
            _convert_array(schema, node, defs, path, defaults=defaults)
    if "default" in schema:
        _simplify_default(schema, keep=defaults)
    return dict(sorted(schema.items(), key=_reading_order))


def _flatten(raw: Mapping[str, Any], defs: Mapping[str, Any], path: str) -> Schema:
    """Resolve references, single allOf and nullable anyOf; what stands beside them wins."""
    node = dict(raw)
    while True:
        if "$ref" in node:
            target = defs[node.pop("$ref").removeprefix("#/$defs/")]
        elif "allOf" in node and len(node["allOf"]) == 1:
            target = node.pop("allOf")[0]
        elif "anyOf" in node:
            choices = [choice for choice in node.pop("anyOf") if choice != {"type": "null"}]
            if len(choices) != 1:
                raise SchemaError(path, "a union gives poor messages: use a type field and one block per type")
            target = choices[0]
        else:
            return node
        node = {**target, **node}


def _translate_bounds(schema: Schema, node: Mapping[str, Any], path: str) -> None:
    for keyword, into, step in (("exclusiveMinimum", "minimum", 1), ("exclusiveMaximum", "maximum", -1)):
        if keyword in node:
            if schema.get("type") != "integer":
                raise SchemaError(path, f"{keyword} is only for integers")
            schema[into] = node[keyword] + step


def _check_type(schema: Schema, path: str) -> None:
    if schema.get("x-kubernetes-int-or-string"):
        del schema["type"]  # the marker stands for the type
        return
    match schema.get("type"):
        case "object" | "array" | "boolean" | "integer":
            return
        case "string":
            if not {"maxLength", "enum"} & set(schema) and schema.get("format") != "date-time":
                raise SchemaError(path, "a text needs max_length")
        case other:
            raise SchemaError(path, f"type {other or 'missing'} is not allowed in the API")


def _convert_object(
    schema: Schema, node: Mapping[str, Any], defs: Mapping[str, Any], path: str, *, defaults: bool
) -> None:
    if "properties" in node:
        schema["properties"] = {
            name: _convert(child, defs, f"{path}.{name}", defaults=defaults)
            for name, child in node["properties"].items()
        }
        return
    values = node.get("additionalProperties")
    if not isinstance(values, Mapping) or not values:
        raise SchemaError(path, "a map needs a type for its values")
    if "maxProperties" not in schema:
        raise SchemaError(path, "a map needs max_length")
    schema["additionalProperties"] = _convert(values, defs, f"{path}.*", defaults=defaults)


def _convert_array(
    schema: Schema, node: Mapping[str, Any], defs: Mapping[str, Any], path: str, *, defaults: bool
) -> None:
    if "maxItems" not in schema:
        raise SchemaError(path, "a list needs max_length")
    items = _convert(node["items"], defs, f"{path}[]", defaults=defaults)
    schema.setdefault("x-kubernetes-list-type", "atomic")
    for key in schema.get("x-kubernetes-list-map-keys", ()):
        if key not in items.get("required", ()):
            raise SchemaError(path, f"the list's key {key} must be required or have a default")
    schema["items"] = items


def _simplify_default(schema: Schema, *, keep: bool) -> None:
    default = schema.pop("default")
    if keep and default is not None and default != []:
        schema["default"] = _strip_given(default, schema)


def _strip_given(default: Any, schema: Mapping[str, Any]) -> Any:
    """Return a default without what the defaults of the fields within it give anyway.

    The API server judges CEL rules on a default before it fills it, so beside rules everything stays.
    """
    if not isinstance(default, Mapping):
        return default
    whole = "x-kubernetes-validations" in schema
    properties = schema.get("properties", {})
    return {
        name: value
        for name, value in default.items()
        if value is not None
        and value != []
        and (whole or "default" not in properties.get(name, {}) or not _given(value, properties[name]))
    }


def _given(value: Any, schema: Mapping[str, Any]) -> bool:
    return bool(_strip_given(value, schema) == schema["default"])


_ORDER = ("description", "type", "required", "properties", "items", "additionalProperties")


def _reading_order(item: tuple[str, Any]) -> tuple[int, str]:
    key = item[0]
    if key in _ORDER[:2]:
        return _ORDER.index(key), ""
    return (2, key) if key not in _ORDER else (3 + _ORDER.index(key), "")
