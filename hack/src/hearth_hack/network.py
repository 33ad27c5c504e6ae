"""The cluster's addresses, and everything it changes in the machine's network: made and removed here only.

Pods hang on point-to-point links (CNI `ptp`), so every packet is routed and no bridge, bridge filter or iptables rule
is needed. The node has an address of its own on `lo`: pods and the host reach the API server under the same one.
"""

from __future__ import annotations

import ipaddress
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

DEFAULT_RANGE = "10.213.0.0/16"
CNI_PLUGINS = Path("/usr/lib/cni")
TABLE = "hearth_pods"
POLICY_TABLE = "hearth_policies"
KUBE_PROXY_TABLES = (("ip", "kube-proxy"), ("ip6", "kube-proxy"))
MODULES = ("overlay", "veth", "nf_conntrack", "nf_tables", "nft_chain_nat", "nft_masq", "nft_numgen", "nft_fib_inet")
# What kubelet, kube-proxy and routing between pods change; down puts the old values back.
SYSCTLS = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/route_localnet",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)


class NetworkRangeError(ValueError):
    """HEARTH_NET is not a private IPv4 /16."""


@dataclass(frozen=True, slots=True)
class ClusterNetwork:
    """One private /16, cut into pods (first half), Services (third quarter) and the node's own address."""

    whole: ipaddress.IPv4Network

    @property
    def node(self) -> str:
        """Return the node's own address."""
        return str(self.whole.network_address + 255 * 256 + 1)

    @property
    def pods(self) -> ipaddress.IPv4Network:
        """Return the addresses of pods."""
        return next(self.whole.subnets(new_prefix=17))

    @property
    def services(self) -> ipaddress.IPv4Network:
        """Return the addresses of Services."""
        return list(self.whole.subnets(new_prefix=18))[2]

    @property
    def first_service(self) -> str:
        """The address of the Service `kubernetes`."""
        return str(self.services.network_address + 1)


def cluster_network(environ: Mapping[str, str]) -> ClusterNetwork:
    """Reads HEARTH_NET. Raises NetworkRangeError."""
    text = environ.get("HEARTH_NET", DEFAULT_RANGE)
    try:
        whole = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise NetworkRangeError(f"HEARTH_NET={text}: {error}") from error
    if whole.prefixlen != 16 or not whole.is_private:
        raise NetworkRangeError(f"HEARTH_NET={text}: give a private /16, such as {DEFAULT_RANGE}")
    return ClusterNetwork(whole=whole)


def ip_json(*arguments: str) -> list[dict[str, object]]:
    """`ip -j ...`: a list of objects, empty when nothing matches."""
    answer = subprocess.run(["ip", "-j", *arguments], capture_output=True, text=True, check=False)
    return json.loads(answer.stdout) if answer.returncode == 0 and answer.stdout.strip() else []


def overlapping_routes(routes: Sequence[Mapping[str, object]], *, network: ClusterNetwork) -> list[str]:
    """Destinations of the machine's routes inside our range; the default route does not count."""
    found = []
    for route in routes:
        destination = str(route.get("dst", "default"))
        if destination == "default":
            continue
        try:
            if ipaddress.IPv4Network(destination, strict=False).overlaps(network.whole):
                found.append(f"{destination} ({route.get('dev', 'no device')})")
        except ValueError:
            continue
    return found


def read_sysctls() -> dict[str, str]:
    """Return the present values of what a cluster changes."""
    values = {}
    for name in SYSCTLS:
        file = Path("/proc/sys") / name
        if file.exists():
            values[name] = file.read_text().strip()
    return values


def write_sysctls(values: Mapping[str, str]) -> None:
    """Writes what differs."""
    for name, value in values.items():
        file = Path("/proc/sys") / name
        if file.exists() and file.read_text().strip() != value:
            file.write_text(value)


def masquerade_rules(network: ClusterNetwork) -> str:
    """Traffic that leaves the cluster carries the machine's address; traffic inside it keeps the pod's."""
    return f"""
table ip {TABLE}
delete table ip {TABLE}
table ip {TABLE} {{
  chain leaving {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {network.pods} ip daddr != {network.whole} masquerade
  }}
}}
"""


