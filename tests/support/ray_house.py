"""A real Ray over several machines: a head and raylets, each in its own network and PID namespace, on one bridge.

The cable of a machine can be pulled, and its raylet started anew, as a supervisor does after a raylet was given up.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from support.ray_cluster import RAY_TOKEN, SERVE_TOKEN, RayCluster, ray_environment, wait_for_head, write_certificate

_NET = "198.51.100"  # TEST-NET-2: nobody's
_GCS_PORT, _DASHBOARD_PORT, _SERVE_PORT = 6379, 8265, 8000
_JOIN_TIMEOUT = 120.0
# A pulled cable is noticed within 6 s instead of a minute.
_ATTENTIVE = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}


@dataclass(slots=True)
class Machine:
    """A network namespace with one raylet."""

    name: str
    address: str
    cable: str
    """The bridge's end of its link."""
    labels: Mapping[str, str]
    process: "subprocess.Popen[bytes] | None" = None


@dataclass(slots=True, kw_only=True)
class RayHouse:
    """The head's API, and the machines by name."""

    cluster: RayCluster
    machines: dict[str, Machine] = field(default_factory=dict)
    log: IO[bytes]

    def pull_cable(self, name: str) -> None:
        _ip("link", "set", self.machines[name].cable, "down")

    def plug_in(self, name: str) -> None:
        _ip("link", "set", self.machines[name].cable, "up")

    def start(self, name: str, *, cpus: int = 2, gpus: int = 1) -> None:
        """Start a machine's raylet; the one that ran there ends first. Its GPUs are a number to Ray, nothing more."""
        machine = self.machines[name]
        self.end(name)
        machine.process = self._spawn(
            machine,
            *(f"--address={_NET}.1:{_GCS_PORT}", f"--num-cpus={cpus}", f"--num-gpus={gpus}"),
            "--labels=" + ",".join(f"{k}={v}" for k, v in machine.labels.items()),
        )

    def start_head(self) -> None:
        head = self.machines["head"]
        temporary = f"--temp-dir={self.cluster.folder}/ray"
        head.process = self._spawn(
            head,
            *("--head", f"--port={_GCS_PORT}", "--num-cpus=2", temporary),
            *("--dashboard-host=0.0.0.0", f"--dashboard-port={_DASHBOARD_PORT}"),
        )
        wait_for_head(self.cluster, head.process)

    def _spawn(self, machine: Machine, *arguments: str) -> "subprocess.Popen[bytes]":
        ray = shutil.which("ray", path=str(Path(sys.executable).parent))
        assert ray is not None
        # Ray's sockets and logs lie where the head's do: on machines of their own those are other folders.
        shared, own = self.cluster.folder / "ray", self.cluster.folder / machine.name
        for folder in (shared, own):
            folder.mkdir(exist_ok=True)
        command = [
            *("ip", "netns", "exec", machine.name, "unshare", "--pid", "--fork", "--mount-proc", "--kill-child"),
            *("sh", "-c", 'mount --bind "$0" "$1" && shift && exec "$@"', str(own), str(shared)),
            *(ray, "start", "--block", f"--node-ip-address={machine.address}", "--object-store-memory=80000000"),
            *("--disable-usage-stats", *arguments),
        ]
        environment = ray_environment(self.cluster.folder) | _ATTENTIVE
        return subprocess.Popen(command, stdout=self.log, stderr=self.log, env=environment, cwd=self.cluster.folder)

    def end(self, name: str) -> None:
        """Cut a machine's power: its processes end with the first one of their namespace."""
        process = self.machines[name].process
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=30)

    def alive(self) -> dict[str, str]:
        """Return address -> node id of the raylets that Ray calls alive."""
        rows = self.cluster.dashboard("/api/v0/nodes?detail=1").json["data"]["result"]["result"]
        return {row["node_ip"]: row["node_id"] for row in rows if row["state"] == "ALIVE"}

    def wait_alive(self, *names: str) -> None:
        end = time.monotonic() + _JOIN_TIMEOUT
        wanted = {self.machines[name].address for name in names}
        while not wanted <= set(self.alive()):
            assert time.monotonic() < end, (self.cluster.folder / "ray.log").read_text()[-4000:]
            time.sleep(0.3)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, timeout=10)


@contextmanager
def _bridge(name: str) -> Iterator[str]:
    _ip("link", "add", name, "type", "bridge")
    try:
        _ip("addr", "add", f"{_NET}.254/24", "dev", name)
        _ip("link", "set", name, "up")
        yield name
    finally:
        _ip("link", "delete", name)


@contextmanager
def _machine(bridge: str, name: str, address: str, labels: Mapping[str, str]) -> Iterator[Machine]:
    cable = f"{name[:10]}v"
    _ip("netns", "add", name)
    try:
        _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", cable, "master", bridge, "up")
        _ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "link", "set", "eth0", "up")
        yield Machine(name=name, address=address, cable=cable, labels=labels)
    finally:
        _ip("netns", "delete", name)


@contextmanager
def running_house(folder: Path, **machines: Mapping[str, str]) -> Iterator[RayHouse]:
    """Start a head without labels, and machines with theirs: `running_house(folder, one={"pool": "cuda"})`."""
    write_certificate(folder, f"{_NET}.1")
    (folder / "token").write_text(SERVE_TOKEN)
    (folder / "ray-token").write_text(RAY_TOKEN)
    cluster = RayCluster(folder=folder, dashboard_port=_DASHBOARD_PORT, serve_port=_SERVE_PORT, address=f"{_NET}.1")
    with ExitStack() as stack:
        house = RayHouse(cluster=cluster, log=stack.enter_context((folder / "ray.log").open("wb")))
        mark = f"h{os.getpid() % 100_000}"
        bridge = stack.enter_context(_bridge(f"{mark}b"))
        for number, (name, labels) in enumerate({"head": {}, **machines}.items(), start=1):
            made = _machine(bridge, f"{mark}n{number}", f"{_NET}.{number}", labels)
            house.machines[name] = stack.enter_context(made)
            stack.callback(house.end, name)
        house.start_head()
        for name in machines:
            house.start(name)
        house.wait_alive(*machines)
        yield house
