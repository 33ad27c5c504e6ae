"""From a model to an answer: slots, circuits, and another variant where one fails before its first byte."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from hearth_api.wire.keys import Priority
from hearth_gateway.admission import Admission, Lease, VariantKey
from hearth_gateway.catalog.model import Model
from hearth_gateway.circuit import Circuits
from hearth_gateway.errors import GatewayError, ModelNotReadyError, UnavailableError, UpstreamTimeoutError
from hearth_gateway.metrics import Metrics
from hearth_gateway.record import Record
from hearth_gateway.settings import Settings
from hearth_gateway.silence import Deadline
from hearth_gateway.upstream import Answer, Stream, Upstream, VariantFailedError

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be sent. `path` is below the variant's URL."""

    model: Model
    path: str
    body: bytes
    stream: bool
    priority: Priority


class Dispatcher:
    """Holds a slot for as long as the answer lasts; the caller releases the lease it gets."""

    def __init__(
        self,
        admission: Admission,
        *,
        circuits: Circuits,
        upstream: Upstream,
        settings: Settings,
        metrics: Metrics,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._admission = admission
        self._circuits = circuits
        self._upstream = upstream
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._waiting: dict[VariantKey, set[asyncio.Timeout]] = {}

    def catalog_changed(self) -> None:
        """Give up on machines that went to sleep: who waits there for a first byte is answered by another variant."""
        now = asyncio.get_running_loop().time() if self._waiting else 0.0
        for key, waiting in self._waiting.items():
            if self._admission.has_gone(key):
                for limit in waiting:
                    if not limit.expired():
                        limit.reschedule(now)

    async def send(self, job: Job, *, record: Record) -> tuple[Answer | Stream, Lease]:
        """Return an answer (or a stream with its first byte) and the lease of the slot it uses.

        Raises
        ------
        GatewayError
            No slot in time, or no variant gave a first byte.

        """
        name = job.model.name
        room = self._settings.limits.queue_seconds(job.priority)
        deadline = Deadline(total_seconds=self._settings.timeouts.total + room)
        excluded: frozenset[str] = frozenset()
        shown: GatewayError | None = None
        while True:
            try:
                left = max(0.01, room - record.queued)
                lease = await self._admission.acquire(name, priority=job.priority, seconds=left, excluded=excluded)
            except ModelNotReadyError as error:
                raise shown or error from None
            record.queued += lease.waited
            record.attempts += 1
            record.variant = lease.variant.name
            record.degraded = job.model.degraded(lease.variant.name)
            try:
                return await self._attempt(job, lease=lease, record=record, deadline=deadline), lease
            except VariantFailedError as failure:
                shown = failure.shown
                excluded |= {lease.variant.name}

    async def _attempt(self, job: Job, *, lease: Lease, record: Record, deadline: Deadline) -> Answer | Stream:
        started = self._clock()
        try:
            answer = await self._first_byte(job, lease=lease, record=record, deadline=deadline)
        except VariantFailedError as failure:
            self._note_failure(job, lease=lease, failure=failure, record=record)
            raise
        except UpstreamTimeoutError:
            self._circuits.fail(lease.key)
            lease.release()
            raise
        except BaseException:
            # Cancelled: the client left. That says nothing about the variant.
            self._circuits.abandon(lease.key)
            lease.release()
            raise
        finally:
            record.upstream += self._clock() - started
        self._circuits.succeed(lease.key)
        return answer

    async def _first_byte(self, job: Job, *, lease: Lease, record: Record, deadline: Deadline) -> Answer | Stream:
        """Send, and stop waiting when the catalog says that the machine is gone."""
        waiting = self._waiting.setdefault(lease.key, set())
        limit = asyncio.timeout(None)
        try:
            async with limit:
                waiting.add(limit)
                return await self._upstream.send(
                    lease.variant,
                    path=job.path,
                    body=job.body,
                    request_id=record.request_id,
                    stream=job.stream,
                    deadline=deadline,
                )
        except TimeoutError as error:
            shown = UnavailableError("The model's node does not answer.", retry_after=5)
            raise VariantFailedError("machine gone", shown=shown) from error
        finally:
            waiting.discard(limit)
            if not waiting and self._waiting.get(lease.key) is waiting:
                del self._waiting[lease.key]

    def _note_failure(self, job: Job, *, lease: Lease, failure: VariantFailedError, record: Record) -> None:
        if failure.counts:
            self._circuits.fail(lease.key)
        else:
            self._circuits.abandon(lease.key)
        self._metrics.failovers.labels(job.model.name, lease.variant.name).inc()
        log.warning(
            "variant.failed",
            model=job.model.name,
            variant=lease.variant.name,
            node=lease.variant.node,
            reason=failure.reason,
            request_id=record.request_id,
        )
        lease.release()
        self._admission.wake_later(job.model.name, key=lease.key)
