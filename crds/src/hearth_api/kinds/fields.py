"""Types of single fields. Every text, list and map has a bound: the API server refuses CEL over unbounded ones."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from hearth_api.kinds.base import ApiModel, Rule
from hearth_api.quantities import QUANTITY_PATTERN, to_bytes, to_millicores


def _integer_to_text(value: Any) -> Any:
    """Kubernetes takes `cpu: 2` as well as `cpu: "2"`."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Quantity = Annotated[
    str,
    Field(
        pattern=QUANTITY_PATTERN, max_length=32, json_schema_extra={"x-kubernetes-int-or-string": True, "minimum": 0}
    ),
    BeforeValidator(_integer_to_text),  # last: pydantic loses the pattern from the schema otherwise
]
"""A Kubernetes quantity: `2`, `250m`, `512Mi`."""

DnsLabel = Annotated[str, Field(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
ObjectName = Annotated[
    str,
    Field(max_length=253, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"),
]
ShortText = Annotated[str, Field(max_length=256)]
LongText = Annotated[str, Field(max_length=4096)]
Url = Annotated[str, Field(max_length=512, pattern=r"^https?://[A-Za-z0-9.\[\]:_-]+(/[A-Za-z0-9._~/-]*)?$")]
LabelKey = Annotated[str, Field(max_length=317)]
LabelValue = Annotated[str, Field(max_length=63)]
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=32)]
Sha256 = Annotated[str, Field(max_length=64, pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
RelativePath = Annotated[str, Field(min_length=1, max_length=1024)]
Glob = Annotated[str, Field(min_length=1, max_length=256)]
HostName = Annotated[str, Field(max_length=253, pattern=r"^[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?$")]
Port = Annotated[int, Field(ge=1, le=65535)]
FindingType = Annotated[str, Field(max_length=32, pattern=r"^[a-z][a-z-]*$")]
_OCTET = "([0-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5])"
Ipv4Address = Annotated[str, Field(max_length=15, pattern=rf"^({_OCTET}\.){{3}}{_OCTET}$")]
_PAIR = "[0-9A-Fa-f]{2}"
MacAddress = Annotated[str, Field(max_length=17, pattern=f"^({_PAIR}(:{_PAIR}){{5}}|{_PAIR}(-{_PAIR}){{5}})$")]
AbsolutePath = Annotated[str, Field(max_length=512, pattern=r"^/[^:]*$")]


def no_parent_steps(field: str, *, optional: bool = False) -> Rule:
    """Return the rule that a path has no `..` step."""

    def holds(model: Any) -> bool:
        return ".." not in (getattr(model, field) or "").split("/")

    given = f"!has(self.{field}) || " if optional else ""
    return Rule(
        field=field,
        cel=rf"{given}!self.{field}.matches('(^|/)[.][.](/|$)')",
        message=f"{field} must not contain '..': name the folder itself",
        holds=holds,
    )


class SecretRef(ApiModel):
    """A Secret of the same namespace."""

    name: ObjectName
    """Name of the Secret."""


class SecretKeyRef(ApiModel):
    """One entry of a Secret of the same namespace."""

    name: ObjectName
    """Name of the Secret."""
    key: Annotated[str, Field(min_length=1, max_length=253)]
    """Entry of the Secret."""


class ObjectRef(ApiModel):
    """Another resource of the same namespace."""

    name: DnsLabel
    """Name of the resource."""


class Resources(ApiModel):
    """Processor and memory, as quantities."""

    cpu: Quantity | None = None
    """Cores, as `2` or `500m`."""
    memory: Quantity | None = None
    """Bytes, as `3Gi`."""

    @property
    def millicores(self) -> int | None:
        """Thousandths of a core."""
        return None if self.cpu is None else to_millicores(self.cpu)

    @property
    def memory_bytes(self) -> int | None:
        """Bytes of memory."""
        return None if self.memory is None else to_bytes(self.memory)
