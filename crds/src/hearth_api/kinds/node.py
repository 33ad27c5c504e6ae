"""InferenceNode: a machine, or a labelled part of a Ray cluster, that serves models."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from hearth_api.kinds.base import (
    AS_SET,
    ApiModel,
    PrinterColumn,
    Resource,
    ResourceInfo,
    Rule,
    Status,
    block_of,
    immutable,
    map_by,
    ready_columns,
)
from hearth_api.kinds.fields import (
    AbsolutePath,
    Count,
    Ipv4Address,
    Labels,
    MacAddress,
    ObjectName,
    ObjectRef,
    Quantity,
    Resources,
    SecretRef,
    ShortText,
    Url,
)
from hearth_api.names import API_VERSION


class NodeType(StrEnum):
    """Who runs Ray."""

    MANAGED = "Managed"
    EXTERNAL = "External"


class AcceleratorType(StrEnum):
    """What computes."""

    CPU = "CPU"
    CUDA = "CUDA"
    METAL = "Metal"


class Toleration(ApiModel):
    """Kubernetes' toleration."""

    key: Annotated[str, Field(max_length=317)] | None = None
    """Taint key; absent matches every key."""
    operator: Literal["Exists", "Equal"] | None = None
    """Equal (Kubernetes' default) compares the value; Exists does not."""
    value: Annotated[str, Field(max_length=63)] | None = None
    """Taint value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Taint effect; absent matches every effect."""
    toleration_seconds: Annotated[int, Field(ge=0)] | None = None
    """How long a NoExecute taint is tolerated."""


class NodeResources(Resources):
    """What the node's pod gets."""

    cpu: Quantity = "500m"
    """Cores that the pod requests and that models may reserve in Ray. Idle cores may be used beyond it."""
    memory: Quantity = "3Gi"
    """Memory of the pod, request and limit: Ray itself takes about 1.3Gi of it."""


class NodeStorage(ApiModel):
    """The claim that keeps Ray's state, so that a restarted head serves again by itself, and weights from outside."""

    size: Quantity = "1Gi"
    """Size of the claim: weights from outside may have all of it but 256Mi."""
    storage_class_name: ObjectName | None = None
    """Storage class; absent takes the cluster's default."""


class ModelVolume(ApiModel):
    """A PersistentVolumeClaim with models, mounted read-only. Models name it as `pvc://<claimName>/<path>`."""

    claim_name: ObjectName
    """Claim in the same namespace."""
    mount_path: AbsolutePath | None = None
    """Where it is mounted; /models/<claimName> when absent."""

    @property
    def path(self) -> str:
        """Mount path in the pod."""
        return self.mount_path or f"/models/{self.claim_name}"


class ManagedNode(ApiModel):
    """Ray in a pod that the operator runs."""

    image: Annotated[str, Field(max_length=512, pattern=r"^\S+$")] | None = None
    """Image with hearth_serve; absent takes the release's serve image."""
    node_selector: Labels = Field(default_factory=dict)
    """Labels of the Kubernetes node."""
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=16)] = ()
    """Taints that the pod bears."""
    gpus: Annotated[int, Field(ge=0, le=64)] = 0
    """Whole NVIDIA GPUs."""
    resources: NodeResources = NodeResources()
    """Processor and memory of the pod."""
    storage: NodeStorage = NodeStorage()
    """Claim for Ray's state and for weights from outside."""
    volumes: Annotated[tuple[ModelVolume, ...], Field(max_length=16, json_schema_extra=map_by("claimName"))] = ()
    """Claims with models, mounted read-only."""


def _serve_url_is_safe(external: "ExternalNode") -> bool:
    return external.serve_url.startswith(("https://", "http://127.0.0.1:", "http://localhost:"))


class ExternalNode(ApiModel):
    """Ray that somebody else runs: a Mac under launchd, a CUDA box under systemd, a KubeRay cluster."""

    rules = (
        Rule(
            field="serveURL",
            cel="self.serveURL.startsWith('https://') || self.serveURL.startsWith('http://127.0.0.1:') "
            "|| self.serveURL.startsWith('http://localhost:')",
            message="serveURL must begin with https://: the Serve token and every prompt travel over it",
            holds=_serve_url_is_safe,
        ),
    )

    dashboard_url: Url = Field(alias="dashboardURL")
    """Ray's dashboard (port 8265), where applications are PUT."""
    serve_url: Url = Field(alias="serveURL")
    """Ray Serve's HTTP port (8000), where models answer."""
    ray_secret_ref: SecretRef
    """Secret with Ray's own token under `token`. Whoever has it can run code on the machine."""
    serve_secret_ref: SecretRef
    """Secret with the Serve port's `token` and `ca.crt`."""
    ray_node_labels: Labels = Field(default_factory=dict)
    """Labels of the Ray nodes that count as this machine; empty takes all."""
    ray_nodes: Annotated[int, Field(ge=1, le=64)] = 1
    """How many Ray nodes carry these labels, each with accelerator.memory and reserve of its own. Replicas spread
    over them."""


