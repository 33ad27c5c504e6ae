"""The Go programs of the cluster: what each is built from, and the key under which clones share the result."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

KUBERNETES_VERSION = "v1.37.2"
DAEMONS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")


@dataclass(frozen=True, slots=True)
class Tool:
    """One pinned Go module under hack/cluster/.

    `programs` maps a binary's name to the package it is built from ("." is the module itself); `aliases` are further
    names of the first program. `flags` go to `go build` as they are.
    """

    module: str
    programs: tuple[tuple[str, str], ...]
    flags: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all programs."""
        return (*(name for name, _ in self.programs), *self.aliases)


CONTAINERD = "github.com/containerd/containerd/v2/cmd"
SMALL = ("-ldflags", "-s -w")

TOOLS: tuple[Tool, ...] = (
    Tool(
        module="kubernetes",
        programs=(("kubernetes", "."),),
        # Without optimisation the build takes 10 instead of 14 minutes of CPU, and one node feels no difference.
        flags=(
            "-gcflags=all=-N -l",
            "-ldflags",
            f"-s -w -X k8s.io/component-base/version.gitVersion={KUBERNETES_VERSION}",
        ),
        aliases=DAEMONS,
    ),
    Tool(module="etcd", programs=(("etcd", "go.etcd.io/etcd/server/v3"),), flags=SMALL),
    Tool(
        module="containerd",
        programs=tuple((name, f"{CONTAINERD}/{name}") for name in ("containerd", "containerd-shim-runc-v2", "ctr")),
        flags=("-tags", "no_btrfs no_zfs no_devmapper no_blockfile no_erofs", *SMALL),
    ),
    Tool(module="coredns", programs=(("coredns", "."),), flags=SMALL),
    Tool(module="helm", programs=(("helm", "helm.sh/helm/v4/cmd/helm"),), flags=SMALL),
    Tool(module="pause", programs=(("pause", "."),), flags=SMALL),
)

MODULES = tuple(tool.module for tool in TOOLS)


def select(modules: Sequence[str]) -> tuple[Tool, ...]:
    """The named tools, all of them when no name is given. Raises KeyError with the first unknown name."""
    by_module = {tool.module: tool for tool in TOOLS}
    return tuple(by_module[module] for module in modules or MODULES)


def tool_key(tool: Tool, *, modules: Path) -> str:
    """Twelve hex digits over the module's files and the flags: the same inputs are never built twice."""
    digest = hashlib.sha256(repr((tool.programs, tool.flags)).encode())
    for file in sorted((modules / tool.module).iterdir()):
        if file.is_file():
            digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
