"""Lends the machine's access to package indexes to an image's build, for the build's steps only.

A build step sees nothing of the host: without this, a machine behind its own certificate authority or package mirror
could not build an image. Nothing of it ends up in a layer, since mounts are not part of one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path

CERTIFICATES = Path("/etc/ssl/certs")


def uv_settings(text: str, *, environ: Mapping[str, str]) -> str:
    """The user's uv.toml plus what is said by environment variables, which a build step would not see.

    The system's certificates are always used: those are the ones that are mounted.
    """
    known = tomllib.loads(text) if text else {}
    lines = []
    if not known.keys() & {"native-tls", "system-certs"}:
        lines.append("native-tls = true")
    default = environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL")
    if default and "index-url" not in known:
        lines.append(f"index-url = {toml_string(default)}")
    # Top-level keys must stand before the file's first table.
    return "\n".join([*lines, text])


def toml_string(text: str) -> str:
    """Return the text as a TOML string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def pip_settings(environ: Mapping[str, str]) -> str:
    """Pip's effective settings, of files and of environment variables, as one file."""
    lines = ["[global]", "disable-pip-version-check = true", f"cert = {CERTIFICATES / 'ca-certificates.crt'}"]
    for variable, key in (("PIP_INDEX_URL", "index-url"), ("PIP_EXTRA_INDEX_URL", "extra-index-url")):
        if value := environ.get(variable) or pip_file_setting(key):
            lines.append(f"{key} = {value}")
    return "\n".join(lines) + "\n"


def pip_file_setting(key: str) -> str | None:
    """`pip config get`, where there is a pip."""
    for name in ("global", "install"):
        answer = subprocess.run(
            ["python3", "-m", "pip", "config", "get", f"{name}.{key}"], capture_output=True, text=True, check=False
        )
        if answer.returncode == 0 and answer.stdout.strip():
            return answer.stdout.strip()
    return None


def uv_file(environ: Mapping[str, str]) -> Path | None:
    """The user's file, else the machine's."""
    home = Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME", "/root")) / ".config")
    for file in (home / "uv" / "uv.toml", Path("/etc/uv/uv.toml")):
        if file.is_file():
            return file
    return None


def uv_cache(environ: Mapping[str, str]) -> Path:
    """Shared with the host's uv: packages it has downloaded are not fetched again for an image."""
    uv = shutil.which("uv")
    if uv is not None:
        answer = subprocess.run([uv, "cache", "dir"], capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            return Path(answer.stdout.strip())
    return Path(environ.get("HOME", "/root")) / ".cache" / "uv"


def build_mounts(folder: Path, *, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Values of `buildah build --volume`; the settings files are written into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    found = uv_file(environ)
    (folder / "uv").mkdir(exist_ok=True)
    (folder / "uv" / "uv.toml").write_text(uv_settings(found.read_text() if found else "", environ=environ))
    (folder / "pip.conf").write_text(pip_settings(environ))
    cache = uv_cache(environ)
    cache.mkdir(parents=True, exist_ok=True)
    mounts = [f"{folder / 'uv'}:/etc/uv:ro", f"{folder / 'pip.conf'}:/etc/pip.conf:ro", f"{cache}:/root/.cache/uv"]
    if CERTIFICATES.is_dir():
        mounts.append(f"{CERTIFICATES}:{CERTIFICATES}:ro")
    return mounts
