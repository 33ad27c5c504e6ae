"""The NetworkPolicies as they are enforced: each part reaches what it needs and nothing else."""

import json
import uuid

import pytest

from support.cluster import NAMESPACE, Cluster

CONNECT = """
import socket, sys
host, port = sys.argv[1], int(sys.argv[2])
try:
    socket.create_connection((host, port), timeout=3).close()
    print("open")
except OSError as error:
    print("shut", error)
"""
PODS = {
    "gateway": ("app.kubernetes.io/name=hearth-gateway", "gateway"),
    "knowledge": ("app.kubernetes.io/name=hearth-knowledge", "knowledge"),
    "operator": ("app.kubernetes.io/name=hearth-operator", "operator"),
    "egress": ("app.kubernetes.io/name=hearth-egress", "egress"),
    "node": ("hearth.banjonet.com/name=studio", "ray"),
}
TARGETS = {
    "gateway": ("hearth-gateway", 80),
    "knowledge": ("hearth-knowledge", 8080),
    "ray": ("hearth-node-studio", 8265),
    "serve": ("hearth-node-studio", 8000),
    "proxy": ("hearth-egress", 3128),
    "api": ("kubernetes.default.svc", 443),
}
OPEN = {
    "gateway": {"knowledge", "serve", "api"},
    "knowledge": {"gateway", "api"},
    "operator": {"knowledge", "serve", "ray", "api"},
    # The proxy may reach the world by TCP; who answers it is decided at the other end.
    "egress": {"api", "gateway"},
    "node": set(),
}


def reaches(cluster: Cluster, part: str, target: str) -> bool:
    selector, container = PODS[part]
    name = next(
        pod["metadata"]["name"]
        for pod in cluster.items("pod", selector)
        if pod["status"]["phase"] == "Running" and "deletionTimestamp" not in pod["metadata"]
    )
    host, port = TARGETS[target]
    done = cluster.kubectl("exec", name, "-c", container, "--", "python3", "-c", CONNECT, host, str(port))
    assert done.stdout.split()[0] in {"open", "shut"}
    return done.stdout.startswith("open")


@pytest.mark.parametrize("part", PODS)
def test_a_part_reaches_exactly_what_it_needs(cluster: Cluster, part: str) -> None:
    own = {"gateway": "gateway", "knowledge": "knowledge", "egress": "proxy"}.get(part)
    reached = {target for target in TARGETS if target != own and reaches(cluster, part, target)}
    assert reached == OPEN[part]


def test_a_stranger_reaches_the_gateway_only(cluster: Cluster) -> None:
    """A pod of another namespace; the gateway asks it for a key."""
    image = cluster.items("pod", PODS["gateway"][0])[0]["spec"]["containers"][0]["image"]
    name = f"stranger-{uuid.uuid4().hex[:6]}"
    script = "\n".join(
        f"""
try:
    socket.create_connection(("{host}.{NAMESPACE}.svc", {port}), timeout=3).close()
    print("{target}", "open")
except OSError as error:
    print("{target}", "shut")
"""
        for target, (host, port) in TARGETS.items()
        if target != "api"
    )
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "restartPolicy": "Never",
            "containers": [
                {
                    "name": "ask",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python3", "-c", f"import socket, time\ntime.sleep(3)\n{script}"],
                }
            ],
        },
    }
    cluster.kubectl("--namespace=default", "create", "-f", "-", stdin=json.dumps(pod))
    try:

        def ended() -> bool:
            return json.loads(cluster.kubectl("--namespace=default", "get", "pod", name, "-o", "json").stdout)[
                "status"
            ]["phase"] in {"Succeeded", "Failed"}

        cluster.wait_for("the stranger has tried", ended, seconds=90)
        said = dict(line.split() for line in cluster.kubectl("--namespace=default", "logs", name).stdout.splitlines())
    finally:
        cluster.kubectl("--namespace=default", "delete", "pod", name, "--grace-period=0", "--force")
    assert {target for target, answer in said.items() if answer == "open"} == {"gateway"}
