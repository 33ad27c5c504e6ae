"""`.local/hearth.env`: what a shell needs in order to use the cluster."""

from __future__ import annotations

import shlex
from pathlib import Path

from hearth_hack.binaries import Binaries, replace_link
from hearth_hack.certs import write_private
from hearth_hack.paths import Paths


def environment_text(*, url: str, api_key: str, kubeconfig: Path, data: Path | None, bin_folder: Path) -> str:
    """Shell syntax, every variable exported, values quoted. `data` is None where the claim is on another machine."""
    lines = [
        "# Written by ./hack/up. Use it with:  . .local/hearth.env",
        f"export HEARTH_URL={shlex.quote(url)}",
        f"export HEARTH_API_KEY={shlex.quote(api_key)}",
        f"export KUBECONFIG={shlex.quote(str(kubeconfig))}",
        *([f"export HEARTH_DATA={shlex.quote(str(data))}"] if data is not None else []),
        f'export PATH={shlex.quote(str(bin_folder))}:"$PATH"',
    ]
    return "\n".join(lines) + "\n"


def write_environment(*, paths: Paths, url: str, api_key: str) -> Path:
    """Mode 0600: it holds an API key and names an administrator's kubeconfig."""
    file = paths.local / "hearth.env"
    text = environment_text(
        url=url, api_key=api_key, kubeconfig=paths.kubeconfig, data=paths.data, bin_folder=paths.bin
    )
    write_private(file, content=text.encode())
    return file


def link_commands(*, paths: Paths, binaries: Binaries) -> None:
    """Kubectl and helm in a folder of the checkout."""
    paths.bin.mkdir(parents=True, exist_ok=True)
    for name, target in (("kubectl", paths.repo / ".venv/bin/kubectl"), ("helm", binaries.path("helm"))):
        replace_link(paths.bin / name, target=target)
