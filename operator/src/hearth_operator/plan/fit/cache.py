"""Bytes of the context: keys and values of every token that may be in memory at once."""

from hearth_api.wire.serve import CacheType, Engine, Task
from hearth_operator.plan.fit.shape import Shape
from hearth_operator.plan.fit.workload import Workload

BATCH = 256
"""Tokens that llama.cpp takes at once (`hearth_serve.engines.llamacpp.BATCH`): a window's cache has room for them."""
_PAD = 256
_VLLM_BLOCK = 16
"""Tokens of a page of vLLM's context."""
_ENCODERS = (Engine.TRANSFORMERS, Engine.VLLM)
_ELEMENT = {CacheType.F16: 2.0, CacheType.Q8_0: 34 / 32, CacheType.Q4_0: 18 / 32}
"""Bytes of a number; the quantized ones carry a scale per 32."""


def cache_bytes(shape: Shape, work: Workload) -> int | None:
    """Return the bytes of the context; None where the shape does not tell."""
    if work.engine is Engine.ONNX_RUNTIME or (work.engine in _ENCODERS and work.task is not Task.CHAT):
        return 0
    layers = shape.cache_layers if shape.cache_layers is not None else shape.layers
    state = (shape.recurrent_state or 0) * work.concurrency
    if layers == 0:
        return state
    width = _width(shape, latent=work.engine is not Engine.TRANSFORMERS)
    if layers is None or width is None:
        return None
    windowed = 0
    if shape.sliding_window is not None and shape.global_layers is not None:
        windowed = max(0, layers - shape.global_layers)
    if work.engine is Engine.VLLM:
        return state + _paged(work, width=width, layers=layers)
    if work.engine in (Engine.TRANSFORMERS, Engine.MLX):
        return state + _dynamic(shape, work, width=width, layers=layers, windowed=windowed)
    return state + _allocated(shape, work, width=width, layers=layers, windowed=windowed)


def _width(shape: Shape, *, latent: bool) -> int | None:
    """Return the numbers kept for one token in one layer. Transformers keeps whole heads also of latent attention."""
    if shape.kv_lora_rank is not None and (latent or shape.kv_heads is None):
        return shape.kv_lora_rank + (shape.rope_dim if shape.rope_dim is not None else 64)
    if shape.kv_heads is not None and shape.head_dim is not None:
        return 2 * shape.kv_heads * shape.head_dim
    # Without grouped queries keys and values are as wide as the layer: at least what it can be.
    return 2 * shape.hidden_size if shape.hidden_size is not None else None


def _allocated(shape: Shape, work: Workload, *, width: int, layers: int, windowed: int) -> int:
    """llama.cpp takes all cells when it loads. It never quantizes the windows' part."""
    cells = _padded(work.context_tokens)
    batch = BATCH if work.task is Task.CHAT else work.context_tokens
    window = _padded(min(cells, (shape.sliding_window or 0) + batch))
    whole = (layers - windowed) * cells * _ELEMENT[work.cache_type]
    return round((whole + windowed * window * _ELEMENT[CacheType.F16]) * width * work.concurrency)


def _dynamic(shape: Shape, work: Workload, *, width: int, layers: int, windowed: int) -> int:
    """Transformers' and MLX' cache grows with the tokens: what it is when every request is as long as it may be."""
    element = 4 if work.on_cpu and work.engine is Engine.TRANSFORMERS else 2
    window = min(work.context_tokens, shape.sliding_window or work.context_tokens)
    tokens = (layers - windowed) * work.context_tokens + windowed * window
    return tokens * width * element * work.concurrency


def _paged(work: Workload, *, width: int, layers: int) -> int:
    """Pages, as vLLM takes them for every slot's whole context; a window's layers get as many as the others."""
    tokens = -(-work.context_tokens // _VLLM_BLOCK) * _VLLM_BLOCK + _VLLM_BLOCK
    return tokens * width * 2 * layers * work.concurrency


def _padded(tokens: int) -> int:
    return -(-tokens // _PAD) * _PAD
