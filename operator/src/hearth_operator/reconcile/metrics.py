"""The operator's own figures. Heartbeats live here, not in any status."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """All metrics of one operator."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.reconciles = Counter(
            "hearth_operator_reconciles_total", "Passes by kind and result", ["kind", "result"], registry=self.registry
        )
        self.seconds = Histogram(
            "hearth_operator_reconcile_seconds", "Duration of a pass", ["kind"], registry=self.registry
        )
        self.errors = Counter(
            "hearth_operator_errors_total", "Passes that ended in an error", ["kind", "error"], registry=self.registry
        )
        self.queue = Gauge("hearth_operator_queue_depth", "Keys that are due", registry=self.registry)
        self.node_up = Gauge(
            "hearth_node_up", "1 when the node's Ray answered the last heartbeat", ["endpoint"], registry=self.registry
        )
        self.heartbeat = Gauge(
            "hearth_node_last_heartbeat_seconds",
            "Unix time of the last answered heartbeat",
            ["endpoint"],
            registry=self.registry,
        )
