"""The Grafana dashboard as data: rows of panels, each a title, a unit and queries with legends."""

from dataclasses import dataclass
from typing import Any

WIDTH = 8
HEIGHT = 7


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. `queries` are (PromQL, legend)."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "timeseries"


def _quantile(metric: str, by: str) -> str:
    return f"histogram_quantile(0.95, sum by (le, {by}) (rate({metric}_bucket[5m])))"


ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "Now",
        (
            Panel("Machines that answer", "short", (("hearth_node_up", "{{node}}"),), "stat"),
            Panel("Models that answer", "short", (("hearth_model_available", "{{model}}"),), "stat"),
            Panel("Not Ready", "short", (("count(hearth_resource_ready == 0) or vector(0)", "resources"),), "stat"),
            Panel("Requests in flight", "short", (("hearth_gateway_requests_in_flight", "requests"),), "stat"),
        ),
    ),
    (
        "Models",
        (
            Panel("Variants that answer", "short", (("hearth_model_variant_available", "{{model}}.{{variant}}"),)),
            Panel(
                "Moves to another variant",
                "short",
                (
                    (
                        "sum by (model, from, to) (increase(hearth_model_failovers_total[15m]))",
                        "{{model}}: {{from}} to {{to}}",
                    ),
                ),
            ),
        ),
    ),
    (
        "Machines that joined",
        (
            Panel("Left to their owner", "short", (("hearth_node_yielding", "{{node}}"),), "stat"),
            Panel(
                "Main memory that is free",
                "percentunit",
                (
                    (
                        "hearth_machine_memory_available_bytes / hearth_machine_memory_total_bytes",
                        "{{node}}",
                    ),
                ),
            ),
            Panel("Memory of cards", "bytes", (("hearth_machine_gpu_memory_used_bytes", "{{node}} {{gpu}}"),)),
            Panel("Cards at work", "percentunit", (("hearth_machine_gpu_utilization_ratio", "{{node}} {{gpu}}"),)),
            Panel("Power", "watt", (("hearth_machine_power_watts", "{{node}} {{part}}"),)),
            Panel(
                "Woken",
                "short",
                (("sum by (node, result) (increase(hearth_node_wakes_total[15m]))", "{{node}} {{result}}"),),
            ),
        ),
    ),
    (
        "Answers",
        (
            Panel(
                "Requests",
                "reqps",
                (("sum by (model, status) (rate(hearth_gateway_requests_total[5m]))", "{{model}} {{status}}"),),
            ),
            Panel("First byte, 95 %", "s", ((_quantile("hearth_gateway_first_byte_seconds", "model"), "{{model}}"),)),
            Panel("Whole answer, 95 %", "s", ((_quantile("hearth_gateway_request_seconds", "model"), "{{model}}"),)),
            Panel(
                "Tokens",
                "short",
                (("sum by (model, kind) (rate(hearth_gateway_tokens_total[5m]))", "{{model}} {{kind}}/s"),),
            ),
            Panel(
                "Slots",
                "short",
                (("hearth_gateway_slots", "{{model}}.{{variant}} {{state}}"),),
            ),
            Panel(
                "Waiting, and attempts that failed",
                "short",
                (
                    ("sum by (model, priority) (hearth_gateway_queue_length)", "{{model}} {{priority}}"),
                    ("rate(hearth_gateway_variant_failures_total[5m])", "{{model}}.{{variant}} failed/s"),
                ),
            ),
            Panel("Our own part, 95 %", "s", ((_quantile("hearth_gateway_overhead_seconds", "route"), "{{route}}"),)),
            Panel("Wait for a slot, 95 %", "s", ((_quantile("hearth_gateway_queue_seconds", "model"), "{{model}}"),)),
            Panel(
                "Search before an answer, 95 %",
                "s",
                (("histogram_quantile(0.95, rate(hearth_gateway_retrieval_seconds_bucket[5m]))", "retrieval"),),
            ),
        ),
    ),
    (
        "Knowledge",
        (
            Panel("Waiting documents", "short", (("hearth_knowledge_queue", "{{kb}} {{state}}"),)),
            Panel("Chunks indexed", "short", (("rate(hearth_knowledge_chunks_indexed_total[5m])", "{{kb}}/s"),)),
            Panel(
                "Search, 95 %", "s", ((_quantile("hearth_knowledge_search_seconds", "kb, mode"), "{{kb}} {{mode}}"),)
            ),
            Panel("Reranking, 95 %", "s", ((_quantile("hearth_knowledge_rerank_seconds", "kb"), "{{kb}}"),)),
            Panel(
                "What became of handed-over lines",
                "short",
                (("rate(hearth_knowledge_lines_total[5m])", "{{kb}} {{state}}/s"),),
            ),
            Panel(
                "Failures and repairs",
                "short",
                (
                    ("rate(hearth_knowledge_index_failures_total[15m])", "{{kb}} not indexed"),
                    ("rate(hearth_knowledge_index_repaired_total[15m])", "{{kb}} repaired"),
                    ("rate(hearth_knowledge_degraded_searches_total[15m])", "{{kb}} searched without vectors"),
                    (
                        'rate(hearth_knowledge_rerank_seconds_count{outcome!="ranked"}[15m])',
                        "{{kb}} not reranked: {{outcome}}",
                    ),
                ),
            ),
            Panel(
                "Age of the last backup",
                "s",
                (("time() - hearth_knowledge_backup_last_success_timestamp_seconds", "age"),),
            ),
            Panel(
                "Backup",
                "short",
                (
                    ("hearth_knowledge_backup_last_size_bytes", "bytes"),
                    ("hearth_knowledge_backup_last_duration_seconds", "seconds"),
                ),
            ),
            Panel("Age of the last run", "s", (("time() - hearth_source_last_run_timestamp_seconds", "{{source}}"),)),
        ),
    ),
    (
        "Way out",
        (
            Panel("Tunnels", "short", (("hearth_egress_tunnels_open", "open"),)),
            Panel(
                "Verdicts", "short", (("sum by (verdict) (rate(hearth_egress_tunnels_total[5m]))", "{{verdict}}/s"),)
            ),
            Panel(
                "Bytes",
                "Bps",
                (("sum by (source, direction) (rate(hearth_egress_bytes_total[5m]))", "{{source}} {{direction}}"),),
            ),
            Panel(
                "Mirror of weights",
                "Bps",
                (
                    ("hearth_mirror_receive_bytes_per_second", "from outside"),
                    ("rate(hearth_mirror_sent_bytes_total[5m])", "to machines"),
                ),
            ),
            Panel(
                "Mirror's store",
                "bytes",
                (("hearth_mirror_store_used_bytes", "used"), ("hearth_mirror_store_free_bytes", "free")),
            ),
            Panel("Mirror's sources", "short", (("hearth_mirror_sources", "{{state}}"),)),
        ),
    ),
    (
        "Operator",
        (
            Panel(
                "Passes",
                "short",
                (("sum by (kind, result) (rate(hearth_operator_reconciles_total[5m]))", "{{kind}} {{result}}/s"),),
            ),
            Panel("Pass, 95 %", "s", ((_quantile("hearth_operator_reconcile_seconds", "kind"), "{{kind}}"),)),
            Panel("Keys that are due", "short", (("hearth_operator_queue_depth", "keys"),)),
            Panel(
                "Longest wait, longest pass, lag",
                "s",
                (
                    ("hearth_operator_queue_oldest_seconds", "waits"),
                    ("hearth_operator_longest_pass_seconds", "pass"),
                    ("hearth_operator_loop_lag_seconds", "lag"),
                ),
            ),
        ),
    ),
)


def build_dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana imports it; the data source is chosen in it."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, members in ROWS:
        panels.append({"type": "row", "title": title, "id": len(panels) + 1, "gridPos": _place(0, y, w=24, h=1)})
        y += 1
        for number, panel in enumerate(members):
            place = _place(number % 3 * WIDTH, y + number // 3 * HEIGHT, w=WIDTH, h=HEIGHT)
            panels.append(_panel(panel, number=len(panels) + 1, place=place))
        y += -(-len(members) // 3) * HEIGHT
    source = {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    return {
        "title": "Hearth",
        "uid": "hearth",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [source]},
        "panels": panels,
    }


def _place(x: int, y: int, *, w: int, h: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": w, "h": h}


def _panel(panel: Panel, *, number: int, place: dict[str, int]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${source}"}
    return {
        "type": panel.kind,
        "title": panel.title,
        "id": number,
        "gridPos": place,
        "datasource": source,
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + position), "expr": query, "legendFormat": legend, "datasource": source}
            for position, (query, legend) in enumerate(panel.queries)
        ],
    }
