from pathlib import Path

import pytest

from hearth_hack import prerequisites
from hearth_hack.network import (
    ClusterNetwork,
    NetworkRangeError,
    closed_chains,
    cluster_network,
    openings,
    overlapping_routes,
)

DEBIAN = 'ID=debian\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n'
UBUNTU_LIKE = "ID=linuxmint\nID_LIKE=ubuntu\n"
FEDORA = 'ID=fedora\nPRETTY_NAME="Fedora Linux 43"\n'
TCP = """  sl  local_address rem_address   st
   0: 00000000:192B 00000000:0000 0A 0
   1: 0100007F:5383 00000000:0000 0A 0
   2: 3500007F:0035 00000000:0000 0A 0
   3: 00000000:1F90 00000000:0000 01 0
"""


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"system": "Darwin"}, "needs Linux"),
        ({"machine": "riscv64"}, "x86_64 and aarch64"),
        ({"uid": 1000}, "sudo ./hack/up"),
        ({"version": (3, 10)}, "3.11 to 3.13"),
        ({"version": (3, 14)}, "3.11 to 3.13"),
    ],
)
def test_one_sentence_for_what_the_system_lacks(values, words):
    good = {"system": "Linux", "machine": "x86_64", "uid": 0, "version": (3, 11)}
    assert prerequisites.check_system(**good) == []
    (problem,) = prerequisites.check_system(**{**good, **values})
    assert words in problem


def test_debian_ubuntu_and_their_relatives_are_known():
    assert prerequisites.check_distribution(DEBIAN, has_apt=True) is None
    assert prerequisites.check_distribution(UBUNTU_LIKE, has_apt=True) is None
    assert "Fedora Linux 43" in (prerequisites.check_distribution(FEDORA, has_apt=False) or "")


def test_the_first_run_needs_more_room_than_later_ones():
    gib = prerequisites.GIB
    folder = Path("/var")
    assert prerequisites.check_space(free=3 * gib, cached=True, folder=folder) is None
    problem = prerequisites.check_space(free=3 * gib, cached=False, folder=folder)
    assert problem is not None
    assert "3.0 GiB" in problem
    assert "HEARTH_CACHE" in problem


def test_memory_is_not_asked_for_twice():
    little = "MemTotal: 8000000 kB\nMemAvailable: 1048576 kB\n"
    assert prerequisites.check_memory(little, running=True) is None
    assert "1.0 GiB" in (prerequisites.check_memory(little, running=False) or "")


def test_missing_controllers_and_a_read_only_tree_have_remedies():
    assert prerequisites.check_groups([], writable=True) is None
    assert "cgroup_enable=memory" in (prerequisites.check_groups(["memory"], writable=True) or "")
    assert "read-only" in (prerequisites.check_groups([], writable=False) or "")


def test_only_listeners_in_our_way_count():
    assert prerequisites.listening_ports(TCP, loopback=False) == {6443}
    assert prerequisites.listening_ports(TCP, loopback=True) == {6443, 21379}
    assert prerequisites.check_ports([]) is None
    assert "6443" in (prerequisites.check_ports([6443]) or "")


def test_the_range_is_cut_without_overlap():
    network = cluster_network({})
    parts = [network.pods, network.services]
    assert not parts[0].overlaps(parts[1])
    assert network.node == "10.213.255.1"
    assert network.first_service == "10.213.128.1"
    assert all(part.subnet_of(network.whole) for part in parts)


@pytest.mark.parametrize("text", ["10.213.0.0/24", "8.8.0.0/16", "nonsense", "10.213.1.0/16"])
def test_a_range_that_is_no_private_sixteen_is_refused(text):
    with pytest.raises(NetworkRangeError, match="HEARTH_NET"):
        cluster_network({"HEARTH_NET": text})


def test_routes_of_somebody_else_inside_our_range_are_named():
    network: ClusterNetwork = cluster_network({"HEARTH_NET": "10.20.0.0/16"})
    routes = [
        {"dst": "default", "dev": "eth0"},
        {"dst": "192.0.2.0/24", "dev": "eth0"},
        {"dst": "10.20.3.0/24", "dev": "wg0"},
    ]
    assert overlapping_routes(routes, network=network) == ["10.20.3.0/24 (wg0)"]
    problem = prerequisites.check_routes(routes, network=network)
    assert problem is not None
    assert "HEARTH_NET" in problem


def test_a_firewall_that_drops_is_opened_for_pods_only():
    network = cluster_network({})
    assert closed_chains("-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-A FORWARD -j DOCKER\n") == []
    chains = closed_chains("-P INPUT ACCEPT\n-P FORWARD DROP\n")
    assert chains == ["FORWARD"]
    rules = openings(chains, network=network)
    assert [rule[:3] for rule in rules] == [["FORWARD", "-s", "10.213.0.0/17"], ["FORWARD", "-d", "10.213.0.0/17"]]
