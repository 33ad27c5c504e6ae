"""The base of all images, without a container registry: a small Debian from the machine's own package source."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hearth_hack.binaries import file_lock
from hearth_hack.paths import Paths
from hearth_hack.processes import run_logged

# Python with venv for the build, OpenMP for llama.cpp, and the certificate authorities that Debian trusts.
PACKAGES = ("python3", "python3-venv", "ca-certificates", "libgomp1")
# What no image needs: documentation, translations, downloaded packages, package lists.
CLUTTER = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "var/cache/apt", "var/lib/apt/lists")
VARIABLE = "HEARTH_BASE_IMAGE"


@dataclass(frozen=True, slots=True)
class PackageSource:
    """Where apt gets this release from: `suite` is its code name."""

    suite: str
    mirror: str

    @property
    def reference(self) -> str:
        """Return the base image's name; the number changes with what is put into it."""
        return f"hearth.local/base:{self.suite}-2"


class PackageSourceError(RuntimeError):
    """apt names no source for the running release."""


def parse_targets(text: str, *, codename: str) -> PackageSource:
    """Lines of `SITE RELEASE` -> the first that carries the release itself, not its updates."""
    for line in text.splitlines():
        site, _, release = line.partition(" ")
        if release.strip() == codename:
            return PackageSource(suite=codename, mirror=site)
    raise PackageSourceError(f"apt has no package source for {codename}: add one to /etc/apt/sources.list.d.")


def package_source() -> PackageSource:
    """Ask apt. Raises PackageSourceError."""
    release = dict(
        line.replace('"', "").split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line
    )
    answer = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=True,
    )
    return parse_targets(answer.stdout, codename=release.get("VERSION_CODENAME", ""))


def buildah(paths: Paths) -> list[str]:
    """Buildah with a store of ours, so that the user's own images are never touched."""
    store = paths.cache / "buildah"
    return ["buildah", "--root", str(store / "root"), "--runroot", str(store / "run"), "--storage-driver", "overlay"]


def build_environment(paths: Paths) -> dict[str, str]:
    """Buildah writes its scratch files where the cache is, not into a small /tmp."""
    scratch = paths.cache / "buildah" / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    return {**os.environ, "TMPDIR": str(scratch)}


def has_image(reference: str, *, paths: Paths) -> bool:
    """Return whether the store has it."""
    answer = subprocess.run(
        [*buildah(paths), "images", "--quiet", reference], capture_output=True, text=True, check=False
    )
    return answer.returncode == 0 and bool(answer.stdout.strip())


def ensure_base(*, paths: Paths, environ: Mapping[str, str] = os.environ) -> str:
    """The reference of the base image: $HEARTH_BASE_IMAGE as it is, else one made with debootstrap once (30-60 s)."""
    if chosen := environ.get(VARIABLE):
        return chosen
    source = package_source()
    with file_lock(paths.cache / "base.lock"):
        if not has_image(source.reference, paths=paths):
            make_base(source, paths=paths)
    return source.reference


def make_base(source: PackageSource, *, paths: Paths) -> None:
    """Install a minimal system into a folder and make it an image."""
    log = paths.logs / "image-base.log"
    root = paths.cache / "base-rootfs"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    include = f"--include={','.join(PACKAGES)}"
    run_logged(["debootstrap", "--variant=minbase", include, source.suite, str(root), source.mirror], log=log)
    for folder in CLUTTER:
        for entry in (root / folder).glob("*"):
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    for tests in root.glob("usr/lib/python3*/test"):
        shutil.rmtree(tests)
    dockerfile = paths.cache / "base.Dockerfile"
    dockerfile.write_text('FROM scratch\nADD . /\nCMD ["python3"]\n')
    command = [*buildah(paths), "build", "--isolation=chroot", "--tag", source.reference, "--file", str(dockerfile)]
    run_logged([*command, str(root)], log=log, environ=build_environment(paths))
    shutil.rmtree(root)
    dockerfile.unlink()
