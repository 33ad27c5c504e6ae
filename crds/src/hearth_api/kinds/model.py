"""ModelDeployment: one logical model, in several builds on several machines."""

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
    immutable,
    map_by,
    ready_columns,
)
from hearth_api.kinds.fields import Count, DnsLabel, Labels, LongText, Quantity, Resources, SecretKeyRef, Sha256
from hearth_api.kinds.memory import ModelShape, VariantMemory
from hearth_api.names import API_VERSION
from hearth_api.wire.serve import CacheType, Engine, Task

SOURCE_PATTERN = (
    r"^(package://[a-z0-9][a-z0-9._-]*(/[^/\s]\S*)?|file:///[^/\s]\S*|pvc://[a-z0-9][a-z0-9.-]*/[^/\s]\S*"
    r"|hf://[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*(@[^@/\s]+)?(/[^/\s]\S*)?"
    r"|s3://[a-z0-9][a-z0-9.-]*/[^/\s]\S*|https?://[^/@\s]+/[^/\s]\S*)$"
)


class VariantNode(ApiModel):
    """Which InferenceNode serves the variant."""

    rules = (
        Rule(
            field="name",
            cel="has(self.name) != (has(self.selector) && self.selector.size() > 0)",
            message="exactly one of name and selector is required",
            holds=lambda node: (node.name is not None) != bool(node.selector),
        ),
    )

    name: DnsLabel | None = None
    """Name of an InferenceNode."""
    selector: Labels | None = None
    """Labels of InferenceNodes; the first by name that is Ready and has room is taken."""


class ModelFiles(ApiModel):
    """Where the weights are on the node."""

    rules = (
        Rule(
            field="source",
            cel="!self.source.matches('/[.][.](/|$)')",
            message="source must not contain '..': name the file itself",
            holds=lambda model: "/../" not in f"{model.source}/",
        ),
        Rule(
            field="sha256",
            cel="has(self.sha256) || !self.source.matches('^(s3|https?)://')",
            message="sha256 is required for s3://, http:// and https://: sha256sum prints it",
            holds=lambda model: (
                model.sha256 is not None or not model.source.startswith(("s3://", "http://", "https://"))
            ),
        ),
    )

    source: Annotated[str, Field(max_length=1024, pattern=SOURCE_PATTERN)]
    """package://<distribution>[/<path>] installed in the image, file:///<path> on the machine, pvc://<claim>/<path>.

    On machines outside the cluster, and in it where the release has a mirror (mirror.enabled in the chart's values),
    also hf://<owner>/<repository>[@<revision>][/<path or pattern>], s3://<bucket>/<key> and https://<host>/<path>:
    brought to the node's store before the model starts. No secret may be in it. A folder, or a package without a path,
    must hold exactly one model."""
    sha256: Sha256 | None = None
    """SHA-256 of the file; a file with another one is refused."""
    shape: ModelShape | None = None
    """What is known of the model before it was loaded once; see also resources.memory."""


class VariantResources(Resources):
    """What the variant takes of its node."""

    cpu: Quantity = "250m"
    """Cores that Ray reserves on the node."""
    memory: Quantity | None = None
    """Memory kept free for it on the node, whatever was estimated or observed; absent: the operator's estimate."""
    gpus: Annotated[int, Field(ge=0, le=64)] = 0
    """Whole GPUs that Ray reserves."""


class VariantContext(ApiModel):
    """Size of the context, and how many requests share the model at once."""

    max_tokens: Annotated[int, Field(ge=64, le=1_048_576)] = 2048
    """Tokens of one request, prompt and answer."""
    concurrency: Annotated[int, Field(ge=1, le=256)] = 1
    """Requests at once; the gateway queues the others."""
    cache_type: CacheType = CacheType.F16
    """Precision of the context in memory (LlamaCpp): Q8_0 takes about half of F16, Q4_0 about a quarter."""


