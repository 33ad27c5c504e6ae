"""Figures for Prometheus. Labels are routes, models, variants and classes: never a person, a key or a question."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from hearth_gateway.admission import Admission
from hearth_gateway.catalog.source import CatalogSource

LATENCY = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
OVERHEAD = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)


class Metrics:
    """All instruments, on a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        prefix, registry = "hearth_gateway", self.registry
        self.requests = Counter(
            f"{prefix}_requests", "Requests by outcome.", ["route", "model", "status"], registry=registry
        )
        self.seconds = Histogram(
            f"{prefix}_request_seconds", "Whole request.", ["route", "model"], buckets=LATENCY, registry=registry
        )
        self.first_byte = Histogram(
            f"{prefix}_first_byte_seconds",
            "Until the model's first byte.",
            ["model"],
            buckets=LATENCY,
            registry=registry,
        )
        self.queue = Histogram(
            f"{prefix}_queue_seconds", "Wait for a slot.", ["model", "priority"], buckets=LATENCY, registry=registry
        )
        self.overhead = Histogram(
            f"{prefix}_overhead_seconds",
            "Our own part of the time to the first byte.",
            ["route"],
            buckets=OVERHEAD,
            registry=registry,
        )
        self.retrieval = Histogram(
            f"{prefix}_retrieval_seconds", "Search before an answer.", buckets=LATENCY, registry=registry
        )
        self.failovers = Counter(
            f"{prefix}_variant_failures",
            "Attempts that failed before the first byte.",
            ["model", "variant"],
            registry=registry,
        )
        self.tokens = Counter(
            f"{prefix}_tokens", "Tokens as the models count them.", ["model", "kind"], registry=registry
        )
        self.in_flight = Gauge(f"{prefix}_requests_in_flight", "Requests being served.", registry=registry)

    def watch(self, source: CatalogSource, *, admission: Admission) -> None:
        """Add the gauges that are read from the live objects when they are asked for."""
        self.registry.register(_Live(source, admission=admission))


class _Live(Collector):
    def __init__(self, source: CatalogSource, *, admission: Admission) -> None:
        self._source = source
        self._admission = admission

    def collect(self) -> list[Metric]:
        """Return slots and queues as they are now."""
        slots = GaugeMetricFamily("hearth_gateway_slots", "Slots of a variant.", labels=["model", "variant", "state"])
        queue = GaugeMetricFamily("hearth_gateway_queue_length", "Waiting requests.", labels=["model", "priority"])
        for model in self._source.catalog.models.values():
            for variant in model.variants:
                busy = self._admission.busy(model.name, variant)
                slots.add_metric([model.name, variant.name, "busy"], busy)
                slots.add_metric([model.name, variant.name, "total"], variant.slots if variant.usable else 0)
            for priority, count in self._admission.waiting(model.name).items():
                queue.add_metric([model.name, priority.value], count)
        synced = GaugeMetricFamily("hearth_gateway_catalog_synced", "1 when the catalog was read.")
        synced.add_metric([], int(self._source.synced))
        return [slots, queue, synced]
