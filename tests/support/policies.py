"""NetworkPolicy as the API defines it, over pods and addresses that a test names: may this connection be made?"""

import ipaddress
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Endpoint:
    """A pod (labels and namespace), or an address outside of the cluster."""

    name: str
    labels: dict[str, str] = field(default_factory=dict)
    namespace: str | None = None
    address: str = "10.42.0.99"

    @property
    def pod(self) -> bool:
        return self.namespace is not None


def allowed(
    policies: list[dict[str, Any]], source: Endpoint, target: Endpoint, port: int, *, namespace: str, protocol="TCP"
) -> bool:
    """Whether `source` may connect to `target`: both sides' policies must agree."""
    rest: dict[str, Any] = {"namespace": namespace, "protocol": protocol}
    return _side(policies, source, target, port, direction="Egress", **rest) and _side(
        policies, target, source, port, direction="Ingress", **rest
    )


def _side(
    policies, owner: Endpoint, peer: Endpoint, port: int, *, direction: str, namespace: str, protocol: str
) -> bool:
    if owner.namespace != namespace:
        return True  # the policies of one namespace bind its own pods only
    binding = [
        item["spec"]
        for item in policies
        if direction in item["spec"]["policyTypes"] and _matches(item["spec"]["podSelector"], owner.labels)
    ]
    if not binding:
        return True
    key, end = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    return any(
        _port(rule.get("ports"), port, protocol) and _peer(rule.get(end), peer, namespace)
        for spec in binding
        for rule in spec.get(key) or ()
    )


def _matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    assert set(selector) <= {"matchLabels"}, "matchExpressions are not understood here"
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def _port(ports: list[dict[str, Any]] | None, port: int, protocol: str) -> bool:
    return ports is None or any(
        item.get("protocol", "TCP") == protocol and item["port"] <= port <= item.get("endPort", item["port"])
        for item in ports
    )


def _peer(peers: list[dict[str, Any]] | None, peer: Endpoint, namespace: str) -> bool:
    if not peers:
        return True
    for item in peers:
        if "ipBlock" in item:
            address = ipaddress.ip_address(peer.address)
            if address in ipaddress.ip_network(item["ipBlock"]["cidr"]) and not any(
                address in ipaddress.ip_network(cidr) for cidr in item["ipBlock"].get("except", ())
            ):
                return True
            continue
        if not peer.pod:
            continue
        where = item.get("namespaceSelector")
        near = peer.namespace == namespace if where is None else _matches(where, _namespace_labels(peer))
        if near and _matches(item.get("podSelector", {}), peer.labels):
            return True
    return False


def _namespace_labels(peer: Endpoint) -> dict[str, str]:
    return {"kubernetes.io/metadata.name": str(peer.namespace)}
