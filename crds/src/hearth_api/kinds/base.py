"""What the four kinds share: the base model with its rules, object metadata, printer columns."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from hearth_api.base import LenientModel
from hearth_api.conditions import Condition
from hearth_api.names import API_VERSION, MAX_NAME_LENGTH

NOTHING_OBSERVED = -1
"""observedGeneration of a resource that nobody has looked at: no generation equals it."""
RuleReason = Literal["FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A cross-field rule: CEL for the API server and the same in Python for files read without a cluster.

    `field` is the JSON name, within the model, of the field to be named in a refusal. A rule that compares with the
    previous object (`oldSelf`) has no Python side.
    """

    field: str
    cel: str
    message: str
    holds: Callable[[Any], bool] | None = None
    reason: RuleReason = "FieldValueInvalid"

    def to_validation(self) -> dict[str, str]:
        """Return the member of x-kubernetes-validations."""
        return {"rule": self.cel, "message": self.message, "fieldPath": f".{self.field}", "reason": self.reason}


def immutable(field: str, remedy: str) -> Rule:
    """Return the rule that a field keeps its first value. It is always there: required, or with a default."""
    message = f"{field} cannot be changed: {remedy}"
    return Rule(field=field, cel=f"self.{field} == oldSelf.{field}", message=message, reason="FieldValueForbidden")


def block_of(field: str, *, choice: str, value: str, remedy: str) -> tuple[Rule, Rule]:
    """Return the two rules of a block that stands exactly when the field `choice` has `value`.

    Both names are of one word, so that the attribute and its JSON name are the same.
    """

    def chosen(model: Any) -> bool:
        return bool(getattr(model, choice) == value)

    return (
        Rule(
            field=field,
            cel=f"self.{choice} != '{value}' || has(self.{field})",
            message=f"{field} is required when {choice} is {value}: {remedy}",
            holds=lambda model: not chosen(model) or getattr(model, field) is not None,
            reason="FieldValueRequired",
        ),
        Rule(
            field=field,
            cel=f"self.{choice} == '{value}' || !has(self.{field})",
            message=f"{field} is only for {choice} {value}: remove it",
            holds=lambda model: chosen(model) or getattr(model, field) is None,
            reason="FieldValueForbidden",
        ),
    )


def exactly_one_of(first: str, second: str) -> Rule:
    """Return the rule that one of two optional fields of one word is given, and not both."""
    return Rule(
        field=first,
        cel=f"has(self.{first}) != has(self.{second})",
        message=f"exactly one of {first} and {second} is required",
        holds=lambda model: (getattr(model, first) is None) != (getattr(model, second) is None),
        reason="FieldValueRequired",
    )


def map_by(key: str) -> dict[str, Any]:
    """Return the schema extension of a list whose members are told apart by `key` (its JSON name)."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


AS_SET: dict[str, Any] = {"x-kubernetes-list-type": "set"}


def _duplicates(field: FieldInfo, value: Iterable[Any]) -> list[str]:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    if extra.get("x-kubernetes-list-type") == "set":
        keys = [str(item) for item in value]
    elif extra.get("x-kubernetes-list-type") == "map":
        names = [str(name) for name in extra["x-kubernetes-list-map-keys"]]  # type: ignore[union-attr]
        keys = ["/".join(str(item.to_json_object().get(name)) for name in names) for item in value]
    else:
        return []
    return sorted({key for key in keys if keys.count(key) > 1})


class ApiModel(LenientModel):
    """A part of a resource. `rules` become CEL in the schema and are checked in Python too."""

    # Field docstrings become the descriptions that `kubectl explain` shows.
    model_config = ConfigDict(use_attribute_docstrings=True)

    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        for rule in self.rules:
            if rule.holds is not None and not rule.holds(self):
                raise PydanticCustomError("rule", "{message}", {"message": rule.message, "field": rule.field})
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if isinstance(value, tuple) and (repeated := _duplicates(field, value)):
                message = f"must not name {', '.join(repeated)} twice"
                raise PydanticCustomError("rule", "{message}", {"message": message, "field": field.alias or name})
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Add the rules to the model's JSON schema."""
        schema = handler(core_schema)
        if cls.rules:
            resolved = handler.resolve_ref_schema(schema)
            resolved["x-kubernetes-validations"] = [rule.to_validation() for rule in cls.rules]
        return schema


class OwnerReference(LenientModel):
    """Kubernetes' owner reference."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(LenientModel):
    """Kubernetes' object metadata, as far as Hearth reads it or a file may carry it."""

    name: Annotated[str, Field(max_length=MAX_NAME_LENGTH, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
    namespace: str | None = None
    uid: str | None = None
    generation: int | None = None
    resource_version: str | None = None
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[OwnerReference, ...] = ()
    managed_fields: tuple[dict[str, Any], ...] = ()

    @property
    def deleting(self) -> bool:
        """Whether the object waits for its finalizers."""
        return self.deletion_timestamp is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class PrinterColumn:
    """A column of `kubectl get`. Priority above 0 shows with `-o wide` only."""

    name: str
    path: str
    type: Literal["string", "integer", "boolean", "date"] = "string"
    priority: int = 0
    description: str = ""


def ready_columns() -> tuple[PrinterColumn, ...]:
    """Return the columns that every kind ends with."""
    ready = ".status.conditions[?(@.type=='Ready')]"
    return (
        PrinterColumn(name="Ready", path=f"{ready}.status", description="Whether it does what it is for"),
        PrinterColumn(name="Reason", path=f"{ready}.reason", description="Why it is ready or not"),
        PrinterColumn(name="Message", path=f"{ready}.message", priority=1, description="The same in words"),
        PrinterColumn(name="Age", path=".metadata.creationTimestamp", type="date", description="Since its creation"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceInfo:
    """How Kubernetes names a kind."""

    kind: str
    plural: str
    singular: str
    short_name: str
    description: str
    columns: tuple[PrinterColumn, ...]


class Status(ApiModel):
    """What was observed. Written by the operator only, and only when it changed."""

    observed_generation: Annotated[int, Field(ge=NOTHING_OBSERVED)] | None = None
    """Generation of the spec that this status describes; -1 before it was looked at."""
    conditions: Annotated[tuple[Condition, ...], Field(max_length=16, json_schema_extra=map_by("type"))] = ()
    """Conditions in the order of their checks; Ready sums them up."""


class Resource(ApiModel):
    """One object of a kind."""

    info: ClassVar[ResourceInfo]

    metadata: ObjectMeta

    def to_manifest(self) -> dict[str, Any]:
        """Return the object as its author wrote it: without defaults that he did not set, and without status."""
        body = self.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"status"})
        return {"apiVersion": API_VERSION, "kind": self.info.kind} | body
