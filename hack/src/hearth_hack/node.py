"""The daemons of the one-node cluster: their ports, files and command lines."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hearth_hack.apiserver import (
    CONTROLLER_MANAGER,
    ControlPlaneAddresses,
    apiserver_command,
    client_context,
    controller_manager_command,
    etcd_command,
    http_probe,
    self_signed_context,
)
from hearth_hack.audit import audit_flags
from hearth_hack.binaries import Binaries
from hearth_hack.certs import Authority, Subject, write_kubeconfig
from hearth_hack.containerd import containerd_config
from hearth_hack.network import ClusterNetwork
from hearth_hack.paths import Paths
from hearth_hack.processes import Daemon

NODE = "hearth-local"
DOMAIN = "cluster.local"
SCHEDULER = Subject(file="kube-scheduler", user="system:kube-scheduler")
KUBE_PROXY = Subject(file="kube-proxy", user="system:kube-proxy")
COREDNS = Subject(file="coredns", user="hearth-coredns")
POLICIES = Subject(file="policies", user="hearth-policies", groups=("system:masters",))
VOLUMES = Subject(file="volumes", user="hearth-volumes", groups=("system:masters",))


@dataclass(frozen=True, slots=True)
class Ports:
    """Away from the usual ones, so that another cluster's daemons on loopback do not collide with ours."""

    apiserver: int = 6443
    etcd_client: int = 21379
    etcd_peer: int = 21380
    controller_manager: int = 21257
    scheduler: int = 21259
    kubelet: int = 21250
    kubelet_health: int = 21248
    kube_proxy_health: int = 21256
    kube_proxy_metrics: int = 21249
    coredns_health: int = 21253


PORTS = Ports()


@dataclass(frozen=True, slots=True)
class Site:
    """Everything the daemons' command lines are made of."""

    paths: Paths
    binaries: Binaries
    network: ClusterNetwork
    authority: Authority
    ports: Ports = PORTS

    @property
    def addresses(self) -> ControlPlaneAddresses:
        """Return where the control plane listens."""
        return ControlPlaneAddresses(
            host=self.network.node,
            port=self.ports.apiserver,
            etcd_client=self.ports.etcd_client,
            etcd_peer=self.ports.etcd_peer,
            services=str(self.network.services),
        )

    def kubeconfig(self, subject: Subject) -> Path:
        """Written anew each time: it follows the certificate."""
        path = self.paths.config / f"{subject.file}.kubeconfig"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_kubeconfig(path, authority=self.authority, user=subject.file, server=self.addresses.url)
        return path

    def config_file(self, name: str, *, content: dict[str, Any]) -> Path:
        """Write a configuration file."""
        path = self.paths.config / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    def daemon(self, name: str, *, command: tuple[str, ...], ready: Callable[[], str | None]) -> Daemon:
        """Return a daemon with its log in the usual place."""
        return Daemon(name=name, command=command, log=self.paths.logs / f"{name}.log", ready=ready)


def kubelet_subject(network: ClusterNetwork) -> Subject:
    """Return the kubelet's certificate, for serving and for calling."""
    return Subject(file="kubelet", user=f"system:node:{NODE}", groups=("system:nodes",), names=(NODE, network.node))


def etcd(site: Site) -> Daemon:
    """Return the store."""
    command = etcd_command(
        site.binaries.path("etcd"), addresses=site.addresses, authority=site.authority, data=site.paths.etcd
    )
    url = f"{site.addresses.etcd_url}/readyz"
    return site.daemon(
        "etcd",
        command=command,
        ready=lambda: http_probe(url, context=lambda: client_context(site.authority, user="etcd")),
    )


def apiserver(site: Site) -> Daemon:
    """Return the API server."""
    command = apiserver_command(
        site.binaries.path("kube-apiserver"),
        addresses=site.addresses,
        authority=site.authority,
        config=site.paths.config,
        extra=audit_flags(config=site.paths.config, log=site.paths.audit_log),
    )
    url = f"{site.addresses.url}/readyz"
    return site.daemon(
        "kube-apiserver", command=command, ready=lambda: http_probe(url, context=lambda: client_context(site.authority))
    )


def controller_manager(site: Site) -> Daemon:
    """Return the controller manager."""
    command = controller_manager_command(
        site.binaries.path("kube-controller-manager"),
        kubeconfig=site.kubeconfig(CONTROLLER_MANAGER),
        authority=site.authority,
        port=site.ports.controller_manager,
        # A node that is gone for a minute is what tests make on purpose; five minutes is what they would wait.
        extra=("--node-monitor-grace-period=20s", f"--cluster-cidr={site.network.pods}"),
    )
    return site.daemon("kube-controller-manager", command=command, ready=own_health(site.ports.controller_manager))


def scheduler(site: Site) -> Daemon:
    """Return the scheduler."""
    command = (
        str(site.binaries.path("kube-scheduler")),
        f"--kubeconfig={site.kubeconfig(SCHEDULER)}",
        "--bind-address=127.0.0.1",
        f"--secure-port={site.ports.scheduler}",
        "--leader-elect=false",
        "--profiling=false",
    )
    return site.daemon("kube-scheduler", command=command, ready=own_health(site.ports.scheduler))


def own_health(port: int) -> Callable[[], str | None]:
    """The scheduler and the controller manager serve /healthz under a certificate that they make themselves."""
    return lambda: http_probe(f"https://127.0.0.1:{port}/healthz", context=self_signed_context)


