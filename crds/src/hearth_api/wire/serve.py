"""What a Serve application is started with and what it tells (INTERFACES, "Serve app")."""

from enum import StrEnum
from typing import Literal

from pydantic import Field

from hearth_api.base import LenientModel, StrictModel

CONTROL_REQUESTS = 16
"""Requests that cost no tokens and must never wait for those that do."""


class Engine(StrEnum):
    """What computes."""

    LLAMA_CPP = "LlamaCpp"
    ONNX_RUNTIME = "OnnxRuntime"
    TRANSFORMERS = "Transformers"
    VLLM = "VLLM"
    MLX = "MLX"


class Task(StrEnum):
    """What a model is for."""

    CHAT = "Chat"
    EMBED = "Embed"
    RERANK = "Rerank"


class CacheType(StrEnum):
    """How keys and values of the context are stored: 16, 8.5 or 4.5 bits a number."""

    F16 = "F16"
    Q8_0 = "Q8_0"
    Q4_0 = "Q4_0"


class ServeModel(StrictModel):
    """Where weights come from: package://, file:// or pvc-mounted paths; pinned by SHA-256 of the file."""

    source: str
    sha256: str | None = None


class ServeArgs(StrictModel):
    """Whatever needs a reload of the model. `args` of the Serve application. Never a secret."""

    model_id: str
    task: Task
    engine: Engine
    model: ServeModel
    context_tokens: int = Field(default=2048, ge=1)
    concurrency: int = Field(default=1, ge=1)
    cache_type: CacheType | None = None
    """Of the context; absent: F16. Absent is also what an older release understands."""
    max_waiting: int = Field(default=8, ge=0)
    """Requests that may wait in the replica for a slot; more are answered 503 in OpenAI's shape."""
    tensor_parallel: int | None = Field(default=None, ge=2, le=64)
    """Cards that one replica is split over (VLLM); absent: one. Absent is also what an older release understands."""
    threads: int | None = Field(default=None, ge=1)
    gpu_layers: int = Field(default=0, ge=0)
    memory_bytes: int = Field(default=0, ge=0)
    num_cpus: float = Field(default=1, ge=0)
    num_gpus: float = Field(default=0, ge=0)
    node: str
    """Value of the Ray node label `hearth-node` that the replica is pinned to."""
    token_path: str = "/var/run/secrets/hearth/serve/token"
    """File on the serving machine that holds the bearer token of the Serve port."""
    restart: str | None = Field(default=None, max_length=64)
    """Another value than before replaces the replica and changes nothing else."""

    @property
    def max_ongoing_requests(self) -> int:
        """Serve's limit per replica: slots, the queue, and room for /healthz, /info, /probe and refusals.

        The replica bounds computation itself: at Serve's limit even /healthz would wait.
        """
        return self.concurrency + self.max_waiting + CONTROL_REQUESTS


class ServeTunables(StrictModel):
    """Applied in place through `user_config`, without a reload."""

    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    system_prompt: str | None = None
    query_prefix: str = ""
    document_prefix: str = ""
    owner: str | None = None
    """Which operator wrote the application: the replica does nothing with it."""


class MemoryInfo(LenientModel):
    """Bytes of the replica's process."""

    now: int
    peak: int


class WeightsShape(LenientModel):
    """What the header of a model's files says about the memory it needs. Absent: the header does not say."""

    architecture: str | None = None
    weights: int | None = None
    """Bytes of the files."""
    parameters: int | None = None
    quantization: str | None = None
    """As the field calls it: Q4_K_M, BF16, FP8."""
    layers: int | None = None
    cache_layers: int | None = None
    """Layers with keys and values; the others keep a state of fixed size."""
    hidden_size: int | None = None
    vocabulary: int | None = None
    tied_embeddings: bool | None = None
    kv_heads: int | None = None
    head_dim: int | None = None
    """Mean of key and value."""
    sliding_window: int | None = None
    """Tokens that all layers but `global_layers` look back."""
    global_layers: int | None = None
    kv_lora_rank: int | None = None
    """MLA: one latent per token and layer instead of keys and values."""
    rope_dim: int | None = None
    recurrent_state: int | None = None
    """Bytes for each request, all layers together."""


class ServeInfo(LenientModel):
    """Answer of `GET <prefix>/info`."""

    build: str
    """SHA-256 of the installed hearth_serve sources: two nodes with different code are told apart."""
    engine: Engine
    engine_version: str
    model_id: str
    model_digest: str
    context_tokens: int
    dimensions: int | None = None
    slots_total: int
    slots_busy: int
    tokens_produced: int
    memory: MemoryInfo
    shape: WeightsShape | None = None
    """Absent where the header of the weights could not be read, or an older release serves."""
    node: str
    pid: int


class ProbeResult(LenientModel):
    """Answer of `POST <prefix>/probe`: one token or one vector was computed."""

    ok: Literal[True] = True
    took_ms: float
