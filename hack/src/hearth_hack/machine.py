"""The machine-wide record of the one cluster that may run: what was started and changed, and by which checkout.

It is written before anything is changed, so that this checkout or another can clean up after a cluster that died.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from pathlib import Path

from hearth_hack import cgroups
from hearth_hack.mounts import unmount_below
from hearth_hack.network import ClusterNetwork, read_sysctls, remove_network
from hearth_hack.paths import Paths
from hearth_hack.processes import ProcessRecord, is_alive, record_from_json, stop_process

# The order in which daemons are told to stop: whoever would restart or repair something goes first.
STOP_ORDER = (
    "volumes",
    "kubelet",
    "kube-proxy",
    "kube-scheduler",
    "kube-controller-manager",
    "coredns",
    "containerd",
    "kube-apiserver",
    "etcd",
)


class OtherClusterError(RuntimeError):
    """A cluster of another checkout is running on this machine."""

    def __init__(self, checkout: str) -> None:
        super().__init__(
            f"The cluster of {checkout} is running on this machine, and one machine holds one: stop it with"
            f" {checkout}/hack/down."
        )
        self.checkout = checkout


@dataclass(frozen=True, slots=True)
class Machine:
    """`sysctls` are the values from before the first start; `containerd_root` may have mounts below it;
    `binaries` is the folder its daemons run from.
    """

    checkout: str
    containerd_root: str
    network: ClusterNetwork
    sysctls: tuple[tuple[str, str], ...]
    daemons: tuple[ProcessRecord, ...] = ()
    binaries: str = ""

    def alive(self) -> tuple[ProcessRecord, ...]:
        """The daemons that still run."""
        return tuple(record for record in self.daemons if is_alive(record))

    def belongs_to_another(self, checkout: str) -> bool:
        """Whether another checkout, which still exists, runs it: then it is not ours to touch."""
        return self.checkout != checkout and bool(self.alive()) and (Path(self.checkout) / "hack" / "down").exists()


def read_machine(file: Path) -> Machine | None:
    """None when no cluster is recorded. Raises ValueError or KeyError for a file that is not ours."""
    if not file.exists():
        return None
    value = json.loads(file.read_text())
    return Machine(
        checkout=value["checkout"],
        containerd_root=value["containerdRoot"],
        network=ClusterNetwork(whole=IPv4Network(value["network"])),
        sysctls=tuple(sorted(value["sysctls"].items())),
        daemons=tuple(record_from_json(record) for record in value["daemons"]),
        binaries=value["binaries"],
    )


def write_machine(machine: Machine, *, file: Path) -> None:
    """Write the record, atomically."""
    content = {
        "checkout": machine.checkout,
        "containerdRoot": machine.containerd_root,
        "network": str(machine.network.whole),
        "sysctls": dict(machine.sysctls),
        "daemons": [record.as_json() for record in machine.daemons],
        "binaries": machine.binaries,
    }
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o711)
    scratch = file.with_name(f".{file.name}.{os.getpid()}")
    scratch.write_text(json.dumps(content, indent=1))
    scratch.replace(file)


def add_daemon(record: ProcessRecord, *, file: Path) -> None:
    """Replaces an older record of the same daemon."""
    machine = read_machine(file)
    if machine is None:
        raise FileNotFoundError(file)
    others = tuple(known for known in machine.daemons if known.name != record.name)
    write_machine(replace(machine, daemons=(*others, record)), file=file)


def claim_machine(*, paths: Paths, network: ClusterNetwork) -> Machine:
    """Takes the machine for this checkout, after cleaning up behind a cluster whose daemons are all dead.

    Where some daemons of our own live, they stay. Raises OtherClusterError while another checkout's live.
    """
    found = read_machine(paths.record)
    mine = str(paths.repo)
    if found is not None:
        if found.belongs_to_another(mine):
            raise OtherClusterError(found.checkout)
        if found.alive() and found.checkout == mine and found.network == network:
            return found
        remove_cluster(found, paths=paths)
    sysctls = tuple(sorted(read_sysctls().items()))
    machine = Machine(checkout=mine, containerd_root=str(paths.containerd_root), network=network, sysctls=sysctls)
    write_machine(machine, file=paths.record)
    return machine


def remove_cluster(machine: Machine, *, paths: Paths) -> list[str]:
    """Ends every process and takes back every mount, group, link, address, table and setting of a cluster.

    Returns one sentence for each thing that would not go. Data, images and caches stay.
    """
    by_name = {record.name: record for record in machine.daemons}
    for name in STOP_ORDER:
        if name == "containerd":
            cgroups.end_members(spare={record.pid for record in machine.alive()})
        if record := by_name.get(name):
            stop_process(record)
    cgroups.end_members(grace=0)
    folders = (paths.run, paths.state, Path(machine.containerd_root))
    unmount_below(folders)
    remove_network(machine.network, sysctls=dict(machine.sysctls))
    stuck = [f"control group {group} is still in use" for group in cgroups.remove_groups()]
    for folder in (paths.state, paths.run):
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            stuck.append(f"{folder} could not be deleted: something below it is still mounted")
    return stuck
