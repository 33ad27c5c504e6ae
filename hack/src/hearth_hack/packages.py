"""The Debian packages that the cluster and the image builds use."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from hearth_hack.paths import Paths
from hearth_hack.processes import run_logged

PACKAGES = (
    "buildah",  # builds images without a container engine
    "containernetworking-plugins",  # pods' links and addresses
    "debootstrap",  # the images' base
    "iproute2",
    "nftables",  # kube-proxy's and our rules
    "runc",  # starts containers
    "util-linux",  # mount, umount
)


def missing_packages(names: Sequence[str] = PACKAGES) -> list[str]:
    """Those that dpkg does not know as installed."""
    command = ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\\n", *names]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    installed = {line.split()[0] for line in answer.stdout.splitlines() if line.endswith(" installed")}
    return [name for name in names if name not in installed]


def install_packages(*, paths: Paths) -> list[str]:
    """Installs what is missing, waiting up to two minutes for another apt. Returns what it installed."""
    missing = missing_packages()
    if missing:
        apt = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=120"]
        environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        log = paths.logs / "packages.log"
        run_logged([*apt, "update"], log=log, environ=environ)
        run_logged([*apt, "install", "--no-install-recommends", *missing], log=log, environ=environ)
    return missing