class Accelerator(ApiModel):
    """What computes, and the memory that models may use there."""

    type: AcceleratorType = AcceleratorType.CPU
    """CPU, CUDA or Metal."""
    memory: Quantity | None = None
    """Memory for models. Absent on a managed CPU node: the pod's memory less what Ray needs."""


class Reserve(ApiModel):
    """What is kept for the machine's owner."""

    memory: Quantity = "0"
    """Memory that models never take."""


class Weekday(StrEnum):
    """A day of the week."""

    MONDAY = "Mon"
    TUESDAY = "Tue"
    WEDNESDAY = "Wed"
    THURSDAY = "Thu"
    FRIDAY = "Fri"
    SATURDAY = "Sat"
    SUNDAY = "Sun"


class OwnerHours(ApiModel):
    """A part of the day that belongs to the owner."""

    rules = (
        Rule(
            field="end",
            cel="self.begin != self.end",
            message="end must not be the same as begin: for the whole day say 00:00 to 24:00",
            holds=lambda hours: hours.begin != hours.end,
        ),
    )

    days: Annotated[tuple[Weekday, ...], Field(max_length=7, json_schema_extra=AS_SET)] = ()
    """Days on which it begins; empty: every day."""
    begin: Annotated[str, Field(max_length=5, pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
    """Like 18:00."""
    end: Annotated[str, Field(max_length=5, pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$")]
    """Like 23:30; earlier than begin: on the next day."""


class Availability(ApiModel):
    """When the node leaves its machine to the owner. Each rule that is given is one reason to go; a machine that
    cannot tell what a rule asks for is never left for it. Needs a machine that joined (hack/node).
    """

    owner_active_seconds: Annotated[int, Field(ge=10, le=86_400)] | None = None
    """Go when somebody used keyboard or mouse within this time."""
    others_gpu_memory: Quantity | None = None
    """Go when processes that are not Hearth's hold more than this of a card: a game, a render."""
    free_memory: Quantity | None = None
    """Go when less main memory than this could be had without swapping."""
    on_battery: bool = False
    """Go when the machine runs on its battery."""
    hours: Annotated[tuple[OwnerHours, ...], Field(max_length=16)] = ()
    """Go at these times."""
    time_zone: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9+_/-]*$")] = "Etc/UTC"
    """Of the hours, as Europe/Berlin."""
    drain_seconds: Annotated[int, Field(ge=0, le=600)] = 30
    """How long answers that have begun may take to their end before the models go. None are begun meanwhile."""
    return_seconds: Annotated[int, Field(ge=10, le=86_400)] = 300
    """How long every reason must be gone before the models come back."""


class WakePolicy(StrEnum):
    """When a sleeping machine is woken."""

    ON_DEMAND = "OnDemand"
    NEVER = "Never"


class WakeOnLan(ApiModel):
    """How the machine is woken: another one in its network sends the magic packet, for a pod's broadcast does not
    leave the cluster.
    """

    mac_address: MacAddress
    """Of the network card that listens while the machine sleeps, as aa:bb:cc:dd:ee:ff."""
    sender_ref: ObjectRef
    """InferenceNode whose machine sends the packet: it joined (hack/node), is in the same network, and is awake."""
    policy: WakePolicy = WakePolicy.ON_DEMAND
    """OnDemand: when a model has a variant here and for a minute none that serves, unless the machine is its owner's at
    this time. Never: only when somebody asks by annotation."""
    broadcast_address: Ipv4Address = "255.255.255.255"
    """Where the packet goes. Where the sender is in several networks, the one's broadcast, as 10.10.12.255."""


def _accelerator_memory_given(spec: "InferenceNodeSpec") -> bool:
    managed_cpu = spec.type is NodeType.MANAGED and spec.accelerator.type is AcceleratorType.CPU
    return managed_cpu or spec.accelerator.memory is not None


class InferenceNodeSpec(ApiModel):
    """A machine that serves models."""

    rules = (
        immutable("type", "delete the InferenceNode and make it anew"),
        *block_of("managed", choice="type", value="Managed", remedy="add 'managed: {}'"),
        *block_of("external", choice="type", value="External", remedy="say where the machine is"),
        Rule(
            field="accelerator",
            cel="self.type != 'Managed' || self.accelerator.type != 'Metal'",
            message="accelerator.type Metal needs type External: Metal does not exist inside containers",
            holds=lambda spec: spec.type is not NodeType.MANAGED or spec.accelerator.type is not AcceleratorType.METAL,
        ),
        Rule(
            field="managed",
            cel="!has(self.managed) || self.accelerator.type != 'CUDA' || self.managed.gpus > 0",
            message="managed.gpus must be at least 1 when accelerator.type is CUDA",
            holds=lambda spec: (
                spec.managed is None or spec.accelerator.type is not AcceleratorType.CUDA or spec.managed.gpus > 0
            ),
        ),
        Rule(
            field="accelerator",
            cel="(self.type == 'Managed' && self.accelerator.type == 'CPU') || has(self.accelerator.memory)",
            message="accelerator.memory is required unless the node is Managed and its accelerator is CPU",
            holds=_accelerator_memory_given,
            reason="FieldValueRequired",
        ),
        Rule(
            field="availability",
            cel="self.type == 'External' || !has(self.availability)",
            message="availability is only for type External: a pod is bounded by its resources, remove it",
            holds=lambda spec: spec.type is NodeType.EXTERNAL or spec.availability is None,
            reason="FieldValueForbidden",
        ),
        Rule(
            field="wake",
            cel="self.type == 'External' || !has(self.wake)",
            message="wake is only for type External: a pod does not sleep, remove it",
            holds=lambda spec: spec.type is NodeType.EXTERNAL or spec.wake is None,
            reason="FieldValueForbidden",
        ),
    )

    suspend: bool = False
    """Take the node's models away and stop a managed pod."""
    type: NodeType
    """Managed: the operator runs Ray in a pod. External: Ray runs already."""
    managed: ManagedNode | None = None
    """Settings of a managed node."""
    external: ExternalNode | None = None
    """Where an external node is."""
    accelerator: Accelerator = Accelerator()
    """What computes."""
    reserve: Reserve = Reserve()
    """What is kept for the owner."""
    availability: Availability | None = None
    """When the machine is left to its owner; absent: never."""
    wake: WakeOnLan | None = None
    """How the machine is woken when it sleeps; absent: it is not."""


class NodeCapacity(ApiModel):
    """Memory and cores that models may use."""

    memory: Quantity | None = None
    """Bytes."""
    cpu: Quantity | None = None
    """Cores."""


class PlannedCapacity(ApiModel):
    """What the models that are planned for the node need."""

    memory: Quantity
    """Bytes."""


class WakeStatus(ApiModel):
    """What was done to wake the machine since it stopped answering."""

    sent: Count
    """How often magic packets were sent."""
    last_sent: datetime
    """When the last ones were."""


class InferenceNodeStatus(Status):
    """What was observed of the machine."""

    ray_version: ShortText | None = None
    """Version that Ray reports."""
    dashboard_url: Annotated[str, Field(max_length=512)] | None = Field(default=None, alias="dashboardURL")
    """Ray's dashboard."""
    serve_url: Annotated[str, Field(max_length=512)] | None = Field(default=None, alias="serveURL")
    """Ray Serve's HTTP port."""
    allocatable: NodeCapacity | None = None
    """Memory and cores for models."""
    planned: PlannedCapacity | None = None
    """Sum over the models planned here."""
    models: Annotated[tuple[Annotated[str, Field(max_length=128)], ...], Field(max_length=256)] = ()
    """Applications planned here, as <model>.<variant>."""
    last_restart: Annotated[str, Field(max_length=1024)] | None = None
    """Value of the restart annotation that was acted upon last."""
    wake: WakeStatus | None = None
    """What was done to wake the machine; absent while it answers."""
    last_wake: Annotated[str, Field(max_length=1024)] | None = None
    """Value of the wake annotation that was acted upon last."""


def _another_sends(node: "InferenceNode") -> bool:
    return node.spec.wake is None or node.spec.wake.sender_ref.name != node.metadata.name


class InferenceNode(Resource):
    """A machine that serves models."""

    rules = (
        Rule(
            field="spec.wake.senderRef.name",
            cel="!has(self.spec.wake) || self.spec.wake.senderRef.name != self.metadata.name",
            message="wake.senderRef must name another InferenceNode: a machine that sleeps cannot wake itself",
            holds=_another_sends,
        ),
    )
    info: ClassVar[ResourceInfo] = ResourceInfo(
        kind="InferenceNode",
        plural="inferencenodes",
        singular="inferencenode",
        short_name="inode",
        description="A machine, or a labelled part of a Ray cluster, that serves models.",
        columns=(
            PrinterColumn(name="Type", path=".spec.type", description="Who runs Ray"),
            PrinterColumn(name="Accelerator", path=".spec.accelerator.type", description="What computes"),
            PrinterColumn(name="Memory", path=".status.allocatable.memory", description="Memory for models"),
            PrinterColumn(name="Planned", path=".status.planned.memory", description="Memory that models need"),
            PrinterColumn(name="Ray", path=".status.rayVersion", priority=1, description="Version of Ray"),
            PrinterColumn(
                name="Yielding",
                path=".status.conditions[?(@.type=='Yielding')].status",
                priority=1,
                description="Whether it is left to its owner now",
            ),
            *ready_columns(),
        ),
    )

    api_version: Literal["hearth.banjonet.com/v1alpha1"] = API_VERSION
    kind: Literal["InferenceNode"] = "InferenceNode"
    spec: InferenceNodeSpec
    status: InferenceNodeStatus = InferenceNodeStatus()
