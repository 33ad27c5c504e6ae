"""Weights + context + overhead of one model on one machine."""

from dataclasses import dataclass
from fractions import Fraction

from hearth_api.kinds.node import AcceleratorType
from hearth_api.quantities import format_bytes
from hearth_api.wire.serve import Engine, Task
from hearth_operator.plan.fit.cache import BATCH, cache_bytes
from hearth_operator.plan.fit.shape import Shape
from hearth_operator.plan.fit.weights import weight_bytes
from hearth_operator.plan.fit.workload import Workload

_MEBI, _GIBI = 1024**2, 1024**3
_PROCESS = {
    Engine.LLAMA_CPP: 256 * _MEBI,
    Engine.ONNX_RUNTIME: 420 * _MEBI,
    Engine.TRANSFORMERS: 640 * _MEBI,
    Engine.VLLM: 2048 * _MEBI,
    Engine.MLX: 448 * _MEBI,
}
"""Interpreter, Ray and the engine's libraries, measured with the packaged models: 200, 380, 560 MiB, and some room.
VLLM's is not measured here: it serves from CUDA, where `_CUDA_CONTEXT` stands instead."""
_CUDA_CONTEXT = 512 * _MEBI
_VLLM_GRAPHS = 1024 * _MEBI
"""CUDA graphs and the libraries' work space of one card, beside the context."""
_VLLM_TOKENS = 2048
"""Tokens of one step (`hearth_serve.engines.vllm.BATCH_TOKENS`)."""
_MLX_TOKENS, _MLX_BUFFERS = 512, 512 * _MEBI
"""Tokens of a prompt per step, and freed buffers that MLX keeps (`hearth_serve.engines.mlx`)."""
_ONNX_TOKENS = 2048
"""Tokens of one run (`hearth_serve.engines.batches.MOST_TOKENS`)."""
_VOCABULARY, _HIDDEN = 152_064, 4096
"""Assumed where a shape is silent: those of a common 7B model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Bytes, and how they add up."""

    weights: int
    cache: int
    overhead: int

    @property
    def total(self) -> int:
        """The sum."""
        return self.weights + self.cache + self.overhead

    @property
    def sentence(self) -> str:
        """The sum in words."""
        return f"weights {show(self.weights)} + KV cache {show(self.cache)} + overhead {show(self.overhead)}"


def estimate(shape: Shape, work: Workload) -> Estimate | None:
    """Return the need; None where the shape says too little to be of use."""
    weights = _loaded_weights(shape, work)
    cache = cache_bytes(shape, work)
    if weights is None or cache is None:
        return None
    on_device = _offloaded(shape, work)
    return Estimate(
        weights=int(weights * on_device), cache=int(cache * on_device), overhead=_overhead(shape, work, weights)
    )


def _loaded_weights(shape: Shape, work: Workload) -> int | None:
    if work.engine is Engine.TRANSFORMERS and shape.parameters is not None:
        # Loaded as float32 on a processor and for embeddings, as bfloat16 otherwise, whatever the file has.
        return shape.parameters * (4 if work.on_cpu or work.task is not Task.CHAT else 2)
    return weight_bytes(shape)


def _offloaded(shape: Shape, work: Workload) -> Fraction:
    """Return the part in the accelerator's memory. Only CUDA has one of its own: elsewhere memory is shared."""
    if work.accelerator is not AcceleratorType.CUDA or work.gpu_layers is None or not shape.layers:
        return Fraction(1)
    return min(Fraction(1), Fraction(work.gpu_layers, shape.layers + 1))


def _overhead(shape: Shape, work: Workload, weights: int) -> int:
    base = _CUDA_CONTEXT if work.accelerator is AcceleratorType.CUDA else _PROCESS[work.engine]
    hidden = shape.hidden_size or _HIDDEN
    if work.engine is Engine.LLAMA_CPP:
        return base + _llama_buffers(shape, work, hidden)
    if work.engine is Engine.ONNX_RUNTIME:
        # Besides the weights their packed copy; in a run the attention of `heads` over the tokens (MiniLM: 0.4 GiB).
        context = min(work.context_tokens, 512)
        small = shape.hidden_size or 384
        return base + weights + work.concurrency * _ONNX_TOKENS * 4 * (32 * small + 6 * context * small // 32)
    if work.engine is Engine.VLLM:
        each = base + _VLLM_GRAPHS + _activations(shape, hidden, tokens=_VLLM_TOKENS, scores=work.concurrency)
        return each * work.tensor_parallel
    if work.engine is Engine.MLX:
        return base + _MLX_BUFFERS + _activations(shape, hidden, tokens=_MLX_TOKENS, scores=work.concurrency)
    return base + work.context_tokens * work.concurrency * hidden * 16 * (4 if work.on_cpu else 2)


def _activations(shape: Shape, hidden: int, *, tokens: int, scores: int) -> int:
    """Return the bytes of one step in 16 bits, and of the scores over the vocabulary, twice in 32 bits."""
    return tokens * hidden * 2 * 16 + scores * (shape.vocabulary or _VOCABULARY) * 8


def _llama_buffers(shape: Shape, work: Workload, hidden: int) -> int:
    """Return llama.cpp's compute buffers: scores over the vocabulary for a batch, activations, the attention mask."""
    if work.task is not Task.CHAT:  # a text is one batch, and no scores are computed
        batch, scores = work.context_tokens, 0
    else:
        batch, scores = BATCH, BATCH * (shape.vocabulary or _VOCABULARY) * 4
    mask = work.context_tokens * work.concurrency * batch * 4
    return scores + batch * hidden * 4 * 12 + mask


def show(count: int) -> str:
    """Return bytes for a person, as a quantity: whole mebibytes, from 10Gi on tenths of a gibibyte. Rounded up."""
    if count >= 10 * _GIBI and count % _GIBI:
        tenths = -(-count * 10 // _GIBI)
        return f"{tenths / 10:g}Gi" if tenths < 10_000_000 else format_bytes(-(-count // _GIBI) * _GIBI)
    return format_bytes(-(-count // _MEBI) * _MEBI) if count else "0"
