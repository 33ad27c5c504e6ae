"""The operator's own figures. Heartbeats live here, not in any status."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from importlib.metadata import version
from platform import python_version
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from hearth_operator.names import MODEL, SOURCE
from hearth_operator.reconcile.machine_metrics import MachineCollector
from hearth_operator.reconcile.pulse import Heart
from hearth_operator.reconcile.queue import KeyedQueue
from hearth_operator.reconcile.world import GuestWatch, WakeWatch


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
        self.oldest = Gauge(
            "hearth_operator_queue_oldest_seconds", "Age of the key that has waited longest", registry=self.registry
        )
        self.longest = Gauge(
            "hearth_operator_longest_pass_seconds", "Age of the oldest pass that goes on", registry=self.registry
        )
        self.lag = Gauge(
            "hearth_operator_loop_lag_seconds", "By how much the workers' loop was late", registry=self.registry
        )
        self.node_up = Gauge(
            "hearth_node_up",
            "1 when the node's Ray answered the last heartbeat",
            ["node", "endpoint"],
            registry=self.registry,
        )
        self.heartbeat = Gauge(
            "hearth_node_last_heartbeat_seconds",
            "Unix time of the last answered heartbeat",
            ["node", "endpoint"],
            registry=self.registry,
        )
        self._nodes: dict[str, frozenset[str]] = {}
        self.available = Gauge(
            "hearth_model_available", "1 when a variant of the model answers", ["model"], registry=self.registry
        )
        self.variant_available = Gauge(
            "hearth_model_variant_available",
            "1 when requests may be sent to the variant",
            ["model", "variant"],
            registry=self.registry,
        )
        self.failovers = Counter(
            "hearth_model_failovers_total",
            "How often another variant than before came to serve",
            ["model", "from", "to"],
            registry=self.registry,
        )
        self._variants: dict[str, frozenset[str]] = {}
        self._serving: dict[str, str] = {}
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

        build = Gauge("hearth_operator_build_info", "1", ["version", "python"], registry=self.registry)
        build.labels(version("hearth-operator"), python_version()).set(1)

    def tell_machines(
        self, guests: Callable[[], Mapping[str, GuestWatch]], wakes: Callable[[], Mapping[str, WakeWatch]]
    ) -> None:
        """Have what joined machines tell of themselves, and how often they were woken, read from there."""
        self.registry.register(MachineCollector(guests, wakes))

    def watch(self, queue: KeyedQueue, heart: Heart) -> None:
        """Have what is asked for read from the queue and the loop."""
        self.queue.set_function(lambda: len(queue))
        self.oldest.set_function(lambda: age[1] if (age := queue.longest_due()) is not None else 0.0)
        self.longest.set_function(lambda: age[1] if (age := queue.longest_busy()) is not None else 0.0)
        self.lag.set_function(lambda: heart.lag)

    def record_endpoint(self, url: str, nodes: Iterable[str], *, up: bool, now: datetime) -> None:
        """Take over one heartbeat, for every node behind the endpoint; nodes that went elsewhere are no longer told."""
        here = frozenset(nodes)
        for node in self._nodes.get(url, frozenset()) - here:
            self.node_up.remove(node, url)
            self.heartbeat.remove(node, url)
        self._nodes[url] = here
        if not here:
            del self._nodes[url]
        for node in here:
            self.node_up.labels(node, url).set(1 if up else 0)
            if up:
                self.heartbeat.labels(node, url).set(now.timestamp())

    def _record_variants(self, model: str, status: Mapping[str, Any]) -> None:
        """Take over who can serve, and count when another one does than before, also with a break in between."""
        states = {str(v.get("name")): v.get("state") for v in status.get("variants") or ()}
        for gone in self._variants.get(model, frozenset()) - states.keys():
            self.variant_available.remove(model, gone)
        self._variants[model] = frozenset(states)
        if not states:
            del self._variants[model]
        for variant, state in states.items():
            self.variant_available.labels(model, variant).set(1 if state == "Available" else 0)
        serving = status.get("serving")
        if isinstance(serving, str):
            before = self._serving.get(model, serving)
            self._serving[model] = serving
            if before != serving:
                self.failovers.labels(model, before, serving).inc()

    def record(self, kind: str, name: str, raw: Mapping[str, Any] | None) -> None:
        """Take over what an object's status says; None: the object is gone."""
        if raw is None:
            self.ready.remove(kind, name)
            if kind == MODEL:
                self.available.remove(name)
                self._record_variants(name, {})
                self._serving.pop(name, None)
            if kind == SOURCE:
                self.last_run.remove(name)
                self.last_run_failed.remove(name)
            return
        status = raw.get("status") or {}
        conditions = {item.get("type"): item.get("status") for item in status.get("conditions") or ()}
        self.ready.labels(kind, name).set(1 if conditions.get("Ready") == "True" else 0)
        if kind == MODEL:
            self.available.labels(name).set(1 if conditions.get("Available") == "True" else 0)
            self._record_variants(name, status)
        run = status.get("lastRun") or {}
        if kind == SOURCE and isinstance(run.get("finished"), str):
            self.last_run.labels(name).set(datetime.fromisoformat(run["finished"]).timestamp())
            self.last_run_failed.labels(name).set(1 if run.get("outcome") == "Failed" else 0)
