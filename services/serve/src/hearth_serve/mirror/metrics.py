"""Figures of the mirror for Prometheus, read when they are asked for."""

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from hearth_api.wire.weights import WeightsState
from hearth_serve.weights.downloads import Downloads


class Metrics:
    """All instruments, on a registry of their own."""

    def __init__(self, downloads: Downloads) -> None:
        self.registry = CollectorRegistry()
        self.sent = Counter("hearth_mirror_sent_bytes", "Bytes handed to machines.", registry=self.registry)
        self.registry.register(_Reader(downloads))


@dataclass(frozen=True, slots=True, eq=False)
class _Reader(Collector):
    downloads: Downloads

    def describe(self) -> Iterator[Metric]:
        """Promise nothing, so that nothing is asked before the downloads run."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        sources = GaugeMetricFamily("hearth_mirror_sources", "Sources by how far they are.", labels=["state"])
        told = self.downloads.status()
        for state in WeightsState:
            sources.add_metric([state.value], sum(one.state is state for one in told))
        yield sources
        rate = sum(one.rate for one in told)
        yield GaugeMetricFamily("hearth_mirror_receive_bytes_per_second", "Bytes from outside.", value=rate)
        try:
            store = self.downloads.store.status()
        except OSError:
            return  # its volume is gone: the sources say so
        yield GaugeMetricFamily("hearth_mirror_store_used_bytes", "Bytes in the store.", value=store.used)
        yield GaugeMetricFamily("hearth_mirror_store_free_bytes", "Bytes that its volume has left.", value=store.free)
