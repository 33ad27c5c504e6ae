"""Figures for Prometheus. Labels are verdicts, directions and sources' names: never a host that a caller made up."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 7200)


class Metrics:
    """All instruments, on a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        prefix, registry = "hearth_egress", self.registry
        self.tunnels = Counter(f"{prefix}_tunnels", "Requests by verdict.", ["verdict"], registry=registry)
        self.open = Gauge(f"{prefix}_tunnels_open", "Tunnels that are open.", registry=registry)
        self.bytes = Counter(
            f"{prefix}_bytes", "Bytes passed, sent to servers or received.", ["source", "direction"], registry=registry
        )
        self.seconds = Histogram(
            f"{prefix}_tunnel_seconds", "How long tunnels were open.", buckets=SECONDS, registry=registry
        )
