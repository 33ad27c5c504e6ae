"""What is planned for a variant, by the best figure there is.

In this order: `resources.memory`; the estimate corrected by the peak that was observed with the same weights and
context; the estimate from the shape that the engine read in the files, its gaps filled with the declared one.
"""

from dataclasses import dataclass, replace

from hearth_api.kinds import InferenceNode, ModelDeployment
from hearth_api.kinds.memory import MemorySource
from hearth_api.kinds.model import Variant, VariantStatus
from hearth_api.kinds.node import AcceleratorType
from hearth_api.quantities import to_bytes
from hearth_api.wire.serve import Task
from hearth_operator.plan.fit.estimate import Estimate, estimate, show
from hearth_operator.plan.fit.shape import Shape, from_kind, merge
from hearth_operator.plan.fit.workload import workload_of
from hearth_operator.plan.room import allocatable

_MARGIN_TENTHS = 11
"""A peak may not have been the last: a tenth more is kept free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Bytes, and where the figure comes from. `total` is None where nothing is known."""

    total: int | None
    source: MemorySource
    guess: Estimate | None = None
    peak: int | None = None
    runs: bool = False
    """It was observed with just these settings: what runs takes this much already."""

    @property
    def words(self) -> str:
        """The figure in words."""
        if self.source is MemorySource.DECLARED:
            peak = self.peak or 0
            more = f", although {show(peak)} were observed" if peak > (self.total or 0) else ""
            return f"declared in resources.memory{more}"
        if self.source is MemorySource.OBSERVED and self.peak is not None:
            return f"peak {show(self.peak)} observed, and up to a tenth more"
        if self.guess is None:
            return "neither declared nor known from its shape"
        return self.guess.sentence + (f"; peak {show(self.peak)}" if self.peak is not None else "")


def need_of(variant: Variant, task: Task, node: InferenceNode, *, before: VariantStatus | None) -> Need:
    """Return what a variant needs on a node. `before` is its entry in the status."""
    runs = same_settings(variant, before)
    seen = before.memory.peak if runs and before is not None and before.memory is not None else None
    accelerator = node.spec.accelerator.type
    # A process on a CUDA machine keeps its weights in the card's memory: its own peak says nothing of that.
    peak = to_bytes(seen) if seen is not None and accelerator is not AcceleratorType.CUDA else None
    declared = variant.resources.memory_bytes
    if declared is not None:
        return Need(total=declared, source=MemorySource.DECLARED, peak=peak)
    read = same_weights(variant, before)
    known = from_kind(before.shape) if read and before is not None else Shape()
    guess = estimate(merge(known, from_kind(variant.model.shape)), workload_of(variant, task, node))
    if peak is not None:
        found = _corrected(guess, peak, read=known.known, accelerator=accelerator)
        room = allocatable(node).memory
        if room is not None and found.source is MemorySource.OBSERVED and peak <= room < (found.total or 0):
            return replace(found, total=room)  # what ran there is not sent away for the margin's sake
        return found
    if guess is None:
        return Need(total=None, source=MemorySource.UNKNOWN)
    return Need(total=guess.total, source=MemorySource.ESTIMATED, guess=guess, runs=runs)


def _corrected(guess: Estimate | None, peak: int, *, read: bool, accelerator: AcceleratorType) -> Need:
    """Return the need that a peak leads to. On a processor it is the truth, as far as it goes: weights and context
    that were read in the file are there, whether they were touched or not. What Metal takes is only partly in it.
    """
    total = -(-peak * _MARGIN_TENTHS // 10)
    if guess is not None:
        floor = guess.total if accelerator is AcceleratorType.METAL else guess.weights + guess.cache if read else 0
        if floor > total:
            return Need(total=floor, source=MemorySource.ESTIMATED, guess=guess, peak=peak, runs=True)
    return Need(total=total, source=MemorySource.OBSERVED, guess=guess, peak=peak, runs=True)


def same_weights(variant: Variant, before: VariantStatus | None) -> bool:
    """Whether what was observed is of the files that the variant names now."""
    seen = before.memory.observed_with if before is not None and before.memory is not None else None
    if seen is None or (seen.source, seen.engine) != (variant.model.source, variant.engine):
        return False
    return variant.model.sha256 is None or seen.digest is None or variant.model.sha256 == seen.digest


def same_settings(variant: Variant, before: VariantStatus | None) -> bool:
    """Whether what was observed is of these files and this context."""
    if not same_weights(variant, before) or before is None or before.memory is None:
        return False
    seen, context = before.memory.observed_with, variant.context
    return seen is not None and (seen.context_tokens, seen.concurrency, seen.cache_type) == (
        context.max_tokens,
        context.concurrency,
        context.cache_type,
    )


def status_of(model: ModelDeployment, variant: str) -> VariantStatus | None:
    """Return the entry of a variant in the status."""
    return next((entry for entry in model.status.variants if entry.name == variant), None)
