"""Enforces NetworkPolicies in the local cluster with nftables: its plain `ptp` network has nobody else who does.

Runs as a daemon of the cluster: `python -m hearth_hack.policies URL PKI PODS`.

All of the API's NetworkPolicy but named ports, for IPv4. Once a second the policies, pods and namespaces are read, and
where the rules that follow from them differ, one nft transaction replaces the table. What the host itself sends
(probes of the kubelet) is never filtered, as in every cluster.
"""

from __future__ import annotations

import ipaddress
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hearth_hack.apiserver import client_context
from hearth_hack.certs import Authority
from hearth_hack.kube import Kube, KubeError, Object
from hearth_hack.network import POLICY_TABLE as TABLE

POLICIES = "/apis/networking.k8s.io/v1/networkpolicies"
PODS = "/api/v1/pods?fieldSelector=spec.hostNetwork%3Dfalse"
NAMESPACES = "/api/v1/namespaces"


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that has an address."""

    namespace: str
    address: str
    labels: dict[str, str] = field(hash=False)


def read_pods(items: Iterable[Object]) -> list[Pod]:
    """Pods with an address whose containers have not ended; a finished pod's address may be another's."""
    return [
        Pod(
            namespace=item["metadata"]["namespace"],
            address=item["status"]["podIP"],
            labels=item["metadata"].get("labels") or {},
        )
        for item in items
        if item.get("status", {}).get("podIP") and item["status"].get("phase") not in ("Succeeded", "Failed")
    ]


def matches(selector: Object, labels: dict[str, str]) -> bool:
    """Whether a label selector (matchLabels and matchExpressions) takes these labels."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for expression in selector.get("matchExpressions") or ():
        value, values = labels.get(expression["key"]), expression.get("values") or ()
        operator = expression["operator"]
        holds = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }[operator]
        if not holds:
            return False
    return True


@dataclass(frozen=True, slots=True)
class World:
    """What rules are made from."""

    policies: Sequence[Object]
    pods: Sequence[Pod]
    namespaces: dict[str, dict[str, str]]

    def peers(self, rules: Sequence[Object] | None, *, namespace: str) -> Iterator[str]:
        """Yield nft set elements for a rule's peers; "0.0.0.0/0" where there is no restriction."""
        if not rules:
            yield "0.0.0.0/0"
            return
        for rule in rules:
            if block := rule.get("ipBlock"):
                yield from block_ranges(block)
                continue
            for pod in self.pods:
                where = rule.get("namespaceSelector")
                near = (
                    pod.namespace == namespace
                    if where is None
                    else matches(where, self.namespaces.get(pod.namespace, {}))
                )
                if near and matches(rule.get("podSelector") or {}, pod.labels):
                    yield pod.address


def block_ranges(block: Object) -> Iterator[str]:
    """Yield the networks of an ipBlock without its exceptions; IPv6 is not routed here."""
    network = ipaddress.ip_network(block["cidr"])
    if network.version != 4:
        return
    parts = [network]
    for text in block.get("except") or ():
        hole = ipaddress.ip_network(text)
        if hole.version == 4:
            parts = [
                piece
                for part in parts
                for piece in (part.address_exclude(hole) if hole.subnet_of(part) else [part])
                if not piece.subnet_of(hole)
            ]
    yield from (str(part) for part in parts)


def port_matches(ports: Sequence[Object] | None) -> list[str]:
    """Return nft matches, one per port; "" where all are meant. Named ports match nothing."""
    if ports is None:
        return [""]
    found = []
    for item in ports:
        protocol = item.get("protocol", "TCP").lower()
        port = item.get("port")
        if port is None:
            found.append(f"meta l4proto {protocol}")
        elif isinstance(port, int):
            last = item.get("endPort", port)
            found.append(f"{protocol} dport {port if last == port else f'{port}-{last}'}")
    return found


def build_rules(world: World, *, pod_range: str) -> str:
    """Return the nft script of the whole table. Equal worlds give equal scripts."""
    chains: list[str] = []
    jumps: dict[str, list[str]] = {"Egress": [], "Ingress": []}
    for pod in sorted(world.pods, key=lambda each: each.address):
        for direction, own, other in (("Egress", "saddr", "daddr"), ("Ingress", "daddr", "saddr")):
            specs = [
                policy["spec"]
                for policy in world.policies
                if policy["metadata"]["namespace"] == pod.namespace
                and direction in policy_types(policy["spec"])
                and matches(policy["spec"].get("podSelector") or {}, pod.labels)
            ]
            if not specs:
                continue
            name = f"{direction.lower()}_{pod.address.replace('.', '_')}"
            lines = sorted(set(_allow(specs, world, namespace=pod.namespace, direction=direction, other=other)))
            chains.append(f"  chain {name} {{\n" + "".join(f"    {line}\n" for line in lines) + "    drop\n  }\n")
            jumps[direction].append(f"    ip {own} {pod.address} jump {name}\n")
    forward = "".join([*jumps["Egress"], *jumps["Ingress"]])
    local = "".join(jumps["Egress"])
    return (
        f"add table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n{''.join(chains)}"
        f"  chain forward {{\n    type filter hook forward priority filter; policy accept;\n"
        f"    ct state established,related accept\n{forward}  }}\n"
        f"  chain input {{\n    type filter hook input priority filter; policy accept;\n"
        f"    ct state established,related accept\n    ip saddr != {pod_range} accept\n{local}  }}\n}}\n"
    )


def policy_types(spec: Object) -> list[str]:
    """Return the directions that a policy binds, with the API's default."""
    given: list[str] | None = spec.get("policyTypes")
    return given or ["Ingress", *(["Egress"] if spec.get("egress") else [])]


def _allow(specs: Sequence[Object], world: World, *, namespace: str, direction: str, other: str) -> Iterator[str]:
    rules, peers = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    for spec in specs:
        for rule in spec.get(rules) or ():
            addresses = sorted(set(world.peers(rule.get(peers), namespace=namespace)))
            if not addresses:
                continue
            collapsed = ipaddress.collapse_addresses(ipaddress.IPv4Network(each) for each in addresses)
            members = ", ".join(str(each) for each in collapsed)
            for match in port_matches(rule.get("ports")):
                yield f"ip {other} {{ {members} }} {match} return".replace("  ", " ")


def observe(kube: Kube) -> World:
    """Read the cluster."""
    return World(
        policies=kube.items(POLICIES),
        pods=read_pods(kube.items(PODS)),
        namespaces={item["metadata"]["name"]: item["metadata"].get("labels") or {} for item in kube.items(NAMESPACES)},
    )


def serve(kube: Kube, *, pod_range: str) -> None:
    """Pass after pass; a server that is away leaves the last rules standing."""
    last = ""
    while True:
        try:
            script = build_rules(observe(kube), pod_range=pod_range)
            if script != last:
                subprocess.run(["nft", "-f", "-"], input=script, text=True, check=True, capture_output=True)
                last = script
        except (KubeError, OSError) as error:
            print(f"asking again: {error}", flush=True)
        except subprocess.CalledProcessError as error:
            print(f"nft refused the rules: {error.stderr}", flush=True)
        time.sleep(1)


def main(argv: Sequence[str]) -> int:
    """Serves until it is killed."""
    url, pki, pod_range = argv
    serve(Kube(url, context=client_context(Authority(directory=Path(pki)), user="policies")), pod_range=pod_range)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