def containerd(site: Site) -> Daemon:
    """Return the container runtime."""
    config = site.paths.config / "containerd.toml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(containerd_config(paths=site.paths, binaries=site.binaries))
    socket = site.paths.containerd_socket
    return site.daemon(
        "containerd",
        command=(str(site.binaries.path("containerd")), "--config", str(config)),
        ready=lambda: None if socket.exists() else f"{socket} does not exist",
    )


def kubelet_config(site: Site) -> dict[str, Any]:
    """The kubelet's configuration file."""
    resolved = Path("/run/systemd/resolve/resolv.conf")  # the stub resolver's address means nothing inside a pod
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": site.network.node,
        "port": site.ports.kubelet,
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": site.ports.kubelet_health,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(site.authority.certificate("ca"))},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(site.authority.certificate("kubelet")),
        "tlsPrivateKeyFile": str(site.authority.key("kubelet")),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": "/hearth",
        "failCgroupV1": False,
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "makeIPTablesUtilChains": False,
        "clusterDNS": [site.network.node],
        "clusterDomain": DOMAIN,
        "resolvConf": str(resolved if resolved.exists() else "/etc/resolv.conf"),
        "containerRuntimeEndpoint": f"unix://{site.paths.containerd_socket}",
        "podLogsDir": str(site.paths.state / "pod-logs"),
        # The image store is a cache that outlives the cluster: nothing is ever thrown out of it for age or space.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "nodeStatusUpdateFrequency": "5s",
        "volumePluginDir": str(site.paths.state / "volume-plugins"),
    }


def kubelet(site: Site) -> Daemon:
    """Return the kubelet."""
    config = site.config_file("kubelet.yaml", content=kubelet_config(site))
    command = (
        str(site.binaries.path("kubelet")),
        f"--config={config}",
        f"--kubeconfig={site.kubeconfig(kubelet_subject(site.network))}",
        f"--root-dir={site.paths.state / 'kubelet'}",
        f"--cert-dir={site.paths.state / 'kubelet' / 'pki'}",
        f"--hostname-override={NODE}",
        f"--node-ip={site.network.node}",
    )
    url = f"http://127.0.0.1:{site.ports.kubelet_health}/healthz"
    return site.daemon("kubelet", command=command, ready=lambda: http_probe(url))


def kube_proxy(site: Site) -> Daemon:
    """Return what makes Services work."""
    command = (
        str(site.binaries.path("kube-proxy")),
        f"--kubeconfig={site.kubeconfig(KUBE_PROXY)}",
        f"--hostname-override={NODE}",
        "--proxy-mode=nftables",
        f"--cluster-cidr={site.network.pods}",
        f"--healthz-bind-address=127.0.0.1:{site.ports.kube_proxy_health}",
        f"--metrics-bind-address=127.0.0.1:{site.ports.kube_proxy_metrics}",
        "--oom-score-adj=0",
        # The machine's connection tracking is the machine's: nothing of it is changed.
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0",
        "--conntrack-tcp-timeout-close-wait=0",
    )
    url = f"http://127.0.0.1:{site.ports.kube_proxy_health}/livez"
    return site.daemon("kube-proxy", command=command, ready=lambda: http_probe(url))


def corefile(site: Site, *, upstream: bool) -> str:
    """CoreDNS runs on the host, at the node's address: names work before the first pod starts."""
    config = site.kubeconfig(COREDNS)
    forward = "    forward . /etc/resolv.conf\n" if upstream else ""
    return (
        ".:53 {\n"
        f"    bind {site.network.node}\n"
        "    errors\n"
        f"    health 127.0.0.1:{site.ports.coredns_health}\n"
        f"    kubernetes {DOMAIN} in-addr.arpa {{\n"
        f"        kubeconfig {config} hearth\n"
        "        fallthrough in-addr.arpa\n"
        "    }\n"
        f"{forward}"
        "    cache 10\n"
        "}\n"
    )


def coredns(site: Site) -> Daemon:
    """Return the name server."""
    upstream = "nameserver" in Path("/etc/resolv.conf").read_text() if Path("/etc/resolv.conf").exists() else False
    path = site.paths.config / "Corefile"
    path.write_text(corefile(site, upstream=upstream))
    url = f"http://127.0.0.1:{site.ports.coredns_health}/health"
    return site.daemon(
        "coredns",
        command=(str(site.binaries.path("coredns")), "-conf", str(path)),
        ready=lambda: http_probe(url),
    )


def volumes(site: Site) -> Daemon:
    """It makes the folders behind PersistentVolumeClaims."""
    return _own(site, "volumes", *(str(path) for path in (site.paths.pki, site.paths.volumes, site.paths.data)))


def policies(site: Site) -> Daemon:
    """It enforces NetworkPolicies."""
    return _own(site, "policies", str(site.paths.pki), str(site.network.pods))


def _own(site: Site, name: str, *arguments: str) -> Daemon:
    """Return a daemon of this package."""
    source = str(Path(__file__).resolve().parents[1])
    return Daemon(
        name=name,
        command=(sys.executable, "-m", f"hearth_hack.{name}", site.addresses.url, *arguments),
        log=site.paths.logs / f"{name}.log",
        ready=lambda: None,
        environ={**os.environ, "PYTHONPATH": source},
    )
