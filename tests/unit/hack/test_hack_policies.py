"""NetworkPolicies as nft rules: what is let through, in which order, and that equal worlds give equal rules."""

from typing import Any

import pytest

from hearth_hack.policies import Pod, World, block_ranges, build_rules, matches, port_matches, read_pods

A = Pod("hearth", "10.1.0.2", {"app": "a"})
B = Pod("hearth", "10.1.0.3", {"app": "b"})
ELSEWHERE = Pod("other", "10.1.0.4", {"app": "a"})
NAMESPACES = {"hearth": {"name": "hearth"}, "other": {"name": "other", "team": "x"}}


def policy(spec: dict[str, Any], namespace: str = "hearth") -> dict[str, Any]:
    return {"metadata": {"name": "p", "namespace": namespace}, "spec": spec}


def rules(*specs: dict[str, Any], pods=(A, B, ELSEWHERE)) -> str:
    return build_rules(World([policy(spec) for spec in specs], pods, NAMESPACES), pod_range="10.1.0.0/17")


def chain(text: str, name: str) -> list[str]:
    block = text.split(f"  chain {name} {{\n")[1].split("  }\n", maxsplit=1)[0]
    return [line.strip() for line in block.splitlines()]


def test_a_pod_that_no_policy_selects_is_free() -> None:
    assert "jump" not in rules()
    assert "10_1_0_4" not in rules({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})


def test_default_deny_drops_both_ways_and_lets_answers_through() -> None:
    text = rules({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})
    assert chain(text, "egress_10_1_0_2") == ["drop"]
    assert chain(text, "ingress_10_1_0_3") == ["drop"]
    assert chain(text, "forward")[1] == "ct state established,related accept"


def test_egress_is_asked_before_ingress_and_a_host_process_is_reached_by_egress_only() -> None:
    text = rules({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})
    forward = [line for line in chain(text, "forward") if "jump" in line]
    assert [line.split()[1] for line in forward] == ["saddr", "saddr", "daddr", "daddr"]
    assert all("saddr" in line for line in chain(text, "input") if "jump" in line)


def test_policies_add_up() -> None:
    to_b = {"podSelector": {"matchLabels": {"app": "a"}}, "policyTypes": ["Egress"],
            "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "b"}}}], "ports": [{"port": 80}]}]}  # fmt: skip
    world = {"podSelector": {}, "policyTypes": ["Egress"],
             "egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}], "ports": [{"port": 53, "protocol": "UDP"}]}]}  # fmt: skip
    assert chain(rules(to_b, world), "egress_10_1_0_2") == [
        "ip daddr { 0.0.0.0/0 } udp dport 53 return",
        "ip daddr { 10.1.0.3/32 } tcp dport 80 return",
        "drop",
    ]
    assert rules(to_b, world) == rules(world, to_b)


def test_a_peer_in_another_namespace_is_named_by_it() -> None:
    spec = {"podSelector": {}, "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"team": "x"}}}]}]}  # fmt: skip
    assert chain(rules(spec), "ingress_10_1_0_2") == ["ip saddr { 10.1.0.4/32 } return", "drop"]


def test_a_peer_that_nobody_is_allows_nothing() -> None:
    spec = {"podSelector": {}, "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "none"}}}]}]}
    assert chain(rules(spec), "ingress_10_1_0_2") == ["drop"]


def test_ports_ranges_protocols_and_names() -> None:
    assert port_matches(None) == [""]
    assert port_matches([{"port": 1, "endPort": 9}, {"protocol": "UDP"}, {"port": "http"}]) == [
        "tcp dport 1-9",
        "meta l4proto udp",
    ]


def test_exceptions_are_cut_out_of_blocks_and_ipv6_is_left_aside() -> None:
    assert list(block_ranges({"cidr": "10.0.0.0/30", "except": ["10.0.0.1/32"]})) == ["10.0.0.2/31", "10.0.0.0/32"]
    assert list(block_ranges({"cidr": "10.0.0.0/30", "except": ["10.0.0.0/8"]})) == []
    assert list(block_ranges({"cidr": "::/0"})) == []


@pytest.mark.parametrize(
    ("operator", "values", "holds"),
    [("In", ["a"], True), ("In", ["z"], False), ("NotIn", ["a"], False), ("Exists", [], True), ("DoesNotExist", [], False)],
)  # fmt: skip
def test_expressions(operator: str, values: list[str], holds: bool) -> None:
    assert (
        matches({"matchExpressions": [{"key": "app", "operator": operator, "values": values}]}, {"app": "a"}) is holds
    )


def test_a_finished_pod_has_given_its_address_back() -> None:
    def pod(phase: str) -> dict[str, Any]:
        return {"metadata": {"namespace": "n"}, "status": {"podIP": "10.1.0.9", "phase": phase}}

    assert [len(read_pods([pod(phase)])) for phase in ("Running", "Succeeded", "Failed")] == [1, 0, 0]
