"""The NetworkPolicies: every flow of DESIGN is allowed, every other one between the parts is refused."""

from typing import Any

import pytest

from hearth_operator.manifests.milvus import build_milvus
from hearth_operator.manifests.node import build_node
from hearth_operator.manifests.source import build_source
from hearth_operator.settings import Settings
from support.operator_gen import knowledge_base, managed_node, source
from support.policies import Endpoint, allowed

NAMESPACE = "hearth"
SETTINGS = Settings(
    namespace=NAMESPACE, control_image="control:1", serve_image="serve:1", egress_url="http://hearth-egress:3128"
)
PORTS = (53, 80, 443, 993, 3128, 6443, 8000, 8080, 8265, 6379, 8443, 19530)
LIVE = {"imap": {"host": "mail.lan", "secretRef": {"name": "account"}}}


def _of_source(item: Any, name: str) -> Endpoint:
    cron = build_source(item, settings=SETTINGS)[2]
    return Endpoint(name, cron["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"], NAMESPACE)


def _parts(objects: list[dict[str, Any]]) -> dict[str, Endpoint]:
    parts = {
        item["metadata"]["name"].removeprefix("hearth-"): Endpoint(
            item["metadata"]["name"], item["spec"]["template"]["metadata"]["labels"], NAMESPACE
        )
        for item in objects
        if item["kind"] == "Deployment"
    }
    node = build_node(managed_node(), settings=SETTINGS).deployment["spec"]["template"]["metadata"]["labels"]
    milvus = build_milvus(knowledge_base(store={"mode": "Managed"}), settings=SETTINGS).deployment
    store = milvus["spec"]["template"]["metadata"]["labels"]
    return {
        **parts,
        "node": Endpoint("node", node, NAMESPACE),
        "store": Endpoint("store", store, NAMESPACE),
        "files": _of_source(source(), "files"),
        "live": _of_source(source(email=LIVE), "live"),
        "stray": Endpoint("stray", {"app": "stray"}, NAMESPACE),
        "other": Endpoint("other", {}, "default"),
        "prometheus": Endpoint("prometheus", {}, "monitoring"),
        "dns": Endpoint("dns", {"k8s-app": "kube-dns"}, "kube-system"),
        "api": Endpoint("api", address="10.43.0.1"),
        "studio": Endpoint("studio", address="10.10.12.5"),
        "laptop": Endpoint("laptop", address="192.168.7.20"),
        "internet": Endpoint("internet", address="93.184.216.34"),
    }


PODS = ("gateway", "knowledge", "operator", "egress", "node", "store", "files", "live", "stray")
OURS = {
    ("gateway", "knowledge", 8080),
    ("gateway", "node", 8000),
    ("operator", "knowledge", 8080),
    ("operator", "node", 8000),
    ("operator", "node", 8265),
    ("knowledge", "gateway", 8080),
    ("knowledge", "store", 19530),
    ("files", "knowledge", 8080),
    ("live", "knowledge", 8080),
    ("live", "egress", 3128),
    *((part, "dns", 53) for part in PODS),
    *((part, "api", port) for part in ("gateway", "knowledge", "operator") for port in (443, 6443)),
    *(("prometheus", part, 8080) for part in ("gateway", "knowledge", "operator", "egress")),
    *((who, "gateway", 8080) for who in ("other", "laptop", "studio", "internet", "api", "dns")),
}
"""Without external machines."""
API_SERVER = {"networkPolicies": {"apiServer": {"cidrs": ["10.43.0.1/32"]}}}


def _matrix(objects: list[dict[str, Any]]) -> set[tuple[str, str, int]]:
    policies = [item for item in objects if item["kind"] == "NetworkPolicy"]
    parts = _parts(objects)
    return {
        (a.removeprefix("hearth-"), b, port)
        for a, source_ in parts.items()
        for b, target in parts.items()
        for port in PORTS
        if a != b
        and NAMESPACE in (source_.namespace, target.namespace)
        and allowed(policies, source_, target, port, namespace=NAMESPACE)
    }


def test_exactly_the_flows_of_the_design(render) -> None:
    # The proxy alone may reach the world; it decides by source and host (tests/integration/egress). Another namespace's
    # pods and its own namespace's are protected by their side.
    world = {
        ("egress", target, port)
        for target in ("other", "prometheus", "dns", "api", "studio", "laptop", "internet")
        for port in PORTS
    }
    assert _matrix(render(API_SERVER)) == OURS | world | {("egress", "gateway", 8080)}


def test_an_external_machine_is_reached_by_serve_and_ray_ports_of_who_needs_them(render) -> None:
    values = {"networkPolicies": {"externalNodes": {"cidrs": ["10.10.12.5/32"]}}}
    more = _matrix(render(values)) - _matrix(render())
    assert more == {("gateway", "studio", 8000), ("operator", "studio", 8000), ("operator", "studio", 8265)}


def test_an_external_store_is_reached_by_the_knowledge_service_only(render) -> None:
    values = {"networkPolicies": {"externalStores": {"cidrs": ["10.10.12.5/32"]}}}
    assert _matrix(render(values)) - _matrix(render()) == {("knowledge", "studio", 19530)}


def test_callers_of_the_gateway_can_be_narrowed(render) -> None:
    values = {"networkPolicies": {"gatewayFrom": ["192.168.7.0/24"]}}
    callers = {a for a, b, port in _matrix(render(values)) if (b, port) == ("gateway", 8080)}
    assert callers == {"laptop", "knowledge", "prometheus"}


def test_without_the_proxy_a_live_account_reaches_nothing_and_nothing_may_reach_the_world(render) -> None:
    flows = _matrix(render({"egress": {"enabled": False}}))
    assert not [flow for flow in flows if flow[1] == "internet"]
    assert {b for a, b, _ in flows if a == "live"} == {"knowledge", "dns"}


def test_the_mirror_answers_machines_on_one_port_and_calls_no_denied_network(render) -> None:
    values = {
        "egress": {"deniedNetworks": ["10.43.0.0/16", "fd00::/64"]},
        "mirror": {"enabled": True, "address": "t40.lan"},
        "networkPolicies": {"externalNodes": {"cidrs": ["10.10.12.5/32"]}},
    }
    flows = {flow for flow in _matrix(render(values)) if "mirror" in flow[:2]}
    callers = {(a, port) for a, b, port in flows if b == "mirror" and a != "egress"}
    assert callers == {("studio", 8443), ("node", 8443), ("prometheus", 8080)}
    called = {b for a, b, _ in flows if a == "mirror"}
    assert "internet" in called
    assert not called & {"api", "knowledge", "operator", "node", "store"}
    anybody = render({**values, "networkPolicies": {}})
    assert ("laptop", "mirror", 8443) in _matrix(anybody), "who it is, its token says"


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_names_are_asked_in_kube_system_only(render, protocol: str) -> None:
    objects = render()
    policies = [item for item in objects if item["kind"] == "NetworkPolicy"]
    parts = _parts(objects)
    for name in PODS:
        assert allowed(policies, parts[name], parts["dns"], 53, namespace=NAMESPACE, protocol=protocol)
        for elsewhere in ("internet", "api", "other") if name != "egress" or protocol == "UDP" else ():
            assert not allowed(policies, parts[name], parts[elsewhere], 53, namespace=NAMESPACE, protocol=protocol)


def test_policies_can_be_left_to_somebody_else(render) -> None:
    assert not [item for item in render({"networkPolicies": {"enabled": False}}) if item["kind"] == "NetworkPolicy"]
