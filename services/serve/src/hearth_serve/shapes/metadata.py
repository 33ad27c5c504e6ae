"""From GGUF's metadata to a shape, as llama.cpp reads them when it sizes its cache."""

from hearth_api.wire.serve import WeightsShape

Metadata = dict[str, int | float | bool | str | list[int]]

_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4",
}  # fmt: skip
_PERIODS = {"gemma2": 2, "gemma3": 6, "gemma3n": 5, "gpt-oss": 2, "cohere2": 4}
"""Every n-th layer sees the whole context; llama.cpp knows it by the architecture. Others count as seeing it all."""
_OWN_CACHE = {"gemma3n": 20}
"""Layers with a cache of their own; the others read that of an earlier one."""


def shape_of(values: Metadata, *, weights: int, parameters: int, tied: bool) -> WeightsShape:
    """Return the shape. Whatever is missing, or of another type than it must be, is left out."""
    architecture = values.get("general.architecture")
    name = architecture if isinstance(architecture, str) else ""
    layers = _number(values, f"{name}.block_count")
    heads = _number(values, f"{name}.attention.head_count")
    hidden = _number(values, f"{name}.embedding_length")
    cached = _cache_layers(values, name, layers)
    window = _number(values, f"{name}.attention.sliding_window")
    latent = _number(values, f"{name}.attention.kv_lora_rank")
    if _number(values, f"{name}.attention.key_length_mla") is None:
        latent = None  # converted before llama.cpp kept latents: whole heads are cached
    vocabulary = _number(values, f"{name}.vocab_size") or _number(values, "tokenizer.ggml.tokens")
    file_type = _number(values, "general.file_type")
    return WeightsShape(
        architecture=name[:64] or None,
        weights=weights,
        parameters=parameters or None,
        quantization=_FILE_TYPES.get(file_type) if file_type is not None else None,
        layers=layers,
        cache_layers=cached if cached != layers else None,
        hidden_size=hidden,
        vocabulary=vocabulary,
        tied_embeddings=tied,
        kv_heads=_kv_heads(values, name, heads),
        head_dim=_head_dim(values, name, heads=heads, hidden=hidden),
        sliding_window=window or None,
        global_layers=_global_layers(values, name, cached=cached) if window else None,
        kv_lora_rank=latent,
        rope_dim=_number(values, f"{name}.rope.dimension_count") if latent is not None else None,
        recurrent_state=_state(values, name, layers=layers, cached=cached),
    )


def _number(values: Metadata, key: str) -> int | None:
    """Return a whole number; of a list its largest."""
    value = values.get(key)
    if isinstance(value, list):
        return max(value, default=None)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return None
    return value


def _list(values: Metadata, key: str) -> list[int] | None:
    value = values.get(key)
    return value if isinstance(value, list) else None


def _cache_layers(values: Metadata, name: str, layers: int | None) -> int | None:
    if values.get(f"{name}.attention.causal") is False or "bert" in name or name.endswith("encoder"):
        return 0  # an encoder reads a text at once and keeps nothing
    if layers is None:
        return None
    per_layer = _list(values, f"{name}.attention.head_count_kv")
    if per_layer is not None:
        return sum(1 for heads in per_layer[:layers] if heads)
    if _number(values, f"{name}.attention.head_count_kv") == 0 or _number(values, f"{name}.attention.head_count") == 0:
        return 0
    interval = _number(values, f"{name}.full_attention_interval")
    if interval:
        return layers // interval
    shared = _number(values, f"{name}.attention.shared_kv_layers") or 0
    return max(0, min(layers - shared, _OWN_CACHE.get(name, layers)))


def _kv_heads(values: Metadata, name: str, heads: int | None) -> int | None:
    per_layer = _list(values, f"{name}.attention.head_count_kv")
    if per_layer is not None:
        used = [count for count in per_layer if count > 0]
        return -(-sum(used) // len(used)) if used else None
    return _number(values, f"{name}.attention.head_count_kv") or heads or None


def _head_dim(values: Metadata, name: str, *, heads: int | None, hidden: int | None) -> int | None:
    plain = hidden // heads if hidden and heads else None
    key = _number(values, f"{name}.attention.key_length") or plain
    value = _number(values, f"{name}.attention.value_length") or plain
    if not key or not value:
        return None
    return (key + value + 1) // 2


def _global_layers(values: Metadata, name: str, *, cached: int | None) -> int | None:
    if cached is None:
        return None
    key = f"{name}.attention.sliding_window_pattern"
    pattern = _list(values, key)
    if pattern:
        return sum(1 for layer in range(cached) if not pattern[layer % len(pattern)])
    period = _number(values, key)
    if period is None:
        period = _PERIODS.get(name)
    if period is None:
        return None
    return cached // period if period else 0


def _state(values: Metadata, name: str, *, layers: int | None, cached: int | None) -> int | None:
    """Return the bytes of a Mamba state: convolution and state of each layer without a cache, as 32-bit numbers."""
    kernel, inner, state = (_number(values, f"{name}.ssm.{key}") for key in ("conv_kernel", "inner_size", "state_size"))
    if layers is None or cached is None or not kernel or not inner or not state:
        return None
    groups = _number(values, f"{name}.ssm.group_count") or 0
    layer = (kernel - 1) * (inner + 2 * groups * state) + state * inner
    return 4 * layer * max(0, layers - cached) or None
