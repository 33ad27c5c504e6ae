"""Starts the one-node cluster on a claimed machine, or what is missing of it."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from hearth_hack import cgroups, node
from hearth_hack.apiserver import (
    ADMIN,
    CONTROLLER_MANAGER,
    KUBELET_CLIENT,
    client_context,
    etcd_subject,
    server_subject,
)
from hearth_hack.binaries import Binaries
from hearth_hack.certs import ensure_authority, write_kubeconfig
from hearth_hack.containerd import import_archive, pause_reference, stored_images, write_pause_archive
from hearth_hack.kube import Kube, Object
from hearth_hack.machine import add_daemon, claim_machine, read_machine, remove_cluster, write_machine
from hearth_hack.network import ClusterNetwork, cluster_network, cni_config, default_mtu, raise_network
from hearth_hack.node import NODE, Site
from hearth_hack.paths import Paths
from hearth_hack.processes import Daemon, is_alive, start_daemon, wait_ready
from hearth_hack.volumes import STORAGE_CLASS

Say = Callable[[str], None]
READY_SECONDS = 120.0
RECORD_LOCK = threading.Lock()

COREDNS_ROLE: Object = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRole",
    "metadata": {"name": "hearth-coredns"},
    "rules": [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ],
}
COREDNS_BINDING: Object = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "hearth-coredns"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "hearth-coredns"},
    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "hearth-coredns"}],
}


class NodeNotReadyError(RuntimeError):
    """The node did not become Ready; the message holds its own reason."""


def prepare_site(*, paths: Paths, binaries: Binaries, network: ClusterNetwork) -> Site:
    """Folders, certificates and the administrator's kubeconfig."""
    for folder in (paths.local, paths.config, paths.logs, paths.volumes, paths.run, paths.state):
        folder.mkdir(parents=True, exist_ok=True)
    subjects = [
        ADMIN,
        CONTROLLER_MANAGER,
        KUBELET_CLIENT,
        etcd_subject(),
        server_subject(network.node, network.first_service),
        node.SCHEDULER,
        node.KUBE_PROXY,
        node.COREDNS,
        node.VOLUMES,
        node.POLICIES,
        node.kubelet_subject(network),
    ]
    authority = ensure_authority(paths.pki, subjects=subjects, now=dt.datetime.now(dt.UTC))
    site = Site(paths=paths, binaries=binaries, network=network, authority=authority)
    write_kubeconfig(
        paths.kubeconfig, authority=authority, user=ADMIN.file, server=site.addresses.url, namespace="hearth"
    )
    return site


def connect(site: Site) -> Kube:
    """The API server as administrator."""
    return Kube(site.addresses.url, context=client_context(site.authority))


def ensure_daemon(daemon: Daemon, *, paths: Paths) -> bool:
    """Starts it unless the recorded process lives; waits until it serves. Returns whether it had to be started."""
    machine = read_machine(paths.record)
    known = {record.name: record for record in machine.daemons} if machine else {}
    record = known.get(daemon.name)
    started = record is None or not is_alive(record)
    if record is None or started:
        record = start_daemon(daemon)
        with RECORD_LOCK:
            add_daemon(record, file=paths.record)
        cgroups.enter_daemons(record.pid)
    wait_ready(daemon, record, seconds=READY_SECONDS)
    return started


