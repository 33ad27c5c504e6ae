"""The machines of the local cluster from below: putting one to sleep, rebooting the one with the control plane, and what
Ray itself says of its applications.
"""

import base64
import json
import os
import signal
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from hearth_hack import cgroups
from hearth_hack.machine import read_machine
from hearth_hack.paths import default_paths
from support.cluster import NAMESPACE, Cluster
from support.requester import Reply, ask

REPO = Path(__file__).resolve().parents[2]
KEPT = "containerd"
"""The runtime of the Ray pods, which stand for machines of their own."""


def pods(cluster: Cluster, selector: str) -> list[dict[str, Any]]:
    """Return the pods that run."""
    return [pod for pod in cluster.items("pod", selector) if pod["status"]["phase"] == "Running"]


def processes(uid: str) -> set[int]:
    """Return the process ids of a pod, found by its control group."""
    found: set[int] = set()
    for group in cgroups.groups():
        if f"pod{uid}" in group.parts:
            try:
                found.update(int(line) for line in (group / "cgroup.procs").read_text().split())
            except OSError:
                continue  # the group vanished between listing and reading
    return found


def _signal_pod(uid: str, sign: signal.Signals) -> None:
    """Signal every process of a pod, also those that were started meanwhile."""
    done: set[int] = set()
    while left := processes(uid) - done:
        for pid in left:
            cgroups.send_signal(pid, sign=sign)
        done |= left


@contextmanager
def asleep(cluster: Cluster, node: str) -> Iterator[float]:
    """Stop a machine as sleep does: nothing of it runs, its addresses stay. Yield the moment.

    The kubelet ends a pod that was silent for a minute: wake it before.
    """
    (pod,) = pods(cluster, f"hearth.banjonet.com/kind=InferenceNode,hearth.banjonet.com/name={node}")
    uid = pod["metadata"]["uid"]
    assert processes(uid), f"no processes of the pod of {node}: is this the machine that runs the cluster?"
    moment = time.monotonic()
    _signal_pod(uid, signal.SIGSTOP)
    try:
        yield moment
    finally:
        _signal_pod(uid, signal.SIGCONT)


def crash_control(cluster: Cluster, *apps: str) -> None:
    """Kill at once what a reboot of the machine with the control plane takes: its daemons and the pods of `apps`."""
    uids = [
        pod["metadata"]["uid"] for app in apps for pod in pods(cluster, f"app.kubernetes.io/name={app}")
    ]  # known before nobody can be asked
    machine = read_machine(default_paths().record)
    assert machine is not None, "no cluster of this machine is recorded"
    for record in machine.alive():
        if record.name != KEPT:
            os.kill(record.pid, signal.SIGKILL)
    for uid in uids:
        _signal_pod(uid, signal.SIGKILL)


def boot_control(cluster: Cluster) -> None:
    """Start the daemons again, as the machine's start does."""
    env = {**os.environ, **{name: value for name, value in cluster.env.items() if name != "KUBECONFIG"}}
    command = [str(REPO / "hack" / "up"), "--cluster-only"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def _secret(cluster: Cluster, name: str) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in cluster.get("secret", name)["data"].items()}


def _address(cluster: Cluster, node: str) -> str:
    return str(cluster.get("service", f"hearth-node-{node}")["spec"]["clusterIP"])


@dataclass(frozen=True, slots=True)
class Application:
    """What Ray says of one of its applications."""

    status: str
    deployed: float
    """When Ray was last given it; a PUT of the same config counts too."""
    replicas: frozenset[tuple[str, int]]
    """Id and process id of each that is loaded."""


@dataclass(frozen=True, slots=True)
class RayEye:
    """Ray's own view of a node, past the operator."""

    url: str
    token: str

    @classmethod
    def of(cls, cluster: Cluster, node: str) -> "RayEye":
        """Return the eye on a managed node."""
        token = _secret(cluster, f"hearth-ray-{node}")["token"]
        return cls(url=f"http://{_address(cluster, node)}:8265/api/serve/applications/", token=token)

    def applications(self) -> dict[str, Application]:
        """Return all by name."""
        request = urllib.request.Request(self.url, headers={"authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(request, timeout=20) as response:
            found = json.load(response)["applications"]
        return {name: _application(entry) for name, entry in found.items()}

    def replicas(self, *apart: str) -> dict[str, frozenset[tuple[str, int]]]:
        """Return the replicas of all applications but those of the models `apart`."""
        found = self.applications()
        return {name: app.replicas for name, app in found.items() if name.partition(".")[0] not in apart}


def _application(entry: dict[str, Any]) -> Application:
    replicas = frozenset(
        (replica["replica_id"], replica["pid"])
        for deployment in entry.get("deployments", {}).values()
        for replica in deployment.get("replicas", ())
        if replica["state"] not in {"STARTING", "STOPPING"}  # one that takes a change in place is UPDATING
    )
    return Application(status=entry["status"], deployed=entry.get("last_deployed_time_s", 0.0), replicas=replicas)


def past_the_gateway(cluster: Cluster, model: str, variant: str, *, node: str) -> Callable[[], Reply]:
    """Ask a variant on its own port. What this needs of the cluster is read now: it works without a control plane."""
    secret = _secret(cluster, f"hearth-serve-{node}")
    context = ssl.create_default_context(cadata=secret["ca.crt"])
    context.check_hostname = False  # it is reached by its Service's address; the authority is the node's own
    url = f"https://{_address(cluster, node)}:8000/{model}/{variant}/v1/chat/completions"
    headers = {"authorization": f"Bearer {secret['token']}"}
    return lambda: ask(url, model=model, headers=headers, context=context)


@dataclass(frozen=True, slots=True)
class Seen:
    """The status of a ModelDeployment at one moment."""

    at: float
    serving: str
    degraded: str
    reason: str
    states: tuple[str, ...]


_LINE = "".join(
    f"{{{path}}}{{'|'}}"
    for path in (
        ".status.serving",
        ".status.conditions[?(@.type=='Degraded')].status",
        ".status.conditions[?(@.type=='Degraded')].reason",
        ".status.variants[*].state",
    )
)


class Watcher:
    """Context manager: notes every change of a ModelDeployment's status when it is told, as `kubectl get -w` does."""

    def __init__(self, cluster: Cluster, model: str) -> None:
        template = _LINE + "{'\\n'}"
        command = ["kubectl", "-n", NAMESPACE, "get", "modeldeployment", model, "-w", "-o", f"jsonpath={template}"]
        env = {**os.environ, **cluster.env}
        self._process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
        self._thread = threading.Thread(target=self._read, name="watcher")
        self.seen: list[Seen] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._thread.join()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            serving, degraded, reason, states, *_ = [*line.rstrip("\n").split("|"), "", "", "", ""]
            self.seen.append(
                Seen(at=time.monotonic(), serving=serving, degraded=degraded, reason=reason, states=(*states.split(),))
            )

    def first(self, wanted: Callable[[Seen], bool], *, since: float) -> Seen | None:
        """Return the first status since a moment for which `wanted` holds."""
        return next((seen for seen in list(self.seen) if seen.at >= since and wanted(seen)), None)

    def serving(self) -> list[str]:
        """Return which variants were said to serve, one after the other."""
        found: list[str] = []
        for seen in list(self.seen):
            if not found or found[-1] != seen.serving:
                found.append(seen.serving)
        return found