class Variant(ApiModel):
    """One build of the model on one machine."""

    rules = (
        Rule(
            field="context",
            cel="self.engine == 'LlamaCpp' || self.context.cacheType == 'F16'",
            message="context.cacheType other than F16 is only for engine LlamaCpp: remove it",
            holds=lambda v: v.engine is Engine.LLAMA_CPP or v.context.cache_type is CacheType.F16,
        ),
        Rule(
            field="tensorParallel",
            cel="self.engine == 'VLLM' || self.tensorParallel == 1",
            message="tensorParallel is only for engine VLLM: remove it",
            holds=lambda v: v.engine is Engine.VLLM or v.tensor_parallel == 1,
        ),
        Rule(
            field="resources",
            cel="self.tensorParallel == 1 || self.resources.gpus == self.tensorParallel",
            message="resources.gpus must be the same as tensorParallel: each part takes a whole card",
            holds=lambda v: v.tensor_parallel in (1, v.resources.gpus),
        ),
    )

    name: Annotated[str, Field(max_length=32, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
    """Name within the deployment."""
    node: VariantNode
    """Where it runs."""
    engine: Engine
    """What computes."""
    model: ModelFiles
    """Weights."""
    resources: VariantResources = VariantResources()
    """What it takes of the node."""
    context: VariantContext = VariantContext()
    """Context size and concurrency."""
    replicas: Annotated[int, Field(ge=1, le=64)] = 1
    """Copies on the node, each with these resources; on a node of several Ray nodes they spread."""
    threads: Annotated[int, Field(ge=1, le=256)] | None = None
    """Processor threads; absent: the whole cores in resources.cpu, at least 1."""
    gpu_layers: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Layers on the GPU (LlamaCpp); absent: all where there is one."""
    tensor_parallel: Annotated[int, Field(ge=1, le=64)] = 1
    """Cards that one replica is split over (VLLM); resources.gpus must be the same."""


class Sampling(ApiModel):
    """Defaults for requests that do not say otherwise. Applied without reloading the model."""

    temperature: Annotated[str, Field(max_length=4, pattern=r"^([01](\.[0-9]{1,2})?|2(\.0{1,2})?)$")] | None = None
    """0 to 2 as text, like "0.7"."""
    top_p: Annotated[str, Field(max_length=4, pattern=r"^(0\.[0-9]?[1-9]|0\.[1-9]0?|1(\.0{1,2})?)$")] | None = None
    """Above 0 and up to 1 as text, like "0.95"."""
    max_tokens: Annotated[int, Field(ge=1, le=1_048_576)] | None = None
    """Tokens of an answer."""
    system_prompt: Annotated[str, Field(max_length=8192)] | None = None
    """System message for requests that have none."""


class Failback(ApiModel):
    """When a more preferred variant that came back takes over from the one that serves."""

    stable_seconds: Annotated[int, Field(ge=0, le=600)] = 30
    """How long it must have answered without a break; 0: at once. While it comes and goes this doubles, up to 600 s,
    until it has served for 600 s. What answers is never held back when nothing else serves."""


class ModelDeploymentSpec(ApiModel):
    """One logical model."""

    rules = (
        immutable("task", "make another ModelDeployment"),
        Rule(
            field="variants",
            cel="self.task != 'Chat' || self.variants.all(v, v.engine != 'OnnxRuntime')",
            message="variants[].engine OnnxRuntime is only for tasks Embed and Rerank: use LlamaCpp or Transformers",
            holds=lambda spec: (
                spec.task is not Task.CHAT or all(v.engine is not Engine.ONNX_RUNTIME for v in spec.variants)
            ),
        ),
        Rule(
            field="variants",
            cel="self.task != 'Rerank' || self.variants.all(v, v.engine != 'LlamaCpp')",
            message="variants[].engine LlamaCpp is only for tasks Chat and Embed: use OnnxRuntime or Transformers",
            holds=lambda spec: (
                spec.task is not Task.RERANK or all(v.engine is not Engine.LLAMA_CPP for v in spec.variants)
            ),
        ),
        Rule(
            field="variants",
            cel="self.task == 'Chat' || self.variants.all(v, v.engine != 'MLX')",
            message="variants[].engine MLX is only for task Chat: use LlamaCpp or Transformers",
            holds=lambda spec: spec.task is Task.CHAT or all(v.engine is not Engine.MLX for v in spec.variants),
        ),
        Rule(
            field="sampling",
            cel="self.task == 'Chat' || !has(self.sampling)",
            message="sampling is only for task Chat: remove it",
            holds=lambda spec: spec.task is Task.CHAT or spec.sampling is None,
            reason="FieldValueForbidden",
        ),
    )

    suspend: bool = False
    """Take the model away from its nodes; its name stays reserved."""
    task: Task
    """Chat, Embed, or Rerank: score documents for a query."""
    aliases: Annotated[
        tuple[Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$")], ...],
        Field(max_length=16, json_schema_extra=AS_SET),
    ] = ()
    """Further names for clients. An older resource keeps a name that two want."""
    variants: Annotated[tuple[Variant, ...], Field(min_length=1, max_length=16, json_schema_extra=map_by("name"))]
    """Builds of the model, most wanted first."""
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    """Of models that wait for room the higher one is placed first. One that has its room is never sent away."""
    sampling: Sampling | None = None
    """Defaults for chat requests."""
    failback: Failback = Failback()
    """When the preferred variant serves again after it was lost."""
    progress_deadline_seconds: Annotated[int, Field(ge=10, le=86_400)] = 600
    """How long a change may take before Progressing is False."""


class VariantState(StrEnum):
    """State of a variant in the catalog."""

    PENDING = "Pending"
    LOADING = "Loading"
    AVAILABLE = "Available"
    UNREACHABLE = "Unreachable"
    FAILED = "Failed"
    SUSPENDED = "Suspended"


class VariantStatus(ApiModel):
    """One entry of the catalog that the gateway reads."""

    name: Annotated[str, Field(min_length=1, max_length=32)]
    """Name of the variant."""
    node: Annotated[str, Field(max_length=63)] | None = None
    """InferenceNode that it was given to."""
    engine: Engine
    """What computes."""
    url: Annotated[str, Field(max_length=1024)] | None = None
    """Serve URL with the route prefix; absent while it has no node."""
    token_secret_ref: SecretKeyRef | None = None
    """Secret entry with the Serve port's bearer token."""
    ca_secret_ref: SecretKeyRef | None = None
    """Secret entry with the CA of the Serve port's certificate."""
    state: VariantState
    """Whether it serves."""
    reason: Annotated[str, Field(max_length=128)] | None = None
    """One word; crds/README.md explains each."""
    message: LongText | None = None
    """The facts in words."""
    context_tokens: Count | None = None
    """Tokens of one request."""
    slots: Count | None = None
    """Requests at once, all replicas together."""
    replicas: Count | None = None
    """Replicas that run; absent where the variant asks for one."""
    model_digest: Annotated[str, Field(max_length=128)] | None = None
    """SHA-256 of the weights that are loaded."""
    memory: VariantMemory | None = None
    """Expected and observed memory."""
    shape: ModelShape | None = None
    """What the engine read in the model's files, kept for the next plan."""


class ModelDeploymentStatus(Status):
    """What was observed of the model."""

    variants: Annotated[tuple[VariantStatus, ...], Field(max_length=16, json_schema_extra=map_by("name"))] = ()
    """The catalog, in order of preference."""
    serving: Annotated[str, Field(max_length=32)] | None = None
    """First variant that is available."""
    model_digest: Annotated[str, Field(max_length=128)] | None = None
    """SHA-256 of the weights of the first available variant."""
    dimensions: Annotated[int, Field(ge=1)] | None = None
    """Length of a vector (task Embed)."""
    last_restart: Annotated[str, Field(max_length=1024)] | None = None
    """Value of the restart annotation that was acted upon last."""


class ModelDeployment(Resource):
    """One logical model."""

    info: ClassVar[ResourceInfo] = ResourceInfo(
        kind="ModelDeployment",
        plural="modeldeployments",
        singular="modeldeployment",
        short_name="mdep",
        description="One logical model, in one or more builds on one or more machines.",
        columns=(
            PrinterColumn(name="Task", path=".spec.task", description="What the model is for"),
            PrinterColumn(name="Serving", path=".status.serving", description="First variant that is available"),
            PrinterColumn(
                name="Degraded",
                path=".status.conditions[?(@.type=='Degraded')].status",
                description="Whether another variant or revision than the wanted one serves",
            ),
            PrinterColumn(name="Node", path=".status.variants[0].node", priority=1, description="Node of variant 1"),
            *ready_columns(),
        ),
    )

    api_version: Literal["hearth.banjonet.com/v1alpha1"] = API_VERSION
    kind: Literal["ModelDeployment"] = "ModelDeployment"
    spec: ModelDeploymentSpec
    status: ModelDeploymentStatus = ModelDeploymentStatus()
