"""Safetensors: a JSON header in each file, and config.json beside them."""

import json
from collections import Counter
from math import prod
from pathlib import Path
from typing import Any

from hearth_api.wire.serve import WeightsShape
from hearth_serve.shapes.binary import Header
from hearth_serve.shapes.errors import ShapeError

_LONGEST_HEADER = 100_000_000
"""The format's own bound."""
_LONGEST_CONFIG = 4 * 1024**2
_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "I32": 4, "I16": 2, "I8": 1,
    "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip
_NAMES = {"F8_E4M3": "FP8", "F8_E5M2": "FP8", "I8": "INT8"}
_PACKED = frozenset({"I32", "U32", "U8", "I64"})
"""Several weights in one number: how many parameters there are does not follow."""
_ENCODERS = ("bert", "roberta", "mpnet", "electra", "deberta")


def read_safetensors(files: tuple[Path, ...]) -> WeightsShape:
    """Return the shape of a model in one folder. Raises ShapeError."""
    sizes: Counter[str] = Counter()
    numbers = 0
    for file in files:
        for kind, count in _tensors(file):
            sizes[kind] += count * _BYTES[kind]
            numbers += count
    largest = sizes.most_common(1)[0][0] if sizes else None
    packed = largest in _PACKED
    total = sum(file.stat().st_size for file in files)
    config = _config(files[0].parent / "config.json")
    quantization = None if largest is None or packed else _NAMES.get(largest, largest)
    return _shape(config, weights=total, parameters=None if packed else numbers or None, quantization=quantization)


def _tensors(path: Path) -> list[tuple[str, int]]:
    """Return type and count of numbers of each tensor."""
    with Header(path) as header:
        length = header.count("Q", most=_LONGEST_HEADER, what="bytes of header")
        try:
            listed = json.loads(header.take(length))
        except (ValueError, RecursionError) as error:
            raise header.broken("it is no JSON") from error
        if not isinstance(listed, dict):
            raise header.broken("it is no object")
        found = []
        for name, entry in listed.items():
            if name == "__metadata__":
                continue
            kind, shape = (entry.get("dtype"), entry.get("shape")) if isinstance(entry, dict) else (None, None)
            if kind not in _BYTES:
                continue  # a newer type: its bytes count by the file's size
            if not isinstance(shape, list) or not all(type(size) is int and 0 <= size < 2**40 for size in shape):
                raise header.broken(f"tensor {name[:100]} has no shape")
            found.append((kind, prod(shape)))
        return found


def _config(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LONGEST_CONFIG:
            raise ShapeError(f"File {path} is larger than any config.json.")
        config = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ShapeError(f"File {path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise ShapeError(f"File {path} is no JSON.") from error
    if not isinstance(config, dict):
        raise ShapeError(f"File {path} holds no object.")
    inner = config.get("text_config")
    if "num_hidden_layers" not in config and isinstance(inner, dict):
        return {"model_type": config.get("model_type"), **inner}  # a model that also sees: its language part
    return config


def _shape(config: dict[str, Any], *, weights: int, parameters: int | None, quantization: str | None) -> WeightsShape:
    kind = config.get("model_type")
    name = kind if isinstance(kind, str) else ""
    heads, hidden, layers = (
        _number(config, key) for key in ("num_attention_heads", "hidden_size", "num_hidden_layers")
    )
    window = _number(config, "sliding_window") if config.get("use_sliding_window") is not False else None
    cached, whole = _layers(config, name, layers)
    latent = _number(config, "kv_lora_rank")
    tied = config.get("tie_word_embeddings")
    return WeightsShape(
        architecture=name[:64] or None,
        weights=weights,
        parameters=parameters,
        quantization=quantization,
        layers=layers,
        cache_layers=cached if cached != layers else None,
        hidden_size=hidden,
        vocabulary=_number(config, "vocab_size"),
        tied_embeddings=tied if isinstance(tied, bool) else None,
        kv_heads=heads if latent is not None else _number(config, "num_key_value_heads") or heads,
        head_dim=_head_dim(config, heads=heads, hidden=hidden, latent=latent is not None),
        sliding_window=window,
        global_layers=whole if window is not None else None,
        kv_lora_rank=latent,
        rope_dim=_number(config, "qk_rope_head_dim") if latent is not None else None,
    )


def _number(config: dict[str, Any], key: str) -> int | None:
    value = config.get(key)
    return value if type(value) is int and 0 < value < 2**40 else None


def _layers(config: dict[str, Any], name: str, layers: int | None) -> tuple[int | None, int | None]:
    """Return the layers with a cache, and those of them that see the whole context where it is known."""
    if any(word in name for word in _ENCODERS):
        return 0, None
    kinds = config.get("layer_types")
    if isinstance(kinds, list) and layers is not None and len(kinds) == layers:
        whole = sum(1 for kind in kinds if kind == "full_attention")
        windowed = sum(1 for kind in kinds if kind in {"sliding_attention", "chunked_attention"})
        return whole + windowed, whole
    interval = _number(config, "full_attention_interval")
    if interval is not None and layers is not None:
        return layers // interval, None
    period = _number(config, "sliding_window_pattern")
    return layers, layers // period if period is not None and layers is not None else None


def _head_dim(config: dict[str, Any], *, heads: int | None, hidden: int | None, latent: bool) -> int | None:
    if latent:
        parts = [_number(config, key) for key in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")]
        return (sum(part or 0 for part in parts) + 1) // 2 or None
    return _number(config, "head_dim") or (hidden // heads if hidden and heads else None)
