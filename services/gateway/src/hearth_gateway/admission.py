"""Slots and priorities: which request may use which variant, and who waits."""

import asyncio
import bisect
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from hearth_api.wire.keys import Priority
from hearth_gateway.auth import RANK
from hearth_gateway.catalog.model import UNREACHABLE, Catalog, Model, Variant
from hearth_gateway.circuit import Circuits
from hearth_gateway.errors import ModelNotReadyError, QueueFullError, QueueTimeoutError

NOT_READY_RETRY = 5.0
MAX_RETRY = 60.0
SMOOTHING = 0.2

VariantKey = tuple[str, str, str]


def variant_key(model: str, variant: Variant) -> VariantKey:
    """Return what a slot and a circuit belong to. A new URL is a new place."""
    return (model, variant.name, variant.url)


@dataclass(slots=True, eq=False)
class _Waiter:
    order: tuple[int, int]
    priority: Priority
    excluded: frozenset[str]
    future: asyncio.Future[Variant]


@dataclass(slots=True)
class _Queue:
    waiters: list[_Waiter] = field(default_factory=list)
    seconds: float = 1.0
    """Smoothed time that a request holds a slot; only for Retry-After."""


class Lease:
    """One slot of one variant. `release` exactly once; more are harmless."""

    def __init__(self, admission: "Admission", *, model: str, variant: Variant, waited: float) -> None:
        self._admission = admission
        self._since = admission.monotonic()
        self._held = True
        self.model = model
        self.variant = variant
        self.waited = waited

    @property
    def key(self) -> VariantKey:
        """The variant's key."""
        return variant_key(self.model, self.variant)

    def release(self) -> None:
        """Give the slot to the next waiter."""
        if self._held:
            self._held = False
            self._admission.give_back(self, seconds=self._admission.monotonic() - self._since)


