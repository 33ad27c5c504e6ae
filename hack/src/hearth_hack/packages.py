"""The Debian packages that the cluster, the image builds and the tests use.

python -m hearth_hack.packages TIER...     installs what those tiers of ./hack/test need
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hearth_hack.paths import Paths, default_paths
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

TEST_PACKAGES = {
    "chart": ("prometheus",),  # promtool reads alerts and panels
    "integration": (
        "buildah",
        "docker-registry",  # takes what ./hack/images push sends
        "dovecot-core",
        "dovecot-imapd",  # a real IMAP server
    ),
    "browser": ("chromium",),
    "e2e": ("chromium", "dovecot-imapd", "dovecot-core"),
}
SERVICES = ("docker-registry.service", "dovecot.service", "dovecot.socket", "prometheus.service")
"""What these packages would start, now and at each boot. The tests start their own, on loopback."""


def missing_packages(names: Sequence[str] = PACKAGES) -> list[str]:
    """Those that dpkg does not know as installed."""
    command = ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\\n", *names]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    installed = {line.split()[0] for line in answer.stdout.splitlines() if line.endswith(" installed")}
    return [name for name in names if name not in installed]


def install_packages(names: Sequence[str] = PACKAGES, *, paths: Paths) -> list[str]:
    """Installs what is missing, waiting up to two minutes for another apt. Returns what it installed."""
    missing = missing_packages(names)
    if missing:
        apt = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=120"]
        environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        log = paths.logs / "packages.log"
        run_logged([*apt, "update"], log=log, environ=environ)
        run_logged([*apt, "install", "--no-install-recommends", *missing], log=log, environ=environ)
    return missing


def mask_services(names: Sequence[str], *, folder: Path = Path("/etc/systemd/system")) -> list[Path]:
    """Keep services that are not there yet from ever starting. Returns the links that it made."""
    made = []
    for name in names:
        link = folder / name
        known = link.exists() or link.is_symlink() or (Path("/lib/systemd/system") / name).exists()
        if not known:
            folder.mkdir(parents=True, exist_ok=True)
            link.symlink_to("/dev/null")
            made.append(link)
    return made


def main(tiers: Sequence[str]) -> int:
    """The command line."""
    names = list(dict.fromkeys(name for tier in tiers for name in TEST_PACKAGES.get(tier, ())))
    if not missing_packages(names):
        return 0
    if os.geteuid() != 0:
        print(
            f"hearth: these packages are missing: apt-get install {' '.join(missing_packages(names))}", file=sys.stderr
        )
        return 1
    paths = default_paths()
    paths.logs.mkdir(parents=True, exist_ok=True)
    mask_services(SERVICES)
    install_packages(names, paths=paths)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
