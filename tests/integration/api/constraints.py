"""Enumerates what a generated schema forbids, and makes values just inside and just outside of each bound."""

import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
Path = tuple[str, ...]  # steps: names, "[]" for a list's members, "*" for a map's values

ABSENT = object()


@dataclass(frozen=True)
class Constraint:
    kind: str
    path: Path
    keyword: str
    value: Any
    schema: Json

    @property
    def field(self) -> str:
        return ".".join(step for step in self.path if step not in {"[]", "*"})

    def __str__(self) -> str:
        detail = f" {self.value['message']}" if self.keyword == "rule" else ""
        return f"{self.kind} {'.'.join(self.path)} {self.keyword}{detail}".replace(".[]", "[]")


SIMPLE = (
    "enum", "pattern", "format", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems", "maxProperties",
)  # fmt: skip


def enumerate_constraints(kind: str, schema: Json, path: Path = ()) -> Iterator[Constraint]:
    """Yield one constraint for each keyword that can refuse something, the schema's own type included."""
    typed = "x-kubernetes-int-or-string" if "x-kubernetes-int-or-string" in schema else "type"
    if path:
        yield Constraint(kind, path, "type", schema[typed], schema)
    for keyword in SIMPLE:
        if keyword in schema:
            yield Constraint(kind, path, keyword, schema[keyword], schema)
    for name in schema.get("required", ()):
        yield Constraint(kind, (*path, name), "required", True, schema)
    if schema.get("x-kubernetes-list-type") in {"set", "map"}:
        yield Constraint(kind, path, "unique", schema["x-kubernetes-list-type"], schema)
    for rule in schema.get("x-kubernetes-validations", ()):
        yield Constraint(kind, (*path, rule["fieldPath"].lstrip(".")), "rule", rule, schema)
    if "properties" in schema:
        if path:
            yield Constraint(kind, (*path, "unheardOf"), "unknown", True, schema)
        for name, child in schema["properties"].items():
            yield from enumerate_constraints(kind, child, (*path, name))
    if "items" in schema:
        yield from enumerate_constraints(kind, schema["items"], (*path, "[]"))
    if "additionalProperties" in schema:
        yield from enumerate_constraints(kind, schema["additionalProperties"], (*path, "*"))


def _step(node: Any, step: str) -> Any:
    """Return the key of a step within a node, or None where the node has no such member."""
    if step == "[]":
        return 0 if node else None
    if step == "*":
        return next(iter(node), None)
    return step if isinstance(node, dict) and step in node else None


def get(obj: Json, path: Path) -> Any:
    node: Any = obj
    for step in path:
        key = _step(node, step)
        if key is None:
            return ABSENT
        node = node[key]
    return node


def put(obj: Json, path: Path, value: Any) -> Json:
    """Return a copy with one value set, or removed where it is `ABSENT`. The parent must exist."""
    copied = copy.deepcopy(obj)
    node: Any = copied
    for step in path[:-1]:
        node = node[_step(node, step)]
    key = _step(node, path[-1])
    if value is ABSENT:
        del node[key]
    else:
        node[path[-1] if key is None else key] = value
    return copied


TextMaker = Callable[[int], str]


def make_text(schema: Json, length: int, patterns: dict[str, TextMaker]) -> str:
    """Return a text of a length that matches the schema's pattern."""
    return patterns[schema["pattern"]](length) if "pattern" in schema else "a" * length


def make_items(schema: Json, first: Any, count: int, patterns: dict[str, TextMaker]) -> list[Any]:
    """Return that many different members of a list, made from the first."""
    if schema["items"].get("type") == "object":
        keys = schema.get("x-kubernetes-list-map-keys", [])
        return [first | dict.fromkeys(keys, f"n{number}") for number in range(count)]
    if choices := schema["items"].get("enum"):
        return [choices[number % len(choices)] for number in range(count)]
    return [f"{first}{chr(97 + number // 26)}{chr(97 + number % 26)}" for number in range(count)]


WRONG_TYPE = {"object": "text", "array": "text", "string": 7, "integer": "text", "boolean": "text", True: 1.5}


def make_refused(constraint: Constraint, obj: Json, patterns: dict[str, TextMaker]) -> Json:
    """Return the object with the constraint broken. For rules and patterns there are tables instead."""
    value, schema, path = constraint.value, constraint.schema, constraint.path
    now = get(obj, path)
    match constraint.keyword:
        case "type":
            wrong = WRONG_TYPE[value]
        case "enum" | "format":
            wrong = "Nonsense"
        case "minLength":
            wrong = "a" * (value - 1)
        case "maxLength":
            wrong = make_text(schema, value + 1, patterns)
        case "minimum":
            wrong = value - 1
        case "maximum":
            wrong = value + 1
        case "minItems":
            wrong = now[: value - 1]
        case "maxItems":
            wrong = make_items(schema, now[0], value + 1, patterns)
        case "maxProperties":
            wrong = {f"k{number}": next(iter(now.values())) for number in range(value + 1)}
        case "required":
            wrong = ABSENT
        case "unique":
            wrong = [now[0], now[0]]
        case "unknown":
            wrong = "x"
        case other:
            raise AssertionError(f"no way to break {other}")
    return put(obj, path, wrong)


def make_accepted(constraint: Constraint, obj: Json, patterns: dict[str, TextMaker]) -> list[Json]:
    """Return the objects at the constraint's bound: the last values that are still good."""
    value, schema, path = constraint.value, constraint.schema, constraint.path
    match constraint.keyword:
        case "enum":
            return [put(obj, path, member) for member in value]
        case "minLength":
            return [put(obj, path, "a" * value)]
        case "maxLength":
            return [put(obj, path, make_text(schema, value, patterns))]
        case "minimum" | "maximum":
            return [put(obj, path, value)]
        case "minItems" | "maxItems":
            return [put(obj, path, make_items(schema, get(obj, path)[0], value, patterns))]
        case "maxProperties":
            member = next(iter(get(obj, path).values()))
            return [put(obj, path, {f"k{number}": member for number in range(value)})]
        case _:
            return [obj]


def names_field(message: str, field: str) -> bool:
    """Whether a refusal names a field, list positions and map keys left aside."""
    plain = re.sub(r"\[[0-9]+\]", "", message)
    return field in plain