class Admission:
    """Per-model queues in front of per-variant slots.

    A request takes the first variant, in the owner's order, that has a free slot and a closed circuit; otherwise it
    waits. Waiters go by priority, then by arrival. A full queue turns away whoever is least urgent and came last.
    """

    def __init__(
        self,
        catalog: Callable[[], Catalog],
        *,
        circuits: Circuits,
        queue_limit: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalog = catalog
        self._circuits = circuits
        self._limit = queue_limit
        self._queues: dict[str, _Queue] = {}
        self._busy: dict[VariantKey, int] = {}
        self._sequence = itertools.count()
        self.monotonic = monotonic

    async def acquire(
        self, model: str, *, priority: Priority, seconds: float, excluded: frozenset[str] = frozenset()
    ) -> Lease:
        """Wait for a slot, at most `seconds`. `excluded` are variants that already failed this request.

        Raises
        ------
        ModelNotReadyError
            No variant could answer even with free slots.
        QueueFullError
            Too many wait.
        QueueTimeoutError
            None became free in time.

        """
        self._require_candidate(model, excluded=excluded)
        variant = self._free_variant(model, excluded=excluded)
        if variant is not None:
            return self._lease(model, variant=variant, waited=0.0)
        started = self.monotonic()
        variant = await self._wait(model, priority=priority, seconds=seconds, excluded=excluded)
        return self._lease(model, variant=variant, waited=self.monotonic() - started, taken=True)

    def give_back(self, lease: Lease, *, seconds: float) -> None:
        """Free a slot (called by Lease) and hand it on."""
        key = lease.key
        left = self._busy.get(key, 0) - 1
        if left > 0:
            self._busy[key] = left
        else:
            self._busy.pop(key, None)
        queue = self._queues.setdefault(lease.model, _Queue())
        queue.seconds += SMOOTHING * (seconds - queue.seconds)
        self.dispatch(lease.model)

    def dispatch(self, model: str) -> None:
        """Give free slots to waiters, most urgent first."""
        queue = self._queues.get(model)
        if queue is None or not queue.waiters:
            return
        for waiter in list(queue.waiters):
            if waiter.future.done():
                queue.waiters.remove(waiter)
                continue
            variant = self._free_variant(model, excluded=waiter.excluded)
            if variant is None:
                continue
            queue.waiters.remove(waiter)
            self._take(model, variant=variant)
            waiter.future.set_result(variant)

    def catalog_changed(self) -> None:
        """Look at every queue again: a variant may have come, or have more slots."""
        for model in list(self._queues):
            self.dispatch(model)

    def has_gone(self, key: VariantKey) -> bool:
        """Whether the variant's machine stopped answering while another variant could take its requests."""
        model = self._catalog().models.get(key[0])
        if model is None:
            return False
        gone = any(v.state == UNREACHABLE and variant_key(model.name, v) == key for v in model.variants)
        return gone and any(self._circuits.allows(variant_key(model.name, other)) for other in model.candidates)

    def wake_later(self, model: str, *, key: VariantKey) -> None:
        """Look at the queue again when an open circuit admits a trial."""
        wait = self._circuits.wait(key)
        if wait > 0:
            asyncio.get_running_loop().call_later(wait + 0.001, self.dispatch, model)

    def waiting(self, model: str) -> dict[Priority, int]:
        """Return how many wait, by class."""
        queue = self._queues.get(model)
        waiters = queue.waiters if queue else []
        return {priority: sum(waiter.priority is priority for waiter in waiters) for priority in Priority}

    def busy(self, model: str, variant: Variant) -> int:
        """Return how many slots of a variant are taken."""
        return self._busy.get(variant_key(model, variant), 0)

    def resting(self, model: str, variant: Variant) -> bool:
        """Whether a variant failed its last requests and is left alone for a moment."""
        return not self._circuits.allows(variant_key(model, variant))

    async def _wait(self, model: str, *, priority: Priority, seconds: float, excluded: frozenset[str]) -> Variant:
        queue = self._queues.setdefault(model, _Queue())
        waiter = _Waiter(
            order=(RANK[priority], next(self._sequence)),
            priority=priority,
            excluded=excluded,
            future=asyncio.get_running_loop().create_future(),
        )
        if len(queue.waiters) >= self._limit:
            self._turn_away(model, queue=queue, newcomer=waiter)
        bisect.insort(queue.waiters, waiter, key=lambda item: item.order)
        used = False
        try:
            async with asyncio.timeout(seconds):
                variant = await waiter.future
            used = True
            return variant
        except TimeoutError as error:
            raise QueueTimeoutError(
                f"The model '{model}' was busy for {seconds:.0f} s.", retry_after=self._retry_after(model, queue=queue)
            ) from error
        finally:
            if waiter in queue.waiters:
                queue.waiters.remove(waiter)
            if not used and waiter.future.done() and not waiter.future.cancelled() and not waiter.future.exception():
                # The slot was handed over in the same turn of the loop in which the waiter gave up.
                self._lease(model, variant=waiter.future.result(), waited=0.0, taken=True).release()

    def _turn_away(self, model: str, *, queue: _Queue, newcomer: _Waiter) -> None:
        error = QueueFullError(
            f"{len(queue.waiters)} requests wait for the model '{model}'.",
            retry_after=self._retry_after(model, queue=queue),
        )
        last = queue.waiters[-1]
        if last.order[0] <= newcomer.order[0]:
            raise error
        queue.waiters.remove(last)
        if not last.future.done():
            last.future.set_exception(error)

    def _retry_after(self, model: str, *, queue: _Queue) -> float:
        slots = sum(variant.slots for variant in self._candidates(model)) or 1
        return min(MAX_RETRY, max(1.0, queue.seconds * (len(queue.waiters) + 1) / slots))

    def _candidates(self, model: str) -> tuple[Variant, ...]:
        found = self._catalog().models.get(model)
        return found.candidates if found else ()

    def _free_variant(self, model: str, *, excluded: frozenset[str]) -> Variant | None:
        for variant in self._candidates(model):
            key = variant_key(model, variant)
            if variant.name in excluded or self._busy.get(key, 0) >= variant.slots:
                continue
            if self._circuits.allows(key):
                return variant
        return None

    def _require_candidate(self, model: str, *, excluded: frozenset[str]) -> None:
        found = self._catalog().models.get(model)
        candidates = [variant for variant in self._candidates(model) if variant.name not in excluded]
        if found is None or not candidates:
            raise ModelNotReadyError(not_ready_sentence(found, name=model), retry_after=NOT_READY_RETRY)
        waits = [self._circuits.wait(variant_key(model, variant)) for variant in candidates]
        if min(waits) > 0:
            raise ModelNotReadyError(
                f"The model '{model}' did not answer just now; it is tried again shortly.", retry_after=min(waits)
            )

    def _take(self, model: str, *, variant: Variant) -> None:
        key = variant_key(model, variant)
        self._busy[key] = self._busy.get(key, 0) + 1
        self._circuits.begin(key)

    def _lease(self, model: str, *, variant: Variant, waited: float, taken: bool = False) -> Lease:
        if not taken:
            self._take(model, variant=variant)
        return Lease(self, model=model, variant=variant, waited=waited)


def not_ready_sentence(model: Model | None, *, name: str) -> str:
    """Say why a model cannot answer, with its Ready condition's words."""
    if model is None:
        return f"The model '{name}' is gone."
    if model.suspended:
        return f"The model '{name}' is suspended."
    why = model.message if not model.ready and model.message else "none of its variants is available"
    states = ", ".join(f"{variant.name}: {variant.state}" for variant in model.variants)
    return f"The model '{name}' is not ready: {why}." + (f" Variants: {states}." if states else "")
