"""Bytes of weights from parameters and quantization.

llama.cpp keeps the output layer (or the embeddings, where it is the same table) at more bits than the rest, and falls
back to a coarser-blocked type where a row is no multiple of 256. So two groups are counted: that table, and the rest.
"""

from hearth_operator.plan.fit.shape import Shape

_Q5_K, _Q6_K, _Q8_0 = 5.5, 6.5625, 8.5

_GGUF: dict[str, tuple[float, float, float]] = {
    # name: bits of the rest, of the table, and of the rest where rows are no multiple of 256.
    # The rest's bits follow from the sizes that llama.cpp's own table gives for Llama 3.1 8B.
    "Q2_K": (2.921, _Q6_K, 4.3),
    "Q3_K_S": (3.438, _Q6_K, 4.4),
    "Q3_K_M": (3.816, _Q6_K, 4.6),
    "Q3_K_L": (4.139, _Q6_K, 4.8),
    "Q4_0": (4.505, _Q6_K, 4.505),
    "Q4_1": (5.0, _Q6_K, 5.0),
    "Q4_K_S": (4.534, _Q6_K, 5.25),
    "Q4_K_M": (4.778, _Q6_K, 5.45),
    "Q5_0": (5.5, _Q6_K, 5.5),
    "Q5_1": (6.0, _Q6_K, 6.0),
    "Q5_K_S": (5.501, _Q6_K, 5.9),
    "Q5_K_M": (5.643, _Q6_K, 6.2),
    "Q6_K": (_Q6_K, _Q6_K, 8.0),
    "Q8_0": (_Q8_0, _Q8_0, _Q8_0),
    "IQ2_XXS": (2.164, _Q5_K, 4.3),
    "IQ2_XS": (2.384, _Q5_K, 4.3),
    "IQ2_M": (2.749, _Q5_K, 4.3),
    "IQ3_XXS": (3.023, _Q6_K, 4.4),
    "IQ3_XS": (3.283, _Q6_K, 4.4),
    "IQ3_M": (3.567, _Q6_K, 4.5),
    "IQ4_XS": (4.312, _Q6_K, 4.5),
    "IQ4_NL": (4.5, _Q6_K, 4.5),
    "MXFP4": (4.4, _Q8_0, 4.4),
}
_PLAIN = {"F64": 64.0, "F32": 32.0, "F16": 16.0, "BF16": 16.0, "INT8": 8.03}
_KEEPS_TABLES = {"FP8": 8.03, "W8A8": 8.03, "INT4": 4.19}
"""AWQ, GPTQ, FP8: linear layers only; embeddings and output stay in 16 bits. With scales of groups."""
_ALIASES = {
    "FP16": "F16",
    "FP32": "F32",
    "AWQ": "INT4",
    "GPTQ": "INT4",
    "F8_E4M3": "FP8",
    "I8": "INT8",
    "Q3_K": "Q3_K_M",
}
_ALIASES |= {"Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}


def known_quantization(name: str) -> bool:
    """Whether weights follow from it."""
    upper = name.upper()
    return _ALIASES.get(upper, upper) in _GGUF.keys() | _PLAIN.keys() | _KEEPS_TABLES.keys()


def weight_bytes(shape: Shape) -> int | None:
    """Return the bytes of the weights; None where neither they nor parameters and quantization are known."""
    if shape.weights is not None:
        return shape.weights
    if shape.parameters is None or shape.quantization is None:
        return None
    upper = shape.quantization.upper()
    name = _ALIASES.get(upper, upper)
    table = min((shape.vocabulary or 0) * (shape.hidden_size or 0), shape.parameters)
    if name in _PLAIN:
        return round(shape.parameters * _PLAIN[name] / 8)
    if name in _KEEPS_TABLES:
        tables = min(table if shape.tied_embeddings else 2 * table, shape.parameters)
        return round((tables * 16 + (shape.parameters - tables) * _KEEPS_TABLES[name]) / 8)
    if name not in _GGUF:
        return None
    rest, head, ragged = _GGUF[name]
    if (shape.hidden_size or 0) % 256:
        rest, head = ragged, _Q8_0
    return round((table * head + (shape.parameters - table) * rest) / 8)
