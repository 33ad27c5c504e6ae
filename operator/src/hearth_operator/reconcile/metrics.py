"""The operator's own figures. Heartbeats live here, not in any status."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from hearth_operator.names import SOURCE


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
        self.ready = Gauge(
            "hearth_resource_ready", "1 when Ready is True, 0 otherwise", ["kind", "name"], registry=self.registry
        )
        self.last_run = Gauge(
            "hearth_source_last_run_timestamp_seconds",
            "Unix time at which the last run of a source ended",
            ["source"],
            registry=self.registry,
        )
        self.last_run_failed = Gauge(
            "hearth_source_last_run_failed",
            "1 when the last run of a source failed",
            ["source"],
            registry=self.registry,
        )

    def record(self, kind: str, name: str, raw: Mapping[str, Any] | None) -> None:
        """Take over what an object's status says; None: the object is gone."""
        if raw is None:
            self.ready.remove(kind, name)
            if kind == SOURCE:
                self.last_run.remove(name)
                self.last_run_failed.remove(name)
            return
        status = raw.get("status") or {}
        conditions = {item.get("type"): item.get("status") for item in status.get("conditions") or ()}
        self.ready.labels(kind, name).set(1 if conditions.get("Ready") == "True" else 0)
        run = status.get("lastRun") or {}
        if kind == SOURCE and isinstance(run.get("finished"), str):
            self.last_run.labels(name).set(datetime.fromisoformat(run["finished"]).timestamp())
            self.last_run_failed.labels(name).set(1 if run.get("outcome") == "Failed" else 0)
