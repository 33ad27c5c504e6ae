"""Command lines of etcd, the API server and the controller manager, for the cluster and for tests alike."""

from __future__ import annotations

import base64
import json
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from hearth_hack.certs import Authority, Subject, write_private

ADMIN = Subject(file="admin", user="hearth-admin", groups=("system:masters",))
CONTROLLER_MANAGER = Subject(file="kube-controller-manager", user="system:kube-controller-manager")
KUBELET_CLIENT = Subject(file="apiserver-kubelet-client", user="hearth-apiserver", groups=("system:masters",))

# Probes may ask without a certificate; everything else needs one.
AUTHENTICATION = {
    "apiVersion": "apiserver.config.k8s.io/v1",
    "kind": "AuthenticationConfiguration",
    "anonymous": {"enabled": True, "conditions": [{"path": path} for path in ("/livez", "/readyz", "/healthz")]},
}


@dataclass(frozen=True, slots=True)
class ControlPlaneAddresses:
    """Where the three listen. `services` is the range of cluster addresses."""

    host: str
    port: int
    etcd_client: int
    etcd_peer: int
    services: str = "10.96.0.0/16"

    @property
    def url(self) -> str:
        """Return the API server's address."""
        return f"https://{self.host}:{self.port}"

    @property
    def etcd_url(self) -> str:
        """Return etcd's address for clients."""
        return f"https://127.0.0.1:{self.etcd_client}"


def server_subject(*names: str) -> Subject:
    """The API server's own certificate: the names that clients in and outside pods use, and `names`."""
    service = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
    return Subject(file="apiserver", user="kube-apiserver", names=("localhost", *service, "127.0.0.1", *names))


def etcd_subject() -> Subject:
    """Return etcd's certificate, for serving and for its clients."""
    return Subject(file="etcd", user="etcd", names=("localhost", "127.0.0.1"))


def etcd_command(
    binary: Path, *, addresses: ControlPlaneAddresses, authority: Authority, data: Path
) -> tuple[str, ...]:
    """Return etcd's command line."""
    peer = f"http://127.0.0.1:{addresses.etcd_peer}"
    return (
        str(binary),
        "--name=hearth",
        f"--data-dir={data}",
        f"--listen-client-urls={addresses.etcd_url}",
        f"--advertise-client-urls={addresses.etcd_url}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=hearth={peer}",
        f"--cert-file={authority.certificate('etcd')}",
        f"--key-file={authority.key('etcd')}",
        f"--trusted-ca-file={authority.certificate('ca')}",
        "--client-cert-auth",
        "--auto-compaction-retention=1",
        "--log-level=warn",
        # A lost write costs a test cluster nothing, and each fsync costs milliseconds on a shared disk.
        "--unsafe-no-fsync",
    )


def apiserver_command(
    binary: Path, *, addresses: ControlPlaneAddresses, authority: Authority, config: Path, extra: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """Files it names are written here: authentication rules and the key that encrypts Secrets in etcd."""
    config.mkdir(parents=True, exist_ok=True)
    authentication = config / "authentication.yaml"
    authentication.write_text(yaml.safe_dump(AUTHENTICATION))
    return (
        str(binary),
        f"--bind-address={addresses.host}",
        f"--advertise-address={addresses.host}",
        f"--secure-port={addresses.port}",
        f"--etcd-servers={addresses.etcd_url}",
        f"--etcd-cafile={authority.certificate('ca')}",
        f"--etcd-certfile={authority.certificate('etcd')}",
        f"--etcd-keyfile={authority.key('etcd')}",
        f"--client-ca-file={authority.certificate('ca')}",
        f"--tls-cert-file={authority.certificate('apiserver')}",
        f"--tls-private-key-file={authority.key('apiserver')}",
        f"--kubelet-client-certificate={authority.certificate(KUBELET_CLIENT.file)}",
        f"--kubelet-client-key={authority.key(KUBELET_CLIENT.file)}",
        f"--kubelet-certificate-authority={authority.certificate('ca')}",
        f"--service-account-key-file={authority.directory / 'service-accounts.pub'}",
        f"--service-account-signing-key-file={authority.key('service-accounts')}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-cluster-ip-range={addresses.services}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--kubelet-preferred-address-types=InternalIP",
        f"--authentication-config={authentication}",
        f"--encryption-provider-config={ensure_encryption(config / 'encryption.yaml')}",
        "--profiling=false",
        *extra,
    )


def controller_manager_command(
    binary: Path, *, kubeconfig: Path, authority: Authority, port: int, extra: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """Return the controller manager's command line."""
    return (
        str(binary),
        f"--kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--root-ca-file={authority.certificate('ca')}",
        f"--service-account-private-key-file={authority.key('service-accounts')}",
        "--profiling=false",
        *extra,
    )


def ensure_encryption(path: Path) -> Path:
    """The key of Secrets at rest, made once: etcd's data is worthless without it."""
    if not path.exists():
        key = base64.b64encode(os.urandom(32)).decode()
        providers = [{"secretbox": {"keys": [{"name": "key1", "secret": key}]}}, {"identity": {}}]
        content = {
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "EncryptionConfiguration",
            "resources": [{"resources": ["secrets"], "providers": providers}],
        }
        write_private(path, content=json.dumps(content).encode())
    return path


def client_context(authority: Authority, *, user: str | None = ADMIN.file) -> ssl.SSLContext:
    """Return TLS settings that trust the authority and, with a user, present its certificate."""
    context = ssl.create_default_context(cafile=str(authority.certificate("ca")))
    if user is not None:
        context.load_cert_chain(authority.certificate(user), authority.key(user))
    return context


def self_signed_context() -> ssl.SSLContext:
    """For a probe that asks our own process on loopback whether it is up, under a certificate it made itself."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def http_probe(url: str, *, context: Callable[[], ssl.SSLContext] | None = None) -> str | None:
    """None when the address answers 200, else what it did instead. Proxy settings are not for our own daemons."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    if context is not None:
        handler = urllib.request.HTTPSHandler(context=context())
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), handler)
    try:
        with opener.open(url, timeout=3) as answer:
            return None if answer.status == 200 else f"{url} answered {answer.status}"
    except urllib.error.HTTPError as refusal:
        return f"{url} answered {refusal.code}: {refusal.read(300).decode(errors='replace')}"
    except OSError as failure:
        return f"{url}: {failure}"
