"""containerd's configuration, its image store, and the archive of the pause image."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

from hearth_hack.binaries import Binaries
from hearth_hack.network import CNI_PLUGINS
from hearth_hack.paths import Paths
from hearth_hack.processes import run_logged

NAMESPACE = "k8s.io"


def pause_reference(binaries: Binaries) -> str:
    """The sandbox image's name carries its content, so that a changed program is a new image."""
    return f"hearth.local/pause:{hashlib.sha256(binaries.path('pause').read_bytes()).hexdigest()[:12]}"


def containerd_config(*, paths: Paths, binaries: Binaries) -> str:
    """TOML. Everything that lives for one run is below the run and state folders; only images stay."""
    return f"""version = 3
root = '{paths.containerd_root}'
state = '{paths.run}/containerd'
disabled_plugins = ['io.containerd.nri.v1.nri', 'io.containerd.image-verifier.v1.bindir']

[grpc]
  address = '{paths.containerd_socket}'

[ttrpc]
  address = '{paths.containerd_socket}.ttrpc'

[plugins.'io.containerd.internal.v1.opt']
  path = '{paths.state}/containerd-opt'

[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'overlayfs'
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = '{pause_reference(binaries)}'

[plugins.'io.containerd.cri.v1.runtime']
  # Lowering oom_score_adj is refused to root in many virtual machines and containers; without this no pod starts.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd]
    default_runtime_name = 'runc'
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
      runtime_type = 'io.containerd.runc.v2'
      runtime_path = '{binaries.path("containerd-shim-runc-v2").resolve()}'
      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
        SystemdCgroup = false
        Root = '{paths.run}/runc'
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ['{CNI_PLUGINS}']
    conf_dir = '{paths.run}/cni'
    use_internal_loopback = true
"""


def ctr(binaries: Binaries, *, paths: Paths) -> list[str]:
    """Return the start of a command line of containerd's own client."""
    return [str(binaries.path("ctr")), "--address", str(paths.containerd_socket), "--namespace", NAMESPACE]


def stored_images(binaries: Binaries, *, paths: Paths) -> set[str]:
    """References in the store."""
    command = [*ctr(binaries, paths=paths), "images", "list", "--quiet"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(answer.stdout.split())


def import_archive(archive: Path, *, binaries: Binaries, paths: Paths) -> None:
    """Imports a docker or OCI archive and unpacks it."""
    command = [*ctr(binaries, paths=paths), "images", "import", "--local", str(archive)]
    run_logged(command, log=paths.logs / "images-import.log")


def nameless_images(listing: str) -> list[str]:
    """Of `ctr images list`: references by digest whose image has no name any more (CRI adds one to every image)."""
    rows = [line.split() for line in listing.splitlines()[1:]]
    named = {row[2] for row in rows if len(row) > 2 and not row[0].startswith("sha256:")}
    return [row[0] for row in rows if len(row) > 2 and row[0].startswith("sha256:") and row[2] not in named]


def drop_images(references: Sequence[str], *, binaries: Binaries, paths: Paths) -> None:
    """Removes images, and the packed layers of those that stay: what runs uses the unpacked ones."""
    client = ctr(binaries, paths=paths)
    if references:
        subprocess.run([*client, "images", "remove", *references], capture_output=True, check=False)
    answer = subprocess.run([*client, "images", "list"], capture_output=True, text=True, check=True)
    if nameless := nameless_images(answer.stdout):
        subprocess.run([*client, "images", "remove", *nameless], capture_output=True, check=False)
    subprocess.run([*client, "content", "prune", "references"], capture_output=True, check=False)


def write_pause_archive(path: Path, *, binaries: Binaries) -> None:
    """A docker archive of one layer with one static program, made without any image builder."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        add_file(tar, name="pause", content=binaries.path("pause").read_bytes(), mode=0o755)
    content = layer.getvalue()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(content).hexdigest()}"]},
    }
    encoded = json.dumps(config).encode()
    config_name = f"{hashlib.sha256(encoded).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [pause_reference(binaries)], "Layers": ["layer.tar"]}]
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode="w") as tar:
        add_file(tar, name=config_name, content=encoded)
        add_file(tar, name="layer.tar", content=content)
        add_file(tar, name="manifest.json", content=json.dumps(manifest).encode())


def add_file(tar: tarfile.TarFile, *, name: str, content: bytes, mode: int = 0o644) -> None:
    """Append one file to an archive."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.mode = mode
    tar.addfile(info, io.BytesIO(content))
