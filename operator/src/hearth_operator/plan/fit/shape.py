"""The shape of a model as numbers, from what a resource says: its spec declares it, its status has what was read."""

from dataclasses import dataclass, fields
from typing import Any

from hearth_api.kinds.memory import ModelShape
from hearth_api.quantities import to_bytes

_QUANTITIES = ("weights", "parameters", "recurrent_state")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """See `hearth_api.kinds.memory.ModelShape`; quantities are whole numbers. None: not known."""

    architecture: str | None = None
    weights: int | None = None
    parameters: int | None = None
    quantization: str | None = None
    layers: int | None = None
    cache_layers: int | None = None
    hidden_size: int | None = None
    vocabulary: int | None = None
    tied_embeddings: bool | None = None
    kv_heads: int | None = None
    head_dim: int | None = None
    sliding_window: int | None = None
    global_layers: int | None = None
    kv_lora_rank: int | None = None
    rope_dim: int | None = None
    recurrent_state: int | None = None

    @property
    def known(self) -> bool:
        """Whether it says anything about a size."""
        return self.weights is not None or self.parameters is not None


_NAMES = tuple(field.name for field in fields(Shape))


def from_kind(shape: ModelShape | None) -> Shape:
    """Return the shape of a resource."""
    if shape is None:
        return Shape()
    values: dict[str, Any] = {name: getattr(shape, name) for name in _NAMES}
    for name in _QUANTITIES:
        if values[name] is not None:
            values[name] = to_bytes(values[name])
    return Shape(**values)


def merge(best: Shape, rest: Shape) -> Shape:
    """Return `best` with its gaps filled: a file's weights and its quantization are not mixed with other ones."""
    filled = {name: getattr(best, name) if getattr(best, name) is not None else getattr(rest, name) for name in _NAMES}
    return Shape(**filled)
