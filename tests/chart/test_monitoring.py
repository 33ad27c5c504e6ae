"""Alerts and panels speak of metrics that exist: names, labels and expressions are checked against the parts' own
registries and by promtool."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from prometheus_client import CollectorRegistry

from hearth_chart.dashboard import ROWS
from hearth_egress.metrics import Metrics as EgressMetrics
from hearth_gateway.metrics import Metrics as GatewayMetrics
from hearth_knowledge.metrics import Metrics as KnowledgeMetrics
from hearth_operator.reconcile.metrics import Metrics as OperatorMetrics
from hearth_serve.mirror.metrics import Metrics as MirrorMetrics
from hearth_serve.weights.downloads import Downloads
from support.metrics import LIVE_SERIES

FILES = Path(__file__).resolve().parents[2] / "charts" / "hearth" / "files" / "monitoring"
GROUPS = yaml.safe_load((FILES / "rules.yaml").read_text())["groups"]
ALERTS = [rule for group in GROUPS for rule in group["rules"]]
QUERIES = [query for _, panels in ROWS for panel in panels for query, _ in panel.queries]
ADDED_BY_PROMETHEUS = {"le", "job", "instance", "namespace", "pod"}


def _series(registry: CollectorRegistry) -> dict[str, set[str]]:
    """Series names with their labels, also of instruments that nothing has used yet."""
    found: dict[str, set[str]] = {}
    for collector in set(registry._collector_to_names):
        labels = set(getattr(collector, "_labelnames", ()))
        for name in registry._collector_to_names[collector]:
            found[name] = labels | ({"le"} if name.endswith("_bucket") else set())
    return found


@pytest.fixture(scope="module")
def series() -> dict[str, set[str]]:
    found: dict[str, set[str]] = dict(LIVE_SERIES)
    mirror = MirrorMetrics(cast("Downloads", None))  # nothing is asked of them here
    for metrics in (GatewayMetrics(), KnowledgeMetrics(), OperatorMetrics(), EgressMetrics(), mirror):
        found |= _series(metrics.registry)
    return found


def _used(expression: str) -> list[tuple[str, set[str]]]:
    """Metric names in an expression with the labels that their selectors name."""
    return [
        (name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector or "")))
        for name, selector in re.findall(r"\b(hearth_\w+)(?:\{([^}]*)\})?", expression)
    ]


@pytest.mark.parametrize("expression", [rule["expr"] for rule in ALERTS] + QUERIES)
def test_every_metric_and_label_exists(series: dict[str, set[str]], expression: str) -> None:
    used = _used(expression)
    assert used, "no metric of ours"
    for name, labels in used:
        assert name in series, f"{name} is exported by nobody"
        assert labels <= series[name], f"{name} has no label {labels - series[name]}"
    grouped = {label.strip() for by in re.findall(r"by \(([^)]*)\)", expression) for label in by.split(",")}
    assert grouped - ADDED_BY_PROMETHEUS <= set().union(*(series[name] for name, _ in used))


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_happened_and_what_to_do(series: dict[str, set[str]], rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"info", "warning", "critical"}
    text = rule["annotations"]["summary"] + rule["annotations"]["description"]
    available = set().union(*(series[name] for name, _ in _used(rule["expr"])))
    assert set(re.findall(r"\$labels\.(\w+)", text)) <= available


def test_the_dashboard_has_a_panel_for_every_series_that_is_worth_one(series: dict[str, set[str]]) -> None:
    shown = {name for query in QUERIES for name, _ in _used(query)}
    families = {re.sub(r"_(total|bucket|sum|count|created)$", "", name) for name in series}
    covered = {re.sub(r"_(total|bucket|sum|count|created)$", "", name) for name in shown}
    left = families - covered
    assert left <= NOT_SHOWN, f"no panel: {sorted(left - NOT_SHOWN)}"
    assert families >= NOT_SHOWN, f"does not exist any more: {sorted(NOT_SHOWN - families)}"


NOT_SHOWN = {
    "hearth_node_last_heartbeat_seconds",  # hearth_node_up says it
    "hearth_source_last_run_failed",  # an alert
    "hearth_operator_build_info",  # nothing to draw
    "hearth_operator_errors",  # an alert; passes with result "error" are shown
    "hearth_gateway_catalog_synced",  # readiness says it
    "hearth_knowledge_backup_failures",  # an alert
    "hearth_egress_tunnel_seconds",  # how long a mailbox takes is the run's own figure
}


def promtool(*arguments: str | Path) -> str:
    program = shutil.which("promtool")
    assert program, "promtool is missing: apt-get install prometheus, or ./hack/test, which installs it"
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_accepts_rules_and_panels(tmp_path: Path) -> None:
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", FILES / "rules.yaml")
    panels = [{"record": f"panel:number_{number}", "expr": query} for number, query in enumerate(QUERIES)]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": panels}]}))
    assert f"{len(panels)} rules found" in promtool("check", "rules", file)


FIRING = {
    "HearthNodeDown": (['hearth_node_up{node="s",endpoint="http://s"}'], "0x40", "11m"),
    "HearthModelUnavailable": (['hearth_model_available{model="chat"}'], "0x40", "6m"),
    "HearthOperatorStuck": (["hearth_operator_queue_oldest_seconds"], "130+60x40", "6m"),
    "HearthResourceNotReady": (['hearth_resource_ready{kind="KnowledgeBase",name="work"}'], "0x40", "16m"),
    "HearthSourceFailed": (['hearth_source_last_run_failed{source="mail"}'], "1x40", "6m"),
    "HearthReconcileErrors": (['hearth_operator_errors_total{kind="K",error="E"}'], "0+30x60", "30m"),
    "HearthIndexFailing": (['hearth_knowledge_queue{kb="work",state="failed"}'], "3x40", "16m"),
    "HearthIndexBehind": (
        ['hearth_knowledge_queue{kb="work",state="pending"}', 'hearth_knowledge_chunks_indexed_total{kb="work"}'],
        "5x60",
        "40m",
    ),
    "HearthSearchDegraded": (['hearth_knowledge_degraded_searches_total{kb="work"}'], "0+2x40", "20m"),
    "HearthSearchNotReranked": (
        ['hearth_knowledge_rerank_seconds_count{kb="work",outcome="timeout"}'],
        "0+2x40",
        "20m",
    ),
    "HearthAnswersFail": (['hearth_gateway_requests_total{route="/v1",model="chat",status="502"}'], "0+10x60", "30m"),
    "HearthBackupOld": (["hearth_knowledge_backup_last_success_timestamp_seconds"], "1x6000", "75h"),
    "HearthBackupFailed": (["hearth_knowledge_backup_failures_total"], "0+1x40", "30m"),
    "HearthEgressRefused": (['hearth_egress_tunnels_total{verdict="not-allowed"}'], "0+5x40", "30m"),
    "HearthQueueLong": (['hearth_gateway_queue_length{model="chat",priority="normal"}'], "9x40", "6m"),
}
QUIET = {
    "HearthNodeDown": "1x40",
    "HearthModelUnavailable": "1x40",
    "HearthOperatorStuck": "20x40",
    "HearthResourceNotReady": "1x40",
    "HearthSourceFailed": "0x40",
    "HearthReconcileErrors": "5x60",
    "HearthIndexFailing": "0x40",
    "HearthIndexBehind": "0x60",
    "HearthSearchDegraded": "7x40",
    "HearthSearchNotReranked": "7x40",
    "HearthAnswersFail": "4x60",
    "HearthBackupOld": "0x6000",
    "HearthBackupFailed": "3x40",
    "HearthEgressRefused": "9x40",
    "HearthQueueLong": "2x40",
}


def test_every_alert_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    assert set(FIRING) == set(QUIET) == {rule["alert"] for rule in ALERTS}
    cases = []
    for name, (names, values, at) in FIRING.items():
        rule = next(rule for rule in ALERTS if rule["alert"] == name)
        for given, fires in ((values, True), (QUIET[name], False)):
            inputs = [{"series": item, "values": given} for item in names]
            query = f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) or vector(0)'
            cases.append(
                {
                    "interval": "1m",
                    "name": f"{name} {'fires' if fires else 'is quiet'}",
                    "input_series": inputs,
                    "promql_expr_test": [
                        {"expr": query, "eval_time": at, "exp_samples": [{"labels": "{}", "value": int(fires)}]}
                    ],
                }
            )
        assert rule["expr"]
    file = tmp_path / "test.yaml"
    file.write_text(
        json.dumps({"rule_files": [str(FILES / "rules.yaml")], "evaluation_interval": "1m", "tests": cases})
    )
    promtool("test", "rules", file)


def test_the_objects_carry_what_the_files_say(render) -> None:
    values = {
        "monitoring": {
            "serviceMonitor": {"enabled": True, "interval": "10s", "labels": {"release": "prom"}},
            "rules": {"enabled": True, "labels": {"release": "prom"}},
            "dashboard": {"enabled": True},
        }
    }
    objects = render(values)
    rule = next(item for item in objects if item["kind"] == "PrometheusRule")
    assert rule["spec"]["groups"] == GROUPS
    assert rule["metadata"]["labels"]["release"] == "prom"
    config = next(item for item in objects if item["kind"] == "ConfigMap")
    assert json.loads(config["data"]["hearth.json"]) == json.loads((FILES / "dashboard.json").read_text())
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    services = {item["metadata"]["name"]: item for item in objects if item["kind"] == "Service"}
    monitors = [item for item in objects if item["kind"] == "ServiceMonitor"]
    assert {item["metadata"]["name"] for item in monitors} == set(services)
    for monitor in monitors:
        wanted = monitor["spec"]["selector"]["matchLabels"]
        (service,) = (item for item in services.values() if wanted.items() <= item["metadata"]["labels"].items())
        ports = {port["name"] for port in service["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= ports
    assert not [item for item in render() if item["apiVersion"].startswith("monitoring.")]
