"""The memory of a model: what decides it, what is planned, what was observed."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from hearth_api.kinds.base import ApiModel
from hearth_api.kinds.fields import Count, Quantity, ShortText
from hearth_api.wire.serve import CacheType, Engine


class ModelShape(ApiModel):
    """What decides the memory of a model. What the engine read in the files counts more than what is said here.

    `hearth-serve describe FILE` prints it for a file.
    """

    architecture: Annotated[str, Field(max_length=64)] | None = None
    """Name of the architecture, for people."""
    weights: Quantity | None = None
    """Bytes of the weight files; absent: they follow from parameters and quantization."""
    parameters: Quantity | None = None
    """Number of parameters, as 8.03G."""
    quantization: Annotated[str, Field(max_length=16, pattern=r"^[A-Za-z0-9_]+$")] | None = None
    """Format of the weights: F32, BF16, F16, FP8, INT8, MXFP4, or a llama.cpp name such as Q4_K_M."""
    layers: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Layers."""
    cache_layers: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Layers with keys and values, in a hybrid; absent: all."""
    hidden_size: Annotated[int, Field(ge=1, le=131_072)] | None = None
    """Width of a layer."""
    vocabulary: Annotated[int, Field(ge=1, le=16_777_216)] | None = None
    """Tokens in the vocabulary."""
    tied_embeddings: bool | None = None
    """The output layer is the table of embeddings; absent: it has its own."""
    kv_heads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Heads of keys and values: with grouped queries fewer than heads."""
    head_dim: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Width of such a head."""
    sliding_window: Annotated[int, Field(ge=1, le=1_048_576)] | None = None
    """Tokens that the layers other than globalLayers look back."""
    global_layers: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Layers that see the whole context although there is a sliding window; absent: all."""
    kv_lora_rank: Annotated[int, Field(ge=1, le=16_384)] | None = None
    """Latent attention (MLA): width of what is kept for each token instead of keys and values."""
    rope_dim: Annotated[int, Field(ge=0, le=4096)] | None = None
    """Latent attention: width of the positional part kept beside it."""
    recurrent_state: Quantity | None = None
    """State of the layers without keys and values, for each request."""


class MemorySource(StrEnum):
    """Where a figure of memory comes from, best first."""

    DECLARED = "Declared"
    OBSERVED = "Observed"
    ESTIMATED = "Estimated"
    UNKNOWN = "Unknown"


class ObservedWith(ApiModel):
    """The settings under which peak and shape were observed; under others they say nothing."""

    source: Annotated[str, Field(max_length=1024)]
    """model.source."""
    engine: Engine
    """What computed."""
    context_tokens: Count
    """context.maxTokens."""
    concurrency: Count
    """context.concurrency."""
    cache_type: CacheType = CacheType.F16
    """context.cacheType."""
    digest: Annotated[str, Field(max_length=128)] | None = None
    """SHA-256 of the weights."""


class VariantMemory(ApiModel):
    """What the variant is expected to need, and what it took at most."""

    estimate: Quantity | None = None
    """What is planned for it."""
    source: MemorySource | None = None
    """Declared (resources.memory), Observed (from the peak), Estimated (from the shape) or Unknown."""
    sum: ShortText | None = None
    """The estimate's parts in words."""
    reserved: Quantity | None = None
    """Room that it holds on its node; absent: none. Nobody is placed into it."""
    peak: Quantity | None = None
    """Largest observed, of the engine's process."""
    observed_with: ObservedWith | None = None
    """What peak and shape belong to."""
