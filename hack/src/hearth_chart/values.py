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

    milvus_image: str = Field(
        default="", description="Milvus of knowledge bases with a managed store; empty: the official one."
    )
    resources: Resources = _resources("50m", "128Mi", "512Mi")


class GatewayService(Values):
    """How the gateway is reached."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    node_port: Annotated[int, Field(ge=1, le=65535)] | None = None


class Tls(Values):
    """The certificate of a host name."""

    secret_name: str = Field(default="", description="Secret with tls.crt and tls.key; empty: no TLS here.")


class Ingress(Values):
    """An Ingress to the gateway."""

    enabled: bool = False
    class_name: str = Field(default="", description="Empty: the cluster's default class.")
    host: str = Field(default="", description="Name under which the gateway is reached.")
    annotations: dict[str, str] = {}
    tls: Tls = Tls()


class ParentRef(Values):
    """A Gateway (of the Gateway API) that takes the route."""

    name: DnsLabel
    namespace: DnsLabel | None = None
    section_name: str | None = Field(default=None, description="Its listener, as https: TLS ends there.")


class HttpRoute(Values):
    """An HTTPRoute to the gateway."""

    enabled: bool = False
    hostnames: list[str] = []
    parent_refs: list[ParentRef] = []
    annotations: dict[str, str] = {}


class Gateway(Values):
    """The HTTP edge."""

    service: GatewayService = GatewayService()
    public_url: str = Field(
        default="", alias="publicURL", pattern=r"^(https?://[^ ]+)?$", description="Links in citations start with this."
    )
    ingress: Ingress = Ingress()
    http_route: HttpRoute = HttpRoute()
    resources: Resources = _resources("50m", "128Mi", "512Mi")


class Storage(Values):
    """A claim."""

    size: Quantity = "10Gi"
    storage_class_name: str = Field(default="", description="Empty: the cluster's default class.")


class Milvus(Values):
    """The embedded vector store."""

    resources: Resources = _resources("100m", "384Mi", "2Gi")


class BackupClaim(Storage):
    """The claim that backups are written to: best on another disk."""

    create: bool = True
    name: DnsLabel = "hearth-backup"


class Backup(Values):
    """Backups of the knowledge service: online and encrypted."""

    enabled: bool = False
    schedule: str = Field(
        default="02:30",
        pattern=r"^([0-2][0-9]:[0-5][0-9]|[0-9]+h)$",
        description="Time of day in UTC, or an interval as 6h.",
    )
    keep: Annotated[int, Field(ge=1, le=1000)] = 7
    claim: BackupClaim = BackupClaim()
    restore: str = Field(
        default="", description="With an empty data volume: `latest` or a backup's name; a filled volume is left alone."
    )


class Knowledge(Values):
    """The knowledge service."""

    storage: Storage = Storage()
    rerank_seconds: Annotated[float, Field(gt=0, le=15)] = Field(
        default=2, description="How long a search waits for a reranker before it answers without."
    )
    backup: Backup = Backup()
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


Cidr = Annotated[str, Field(pattern=r"^[0-9a-fA-F.:]+/[0-9]{1,3}$", examples=["10.10.12.5/32"])]
Port = Annotated[int, Field(ge=1, le=65535)]


class Egress(Values):
    """The CONNECT proxy through which live accounts (IMAP, CalDAV) are reached, and nothing else."""

    enabled: bool = True
    denied_networks: list[Cidr] = Field(
        default=[], description="What no source may reach, whatever it names: the cluster's pods and Services."
    )
    resources: Resources = _resources("20m", "64Mi", "256Mi")


class MirrorService(Values):
    """How machines outside the cluster reach the mirror."""

    type: Literal["NodePort", "LoadBalancer"] = "NodePort"
    node_port: Annotated[int, Field(ge=1, le=65535)] = 30843
    external_traffic_policy: Literal["Local", "Cluster"] = "Local"


class MirrorStorage(Storage):
    """The claim that keeps weights; its size is their quota."""

    size: str = Field(default="200Gi", pattern=r"^[1-9][0-9]{0,6}(M|G|T|Mi|Gi|Ti)$")


Endpoint = Annotated[str, Field(pattern=r"^(https?://[^ ]+)?$")]


class Mirror(Values):
    """Brings weights for machines outside the cluster, each file once."""

    enabled: bool = False
    address: str = Field(
        default="",
        pattern=r"^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)?$",
        description="Name or IPv4 address of the cluster by which those machines reach it.",
    )
    service: MirrorService = MirrorService()
    storage: MirrorStorage = MirrorStorage()
    credentials_secret: str = Field(default="", description="Secret with HF_TOKEN or AWS_* for gated sources.")
    hub_endpoint: Endpoint = ""
    s3_endpoint: Endpoint = Field(default="", alias="s3Endpoint")
    resources: Resources = _resources("50m", "128Mi", "1Gi")


class Peers(Values):
    """Addresses and ports."""

    cidrs: list[Cidr] = []
    ports: list[Port] = []


def _peers(cidrs: list[str], ports: list[int]) -> Peers:
    return Peers(cidrs=cidrs, ports=ports)


class NodePeers(Values):
    """Machines outside the cluster: the gateway reaches Serve, the operator Serve and Ray."""

    cidrs: list[Cidr] = []
    serve_ports: list[Port] = [8000]
    ray_ports: list[Port] = [8265]


class NetworkPolicies(Values):
    """Deny everything in the namespace, then allow the flows of Hearth one by one."""

    enabled: bool = True
    api_server: Peers = Field(
        default=_peers([], [443, 6443]),
        description="Where the API server is; empty: looked up, private addresses where there is no cluster to ask.",
    )
    dns: Peers = Field(
        default=_peers([], [53]), description="Name servers outside kube-system (a node-local cache, the host)."
    )
    external_nodes: NodePeers = Field(default=NodePeers(), description="InferenceNodes of type External.")
    external_stores: Peers = Field(default=_peers([], [19530]), description="External Milvus servers.")
    gateway_from: list[Cidr] = Field(
        default=[], description="Who may call the gateway, as seen by the pod; empty: everybody (it authenticates)."
    )
    monitoring_namespace: str = Field(
        default="", description="Namespace that may scrape metrics; empty: the one called monitoring."
    )


class Monitor(Values):
    """A ServiceMonitor for each part (needs the Prometheus operator's CRDs)."""

    enabled: bool = False
    interval: str = Field(default="30s", pattern=r"^[0-9]+(s|m)$")
    labels: dict[str, str] = Field(default={}, description="As your Prometheus selects them.")


class Rules(Values):
    """A PrometheusRule with alerts (needs the Prometheus operator's CRDs)."""

    enabled: bool = False
    labels: dict[str, str] = {}


class Dashboard(Values):
    """A ConfigMap with the Grafana dashboard, as Grafana's sidecar finds it."""

    enabled: bool = False
    labels: dict[str, str] = {"grafana_dashboard": "1"}


class Monitoring(Values):
    """What a monitoring stack is told."""

    service_monitor: Monitor = Monitor()
    rules: Rules = Rules()
    dashboard: Dashboard = Dashboard()


class ChartValues(Values):
    """Everything."""

    image: Image = Image()
    crds: Crds = Crds()
    operator: Operator = Operator()
    gateway: Gateway = Gateway()
    knowledge: Knowledge = Knowledge()
    data: Data = Data()
    nodes: Nodes = Nodes()
    egress: Egress = Egress()
    mirror: Mirror = Mirror()
    network_policies: NetworkPolicies = NetworkPolicies()
    monitoring: Monitoring = Monitoring()
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