def start_cluster(*, paths: Paths, binaries: Binaries, environ: Mapping[str, str], say: Say) -> Site:
    """From nothing, from a half-dead cluster or from a running one to a Ready node.

    Raises OtherClusterError, DaemonError, NodeNotReadyError.
    """
    network = cluster_network(environ)
    machine = claim_machine(paths=paths, network=network)
    if machine.daemons and machine.binaries != str(binaries.directory):
        say("stopping the cluster of an older version")
        remove_cluster(machine, paths=paths)
        machine = claim_machine(paths=paths, network=network)
    write_machine(replace(machine, binaries=str(binaries.directory)), file=paths.record)
    fresh = not machine.daemons
    # The API counts whole seconds; a cluster that already ran has reported long ago, and that report holds.
    since = dt.datetime.now(dt.UTC).replace(microsecond=0) if fresh else dt.datetime.min.replace(tzinfo=dt.UTC)
    site = prepare_site(paths=paths, binaries=binaries, network=network)
    cgroups.ensure_groups()
    raise_network(network)
    write_cni(site)
    say("etcd")
    ensure_daemon(node.etcd(site), paths=paths)
    say("kube-apiserver")
    ensure_daemon(node.apiserver(site), paths=paths)
    kube = connect(site)
    apply_basics(kube)
    if fresh:
        forget_pods(kube)
    say("the other daemons")
    with ThreadPoolExecutor() as pool:
        waiting: list[Future[bool]] = [
            pool.submit(ensure_daemon, make(site), paths=paths)
            for make in (
                node.controller_manager,
                node.scheduler,
                node.kube_proxy,
                node.coredns,
                node.volumes,
                node.policies,
            )
        ]
        waiting.append(pool.submit(start_runtime, site))
        for each in waiting:
            each.result()
    say("node Ready")
    wait_node(kube, since=since)
    return site


def start_runtime(site: Site) -> bool:
    """containerd, the pause image, then the kubelet."""
    ensure_daemon(node.containerd(site), paths=site.paths)
    if pause_reference(site.binaries) not in stored_images(site.binaries, paths=site.paths):
        archive = site.paths.state / "pause.tar"
        write_pause_archive(archive, binaries=site.binaries)
        import_archive(archive, binaries=site.binaries, paths=site.paths)
        archive.unlink()
    return ensure_daemon(node.kubelet(site), paths=site.paths)


def write_cni(site: Site) -> None:
    """Addresses given out lie in the run folder: they are forgotten with the pods that had them."""
    folder = site.paths.run / "cni"
    folder.mkdir(parents=True, exist_ok=True)
    config = cni_config(site.network, data=site.paths.run / "cni-addresses", mtu=default_mtu())
    (folder / "10-hearth.conflist").write_text(config)


def apply_basics(kube: Kube) -> None:
    """Storage class and the name server's rights."""
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    kube.apply(f"/apis/storage.k8s.io/v1/storageclasses/{STORAGE_CLASS['metadata']['name']}", STORAGE_CLASS)
    kube.apply(f"{rbac}/clusterroles/hearth-coredns", COREDNS_ROLE)
    kube.apply(f"{rbac}/clusterrolebindings/hearth-coredns", COREDNS_BINDING)


def forget_pods(kube: Kube) -> None:
    """Deletes the pods of a cluster that was stopped, before its kubelet returns.

    Their status still says Ready although no container runs; what owns them makes new ones, and nobody waits on a lie.
    Finished pods keep their reports.
    """
    for pod in kube.items("/api/v1/pods"):
        meta = pod["metadata"]
        if meta.get("ownerReferences") and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
            kube.request(
                "DELETE",
                f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}",
                body={"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0},
            )


def node_condition(found: Object | None, *, since: dt.datetime) -> tuple[bool, str]:
    """Whether the Ready condition is True and was reported after `since`, and its message."""
    for condition in (found or {}).get("status", {}).get("conditions", []):
        if condition["type"] == "Ready":
            if dt.datetime.fromisoformat(condition["lastHeartbeatTime"]) < since:
                return False, "the kubelet has not reported since it was started"
            return condition["status"] == "True", condition.get("message", "")
    return False, "the kubelet has not registered yet"


def wait_node(kube: Kube, *, since: dt.datetime, seconds: float = READY_SECONDS) -> None:
    """Raises NodeNotReadyError."""
    deadline = time.monotonic() + seconds
    while True:
        ready, message = node_condition(kube.get(f"/api/v1/nodes/{NODE}"), since=since)
        if ready:
            return
        if time.monotonic() > deadline:
            raise NodeNotReadyError(f"node {NODE} is not Ready after {seconds:.0f} s: {message}")
        time.sleep(0.2)
