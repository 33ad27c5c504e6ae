"""Where everything lies: in the checkout, in the cache that clones share, and machine-wide."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class Paths:
    """All folders of one checkout's cluster.

    `run` and `state` are machine-wide and short: unix socket paths end at 108 bytes, and another clone must find
    what a dead cluster left behind. Both vanish with `./hack/down`.
    """

    repo: Path
    local: Path
    cache: Path
    run: Path
    state: Path

    @property
    def cluster_modules(self) -> Path:
        """Return the folder of the Go modules."""
        return self.repo / "hack" / "cluster"

    @property
    def binaries(self) -> Path:
        """Return the folder of built programs."""
        return self.cache / "bin"

    @property
    def pki(self) -> Path:
        """Return the folder of certificates and keys."""
        return self.local / "cluster" / "pki"

    @property
    def config(self) -> Path:
        """Return the folder of the daemons' configuration files."""
        return self.local / "cluster" / "config"

    @property
    def etcd(self) -> Path:
        """Return etcd's data."""
        return self.local / "cluster" / "etcd"

    @property
    def volumes(self) -> Path:
        """Return the folder with one folder per claim."""
        return self.local / "volumes"

    @property
    def data(self) -> Path:
        """Return HEARTH_DATA."""
        return self.local / "data"

    @property
    def logs(self) -> Path:
        """Return the folder of logs."""
        return self.local / "logs"

    @property
    def bin(self) -> Path:
        """Return the folder with kubectl and helm."""
        return self.local / "bin"

    @property
    def kubeconfig(self) -> Path:
        """Return the administrator's kubeconfig."""
        return self.local / "kubeconfig"

    @property
    def containerd_root(self) -> Path:
        """The image store: kept by down and shared by clones, of which one at a time runs a cluster."""
        return self.cache / "containerd"

    @property
    def record(self) -> Path:
        """Return the machine-wide record of the running cluster."""
        return self.run / "cluster.json"

    @property
    def audit_log(self) -> Path:
        """Return the API server's audit log; older parts of it lie beside it."""
        return self.state / "audit" / "audit.log"

    @property
    def containerd_socket(self) -> Path:
        """Return containerd's socket."""
        return self.run / "containerd.sock"


def cache_root(environ: Mapping[str, str]) -> Path:
    """$HEARTH_CACHE, else hearth/ under $XDG_CACHE_HOME, else ~/.cache/hearth."""
    if explicit := environ.get("HEARTH_CACHE"):
        return Path(explicit).absolute()
    base = environ.get("XDG_CACHE_HOME") or str(Path(environ.get("HOME", "/root")) / ".cache")
    return Path(base).absolute() / "hearth"


def default_paths(repo: Path = REPO, *, environ: Mapping[str, str] = os.environ) -> Paths:
    """Return the paths of this checkout."""
    return Paths(
        repo=repo,
        local=repo / ".local",
        cache=cache_root(environ),
        run=Path("/run/hearth"),
        state=Path("/var/lib/hearth"),
    )
