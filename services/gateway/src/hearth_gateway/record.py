"""One request, as its log line and its figures tell it: ids, counts and times, never content."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from hearth_gateway.metrics import Metrics

log = structlog.get_logger()

CLIENT_GONE = 499
USAGE = re.compile(rb'"(prompt_tokens|completion_tokens)"\s*:\s*(\d{1,9})')
USAGE_TAIL = 1024


@dataclass(slots=True)
class Record:
    """Facts gathered while a request is served. Times in seconds."""

    route: str
    request_id: str
    clock: Callable[[], float] = time.perf_counter
    started: float = field(init=False)
    caller: str | None = None
    model: str | None = None
    variant: str | None = None
    priority: str | None = None
    stream: bool = False
    degraded: bool = False
    knowledge_bases: int = 0
    passages: int = 0
    attempts: int = 0
    queued: float = 0.0
    retrieval: float = 0.0
    upstream: float = 0.0
    first_byte: float | None = None
    overhead: float | None = None
    usage: dict[str, int] = field(default_factory=dict)
    error: str | None = None

    def __post_init__(self) -> None:
        self.started = self.clock()

    def answered(self) -> None:
        """Note that the response starts now: what was neither queue, search nor model was our own time."""
        elapsed = self.clock() - self.started
        self.first_byte = elapsed
        self.overhead = max(0.0, elapsed - self.queued - self.retrieval - self.upstream)

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the response headers that tell what happened."""
        found = [(b"x-request-id", self.request_id.encode())]
        if self.variant is not None and self.overhead is not None:
            found += [
                (b"x-hearth-variant", self.variant.encode("ascii", "replace")),
                (b"x-hearth-overhead-ms", f"{self.overhead * 1000:.2f}".encode()),
                (b"x-hearth-queue-ms", f"{self.queued * 1000:.2f}".encode()),
            ]
            if self.degraded:
                found.append((b"x-hearth-degraded", b"true"))
        return found

    def read_usage(self, tail: bytes) -> None:
        """Find token counts in the last bytes of an answer without parsing all of it."""
        self.usage = {name.decode(): int(count) for name, count in USAGE.findall(tail[-USAGE_TAIL:])}

    def close(self, status: int, *, metrics: Metrics) -> None:
        """Write the log line and the figures."""
        elapsed = self.clock() - self.started
        model = self.model or ""
        metrics.requests.labels(self.route, model, str(status)).inc()
        metrics.seconds.labels(self.route, model).observe(elapsed)
        if self.variant is not None:
            metrics.queue.labels(model, self.priority or "").observe(self.queued)
            if self.first_byte is not None and self.overhead is not None:
                metrics.first_byte.labels(model).observe(self.first_byte)
                metrics.overhead.labels(self.route).observe(self.overhead)
        for name, count in self.usage.items():
            metrics.tokens.labels(model, name.removesuffix("_tokens")).inc(count)
        log.info(
            "request",
            route=self.route, status=status, request_id=self.request_id, caller=self.caller, model=self.model,
            variant=self.variant, priority=self.priority, stream=self.stream, attempts=self.attempts,
            knowledge_bases=self.knowledge_bases, passages=self.passages, total_ms=_ms(elapsed),
            queue_ms=_ms(self.queued), retrieval_ms=_ms(self.retrieval), first_byte_ms=_ms(self.first_byte),
            overhead_ms=_ms(self.overhead), error=self.error, **self.usage,
        )  # fmt: skip


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)