def closed_chains(rules: str) -> list[str]:
    """Chains of `iptables -S` output that drop what no rule accepts, as Docker and ufw leave them."""
    return [chain for chain in ("INPUT", "FORWARD") if f"-P {chain} DROP" in rules.splitlines()]


def openings(chains: Sequence[str], *, network: ClusterNetwork) -> list[list[str]]:
    """Rules that let pods through such chains, each without its command (-I, -D)."""
    mark = ["-m", "comment", "--comment", "hearth", "-j", "ACCEPT"]
    rules = [[chain, "-s", str(network.pods), *mark] for chain in chains]
    if "FORWARD" in chains:
        rules.append(["FORWARD", "-d", str(network.pods), *mark])
    return rules


def open_firewall(network: ClusterNetwork) -> None:
    """Only where the machine's own firewall would drop packets between pods. Idempotent."""
    close_firewall(network)
    if shutil.which("iptables") is None:
        return
    answer = subprocess.run(["iptables", "-S"], capture_output=True, text=True, check=False)
    for rule in openings(closed_chains(answer.stdout), network=network):
        subprocess.run(["iptables", "-I", *rule], capture_output=True, check=True)


def close_firewall(network: ClusterNetwork) -> None:
    """Removes our rules; nothing happens where there are none."""
    if shutil.which("iptables") is None:
        return
    for rule in openings(("INPUT", "FORWARD"), network=network):
        subprocess.run(["iptables", "-D", *rule], capture_output=True, check=False)


def load_modules() -> None:
    """Best effort: kernels with the features built in have no modules, and some need no modprobe at all."""
    if shutil.which("modprobe") is None:
        return
    for module in MODULES:
        subprocess.run(["modprobe", "-q", module], capture_output=True, check=False)


def default_mtu() -> int:
    """Return the packet size of the machine's way out."""
    routes = ip_json("-4", "route", "show", "default")
    if not routes:
        return 1500
    links = ip_json("link", "show", "dev", str(routes[0]["dev"]))
    return int(str(links[0]["mtu"])) if links else 1500


def cni_config(network: ClusterNetwork, *, data: Path, mtu: int) -> str:
    """`data` holds the addresses given out."""
    return json.dumps(
        {
            "cniVersion": "1.0.0",
            "name": "hearth",
            "plugins": [
                {
                    "type": "ptp",
                    "mtu": mtu,
                    "ipMasq": False,
                    "ipam": {
                        "type": "host-local",
                        "dataDir": str(data),
                        "ranges": [[{"subnet": str(network.pods)}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                }
            ],
        }
    )


def raise_network(network: ClusterNetwork) -> None:
    """Idempotent. Forwarding is needed between pods, and from Services to pods."""
    load_modules()
    subprocess.run(["ip", "addr", "replace", f"{network.node}/32", "dev", "lo"], check=True)
    write_sysctls({"net/ipv4/ip_forward": "1"})
    subprocess.run(["nft", "-f", "-"], input=masquerade_rules(network), text=True, check=True)
    open_firewall(network)


def pod_links(network: ClusterNetwork) -> list[str]:
    """The host's ends of pods' links: those that a pod address is routed to."""
    routes = ip_json("-4", "route", "show", "root", str(network.pods))
    return sorted({str(route["dev"]) for route in routes if str(route.get("dev", "")).startswith("veth")})


def remove_network(network: ClusterNetwork, *, sysctls: Mapping[str, str]) -> None:
    """Takes back what `raise_network`, the CNI plugin and kube-proxy made. Idempotent."""
    close_firewall(network)
    for link in pod_links(network):
        subprocess.run(["ip", "link", "delete", link], capture_output=True, check=False)
    subprocess.run(["ip", "addr", "del", f"{network.node}/32", "dev", "lo"], capture_output=True, check=False)
    for family, table in (("ip", TABLE), ("inet", POLICY_TABLE), *KUBE_PROXY_TABLES):
        subprocess.run(["nft", "delete", "table", family, table], capture_output=True, check=False)
    write_sysctls(sysctls)
