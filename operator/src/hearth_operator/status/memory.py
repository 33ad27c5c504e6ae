"""Memory in the catalog: what is planned and why, the largest that was observed, and with what."""

from dataclasses import dataclass
from typing import Any

from hearth_api.kinds.memory import MemorySource, ModelShape, ObservedWith, VariantMemory
from hearth_api.kinds.model import Variant, VariantStatus
from hearth_api.quantities import format_bytes, to_bytes
from hearth_api.wire.serve import ServeInfo, WeightsShape

_STEP = 32 * 1024**2
"""A peak that creeps up is no news until it is this much larger."""
_QUANTITIES = frozenset({"weights", "parameters", "recurrent_state"})
_MOST_BYTES = 2**60


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedMemory:
    """What the plan says of a variant's memory, in bytes."""

    estimate: int | None = None
    source: MemorySource | None = None
    words: str = ""
    reserved: int | None = None


NOT_PLANNED = PlannedMemory()


def variant_memory(
    variant: Variant, planned: PlannedMemory, *, info: ServeInfo | None, current: bool, before: VariantStatus | None
) -> tuple[VariantMemory | None, ModelShape | None]:
    """Return what the status says of memory, and the shape that was read.

    Only a replica that runs with the newest settings (`current`) tells of them. What it told stays known while it is
    away, and the largest peak counts as long as the settings are the same.
    """
    known = before.memory if before is not None else None
    seen, peak = (known.observed_with, known.peak) if known is not None else (None, None)
    shape = before.shape if before is not None else None
    if info is not None and current:
        now = _observed_with(variant, info)
        largest = -(-info.memory.peak // _STEP) * _STEP
        if seen == now and peak is not None:
            largest = max(largest, to_bytes(peak))
        seen, peak, shape = now, format_bytes(largest), shown_shape(info.shape)
    if seen is not None and (seen.source, seen.engine) != (variant.model.source, variant.engine):
        seen, peak, shape = None, None, None
    if planned.estimate is None and planned.reserved is None and peak is None:
        return None, shape
    memory = VariantMemory(
        estimate=format_bytes(planned.estimate) if planned.estimate is not None else None,
        source=planned.source,
        sum=planned.words[:256] or None,
        reserved=format_bytes(planned.reserved) if planned.reserved is not None else None,
        peak=peak,
        observed_with=seen,
    )
    return memory, shape


def _observed_with(variant: Variant, info: ServeInfo) -> ObservedWith:
    return ObservedWith(
        source=variant.model.source,
        engine=variant.engine,
        context_tokens=variant.context.max_tokens,
        concurrency=variant.context.concurrency,
        cache_type=variant.context.cache_type,
        digest=info.model_digest[:128],
    )


def shown_shape(shape: WeightsShape | None) -> ModelShape | None:
    """Return what an engine read as a resource shows it. Whatever the schema would refuse is left out."""
    if shape is None:
        return None
    kept: dict[str, Any] = {}
    for name in WeightsShape.model_fields:
        value = getattr(shape, name)
        if value is None:
            continue
        if name in _QUANTITIES:
            if not 0 <= value <= _MOST_BYTES:
                continue
            value = format_bytes(value)
        try:
            ModelShape.model_validate({name: value})
        except ValueError:
            continue
        kept[name] = value
    return ModelShape.model_validate(kept) if kept else None
