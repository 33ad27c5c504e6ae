"""What the machine must have, checked before anything on it is changed.

Standard library only: nothing is installed yet.

python3 -m hearth_hack.prerequisites     one sentence per thing that is missing, exit status 1
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hearth_hack import cgroups
from hearth_hack.machine import Machine, read_machine
from hearth_hack.network import ClusterNetwork, NetworkRangeError, cluster_network, ip_json, overlapping_routes
from hearth_hack.paths import Paths, default_paths

GIB = 1024**3
FIRST_RUN_DISK = 16 * GIB
LATER_DISK = 2 * GIB
MEMORY = 6 * GIB
PORTS = (6443, 53, 21250)
LOOPBACK_PORTS = (21379, 21380, 21257, 21259, 21248, 21256, 21249, 21253)
SUPPORTED = ("debian", "ubuntu")

Check = Callable[[], str | None]


def check_system(*, system: str, machine: str, uid: int, version: Sequence[int]) -> list[str]:
    """Linux on x86-64 or ARM, root, Python."""
    found = []
    if system != "Linux":
        found.append(f"This is {system}: ./hack/up needs Linux (a virtual machine will do).")
    if machine not in ("x86_64", "aarch64"):
        found.append(f"This processor is {machine}: ./hack/up knows x86_64 and aarch64.")
    if uid != 0:
        found.append("Root is needed to start containers: run sudo ./hack/up.")
    if not (3, 11) <= tuple(version[:2]) <= (3, 13):
        found.append(f"This is Python {version[0]}.{version[1]}: 3.11 to 3.13 is needed (apt-get install python3).")
    return found


def check_distribution(os_release: str, *, has_apt: bool) -> str | None:
    """Debian, Ubuntu, or something that says it is like them."""
    values = dict(line.replace('"', "").split("=", 1) for line in os_release.splitlines() if "=" in line)
    names = [values.get("ID", ""), *values.get("ID_LIKE", "").split()]
    if has_apt and any(name in SUPPORTED for name in names):
        return None
    name = values.get("PRETTY_NAME", "an unknown Linux")
    return f"This is {name}: ./hack/up installs packages with apt on Debian or Ubuntu."


def check_space(*, free: int, cached: bool, folder: Path) -> str | None:
    """The first run builds everything; later ones need room for data only."""
    needed = LATER_DISK if cached else FIRST_RUN_DISK
    if free >= needed:
        return None
    return (
        f"{folder} has {free / GIB:.1f} GiB free and {needed / GIB:.0f} are needed: make room, or set HEARTH_CACHE to a"
        " folder on a larger disk."
    )


def check_memory(meminfo: str, *, running: bool) -> str | None:
    """Not asked while our own cluster already holds its memory."""
    values = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in meminfo.splitlines() if ":" in line}
    available = values.get("MemAvailable", 0)
    if running or available >= MEMORY:
        return None
    return (
        f"{available / GIB:.1f} GiB of memory are available and {MEMORY / GIB:.0f} are needed: stop something, or use a"
        " larger machine."
    )


def check_groups(missing: Sequence[str], *, writable: bool) -> str | None:
    """The kubelet's own demands."""
    if missing:
        return (
            f"The kernel's control groups lack {', '.join(missing)}: boot with cgroup_enable={missing[0]}"
            " (on a Raspberry Pi in cmdline.txt)."
        )
    if not writable:
        return "/sys/fs/cgroup is read-only: run ./hack/up on the machine itself or in a privileged container."
    return None


def check_other_cluster(machine: Machine | None, *, checkout: str) -> str | None:
    """One machine holds one cluster; what a dead one left is cleaned away without a question."""
    if machine is None or not machine.belongs_to_another(checkout):
        return None
    return (
        f"The cluster of {machine.checkout} is running on this machine, and one machine holds one: stop it with"
        f" {machine.checkout}/hack/down."
    )


def check_routes(routes: Sequence[Mapping[str, object]], *, network: ClusterNetwork) -> str | None:
    """Somebody else's network inside ours."""
    taken = overlapping_routes(routes, network=network)
    if not taken:
        return None
    return f"The addresses {network.whole} are in use here ({', '.join(taken)}): set HEARTH_NET to another private /16."


def listening_ports(table: str, *, loopback: bool) -> set[int]:
    """Ports of a /proc/net/tcp or udp table on which somebody listens on all addresses, or also on 127.0.0.1."""
    ports = set()
    for line in table.splitlines()[1:]:
        fields = line.split()
        address, _, port = fields[1].partition(":")
        listens = fields[3] in ("0A", "07")  # LISTEN; an unconnected UDP socket
        if listens and (not address.strip("0") or (loopback and address == "0100007F")):
            ports.add(int(port, 16))
    return ports


def taken_ports() -> list[int]:
    """Of those that our daemons need. Who listens on another single address is not in our way."""
    everywhere: set[int] = set()
    here: set[int] = set()
    for name in ("tcp", "tcp6", "udp", "udp6"):
        file = Path("/proc/net") / name
        table = file.read_text() if file.exists() else ""
        everywhere |= listening_ports(table, loopback=False)
        here |= listening_ports(table, loopback=True)
    return sorted({port for port in PORTS if port in everywhere} | {port for port in LOOPBACK_PORTS if port in here})


def check_ports(taken: Sequence[int]) -> str | None:
    """Name the ports that are taken."""
    if not taken:
        return None
    ports = ", ".join(str(port) for port in taken)
    return (
        f"Something else listens on port {ports} (ss -ltnp shows what): stop it, or bind it to an address of its own."
    )


def find_problems(*, paths: Paths, environ: Mapping[str, str]) -> list[str]:
    """One sentence each, with what to do about it. Empty means that up may begin."""
    problems = check_system(
        system=platform.system(), machine=platform.machine(), uid=os.geteuid(), version=tuple(sys.version_info[:2])
    )
    if problems:
        return problems  # what follows asks Linux as root
    try:
        network = cluster_network(environ)
    except NetworkRangeError as error:
        return [f"{error}."]
    machine = read_machine(paths.record)
    running = machine is not None and bool(machine.alive())
    os_release = Path("/etc/os-release")
    cached = any(paths.binaries.glob("kubernetes-*/kubernetes"))
    parent = next(folder for folder in (paths.cache, *paths.cache.parents) if folder.exists())
    checks: list[Check] = [
        lambda: check_distribution(
            os_release.read_text() if os_release.exists() else "", has_apt=shutil.which("apt-get") is not None
        ),
        lambda: check_space(free=shutil.disk_usage(parent).free, cached=cached, folder=parent),
        lambda: check_memory(Path("/proc/meminfo").read_text(), running=running),
        lambda: check_groups(cgroups.missing_controllers(), writable=os.access(cgroups.hierarchies()[0], os.W_OK)),
        lambda: check_other_cluster(machine, checkout=str(paths.repo)),
    ]
    if machine is None:
        # With a record the addresses and ports are our own, alive or left behind.
        checks.append(lambda: check_routes(routes_of_machine(), network=network))
        checks.append(lambda: check_ports(taken_ports()))
    return [problem for check in checks if (problem := check()) is not None]


def routes_of_machine() -> list[dict[str, object]]:
    """All tables but the kernel's own."""
    return ip_json("-4", "route", "show") if shutil.which("ip") else []


def main() -> int:
    """Prints the problems."""
    problems = find_problems(paths=default_paths(), environ=os.environ)
    for problem in problems:
        sys.stderr.write(f"hearth: {problem}\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
