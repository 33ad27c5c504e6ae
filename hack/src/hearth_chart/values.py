"""The chart's values as models. Unknown keys are refused; defaults here equal values.yaml (tested)."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$", examples=["500m", "2Gi"])]
DnsLabel = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]


class Values(BaseModel):
    """Base: camelCase, closed."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


class Image(Values):
    """Where images come from."""

    registry: str = Field(default="hearth.local", min_length=1, description="<registry>/hearth-<name>:<tag>")
    tag: str = Field(default="", description="Empty: the chart's appVersion.")
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    pull_secrets: list[DnsLabel] = []
    tags: dict[Literal["control", "milvus-lite", "serve"], str] = Field(
        default={}, description="Tag by image name where one differs."
    )


class Crds(Values):
    """What happens to the CRDs."""

    enabled: bool = True
    keep: bool = True


class Amounts(Values):
    """CPU and memory."""

    cpu: Quantity | None = None
    memory: Quantity | None = None


class Resources(Values):
    """Requests and limits of one container."""

    requests: Amounts = Amounts()
    limits: Amounts = Amounts()


def _resources(cpu: str, memory: str, limit: str) -> Resources:
    return Resources(requests=Amounts(cpu=cpu, memory=memory), limits=Amounts(memory=limit))


class Operator(Values):
    """The operator."""

    resources: Resources = _resources("50m", "128Mi", "512Mi")


class GatewayService(Values):
    """How the gateway is reached."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    node_port: Annotated[int, Field(ge=1, le=65535)] | None = None


class Gateway(Values):
    """The HTTP edge."""

    service: GatewayService = GatewayService()
    public_url: str = Field(
        default="", alias="publicURL", pattern=r"^(https?://[^ ]+)?$", description="Links in citations start with this."
    )
    resources: Resources = _resources("50m", "128Mi", "512Mi")


class Storage(Values):
    """A claim."""

    size: Quantity = "10Gi"
    storage_class_name: str = Field(default="", description="Empty: the cluster's default class.")


class Milvus(Values):
    """The embedded vector store."""

    resources: Resources = _resources("100m", "384Mi", "2Gi")


class Knowledge(Values):
    """The knowledge service."""

    storage: Storage = Storage()
    resources: Resources = _resources("100m", "256Mi", "1Gi")
    milvus: Milvus = Milvus()


class DataClaim(Storage):
    """The claim that IngestionSources read."""

    create: bool = True
    name: DnsLabel = "hearth-data"


class Data(Values):
    """Where exports are dropped."""

    claim: DataClaim = DataClaim()


class Nodes(Values):
    """Managed InferenceNodes."""

    storage_class_name: str = ""


class ChartValues(Values):
    """Everything."""

    image: Image = Image()
    crds: Crds = Crds()
    operator: Operator = Operator()
    gateway: Gateway = Gateway()
    knowledge: Knowledge = Knowledge()
    data: Data = Data()
    nodes: Nodes = Nodes()
    global_: dict[str, Any] = Field(default={}, alias="global", description="Helm's own; not used.")


def build_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 7, which Helm reads) with the root title first."""
    schema = ChartValues.model_json_schema(by_alias=True)
    return {"$schema": "http://json-schema.org/draft-07/schema#", **_as_draft7(schema)}


def _as_draft7(node: Any) -> Any:
    """Rename what draft 2020-12 calls differently."""
    if isinstance(node, dict):
        return {("definitions" if k == "$defs" else k): _as_draft7(v) for k, v in node.items()}
    if isinstance(node, list):
        return [_as_draft7(v) for v in node]
    if isinstance(node, str):
        return node.replace("#/$defs/", "#/definitions/")
    return node
