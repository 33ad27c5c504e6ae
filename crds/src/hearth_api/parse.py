"""From YAML and JSON to models: strict for what people write, lenient for what the API server returns."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from hearth_api.kinds import KINDS, AnyResource
from hearth_api.names import API_VERSION


class ParseError(ValueError):
    """An object that is no valid resource. `problems` are sentences that begin with the field's path."""

    def __init__(self, problems: tuple[str, ...], *, where: str = "") -> None:
        super().__init__((f"{where}: " if where else "") + "; ".join(problems))
        self.problems = problems
        self.where = where


def parse_object(obj: Mapping[str, Any], *, strict: bool = True, where: str = "") -> AnyResource:
    """Return the model of one object. Raises `ParseError`, which names every field at fault.

    With `strict`, unknown fields are refused, as the API server does with fieldValidation=Strict.
    """
    model = _find_model(obj, where)
    try:
        if strict:
            # As JSON: there a text is no number and "yes" is no boolean, as for the API server.
            return model.model_validate_json(json.dumps(_without_nulls(obj), default=str), strict=True, extra="forbid")
        return model.model_validate(obj, extra="ignore")
    except ValidationError as error:
        raise ParseError(_describe(error), where=where) from error


def parse_observed(obj: Mapping[str, Any]) -> AnyResource:
    """Return the model of an object from the API server; fields of a newer release are ignored.

    A status that a newer release wrote in another shape counts as not observed: this release writes its own.
    """
    try:
        return parse_object(obj, strict=False)
    except ParseError as error:
        if not all(problem.startswith("status") for problem in error.problems):
            raise
        return parse_object({name: value for name, value in obj.items() if name != "status"}, strict=False)


def parse_text(text: str, *, where: str = "") -> tuple[AnyResource, ...]:
    """Return the resources of a YAML text with one or more documents."""
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        raise ParseError((f"not YAML: {error}".replace("\n", " "),), where=where) from error
    return tuple(parse_object(document, where=where) for document in documents)


def parse_file(path: Path) -> tuple[AnyResource, ...]:
    """Return the resources of a YAML file."""
    return parse_text(path.read_text(encoding="utf-8"), where=str(path))


def _without_nulls(node: Any) -> Any:
    """Return a value without fields that are null: the API server drops them too."""
    if isinstance(node, Mapping):
        return {name: _without_nulls(value) for name, value in node.items() if value is not None}
    return [_without_nulls(item) for item in node] if isinstance(node, list) else node


def _find_model(obj: Mapping[str, Any], where: str) -> type[AnyResource]:
    if not isinstance(obj, Mapping):
        raise ParseError(("must be an object with apiVersion and kind",), where=where)
    if obj.get("apiVersion") != API_VERSION:
        raise ParseError((f"apiVersion: must be {API_VERSION}, not {obj.get('apiVersion')!r}",), where=where)
    kind = obj.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ParseError((f"kind: must be one of {', '.join(KINDS)}, not {kind!r}",), where=where)
    return KINDS[kind]


def _describe(error: ValidationError) -> tuple[str, ...]:
    items = error.errors(include_url=False, include_input=False)
    return tuple(
        f"{_join(item)}: {'unknown field' if item['type'] == 'extra_forbidden' else item['msg']}"
        for item in items
        if not _follows_from_another(item, items)
    )


def _join(item: ErrorDetails) -> str:
    """Return the path of the field at fault; a rule names its field relative to the model."""
    path = ""
    for step in (*item["loc"], *([item["ctx"]["field"]] if item["type"] == "rule" else [])):
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
    return path.lstrip(".")


def _follows_from_another(item: ErrorDetails, items: list[ErrorDetails]) -> bool:
    """Whether a list is called too short only because pydantic left out its faulty members."""
    depth = len(item["loc"])
    return item["type"] == "too_short" and any(
        len(other["loc"]) > depth and other["loc"][:depth] == item["loc"] for other in items
    )
