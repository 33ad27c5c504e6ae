"""A cluster that somebody else runs, named by a kubeconfig context: how it is talked to and how images reach it."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hearth_hack.certs import write_private
from hearth_hack.images import Image
from hearth_hack.paths import Paths
from hearth_hack.processes import (
    Daemon,
    ProcessRecord,
    is_alive,
    record_from_json,
    run_logged,
    start_daemon,
    stop_process,
    wait_ready,
)
from hearth_hack.release import NAMESPACE
from hearth_hack.sample import SAMPLE_PARTS
from hearth_hack.volumes import USER

HELPER = "hearth-sample"
READY_SECONDS = 60.0
FORWARD_PORTS = range(18080, 18100)


class ContextError(RuntimeError):
    """The context cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Context:
    """One context of the user's kubeconfig, copied into a file of its own: a switch elsewhere changes nothing here."""

    name: str
    paths: Paths

    @property
    def folder(self) -> Path:
        """Return the folder of everything that belongs to the context."""
        return self.paths.local / "contexts" / re.sub(r"[^A-Za-z0-9.-]", "_", self.name)

    @property
    def kubeconfig(self) -> Path:
        """Return the copy of the user's kubeconfig."""
        return self.folder / "kubeconfig"

    @property
    def socket(self) -> Path:
        """Return where `kubectl proxy` listens."""
        return self.folder / "proxy.sock"

    @property
    def environment(self) -> Path:
        """Return what the user's shell sources."""
        return self.folder / "hearth.env"

    def kubectl(self, *arguments: str) -> list[str]:
        """Return a command line."""
        return [
            str(self.paths.repo / ".venv/bin/kubectl"),
            f"--kubeconfig={self.kubeconfig}",
            f"--namespace={NAMESPACE}",
            *arguments,
        ]


def open_context(name: str, *, paths: Paths, environ: Mapping[str, str]) -> Context:
    """Copy the context. Raises ContextError for a name that the kubeconfig lacks."""
    context = Context(name=name, paths=paths)
    context.folder.mkdir(parents=True, exist_ok=True)
    context.folder.chmod(0o700)
    program = str(paths.repo / ".venv/bin/kubectl")
    listed = subprocess.run(
        [program, "config", "get-contexts", "-o", "name"],
        capture_output=True,
        text=True,
        check=False,
        env=dict(environ),
    )
    names = listed.stdout.split()
    if name not in names:
        known = ", ".join(names) or "none"
        raise ContextError(f"there is no context {name}; your kubeconfig has: {known} (KUBECONFIG names its file)")
    shown = subprocess.run(
        [program, "config", "view", "--raw", "--minify", "--flatten", f"--context={name}", "-o", "json"],
        capture_output=True,
        text=True,
        check=True,
        env=dict(environ),
    )
    write_private(context.kubeconfig, content=yaml.safe_dump(json.loads(shown.stdout)).encode())
    return context


def check_reach(context: Context) -> str:
    """Return the server's version. Raises ContextError where it does not answer or refuses us."""
    done = subprocess.run(
        context.kubectl("version", "-o", "json", "--request-timeout=15s"), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        raise ContextError(f"the cluster of context {context.name} does not answer: {last}")
    allowed = subprocess.run(
        [*context.kubectl("auth", "can-i", "create", "clusterroles"), "--quiet"], capture_output=True, check=False
    )
    if allowed.returncode != 0:
        raise ContextError(
            f"context {context.name} may not create ClusterRoles: installing needs an administrator's context"
        )
    return str(json.loads(done.stdout)["serverVersion"]["gitVersion"])


def start_proxy(context: Context) -> ProcessRecord:
    """`kubectl proxy` on a socket file that only its owner may open: it carries an administrator's rights."""
    context.socket.unlink(missing_ok=True)
    daemon = Daemon(
        name="proxy",
        command=tuple(context.kubectl("proxy", f"--unix-socket={context.socket}")),
        log=context.folder / "proxy.log",
        ready=lambda: None if context.socket.exists() else "no socket yet",
    )
    record = start_daemon(daemon)
    wait_ready(daemon, record, seconds=READY_SECONDS)
    return record


def find_loader(context: Context, *, which: Callable[[str], str | None] = shutil.which) -> list[str] | None:
    """Return the command that brings an archive, its last argument, onto the nodes; None where no tool here can."""
    name = context.name
    if name.startswith("kind-") and which("kind"):
        return ["kind", "load", "image-archive", "--name", name.removeprefix("kind-")]
    if name.startswith("k3d-") and which("k3d"):
        return ["k3d", "image", "import", "--cluster", name.removeprefix("k3d-")]
    if name == "minikube" and which("minikube"):
        return ["minikube", "image", "load"]
    if which("k3s") and Path("/run/k3s/containerd/containerd.sock").exists():
        return ["k3s", "ctr", "images", "import"]
    return None


def load_archives(archives: Sequence[Path], *, loader: Sequence[str], context: Context) -> None:
    """Run the loader once per archive."""
    for archive in archives:
        run_logged([*loader, str(archive)], log=context.folder / "load.log")


def context_values(images: Sequence[Image], *, registry: str) -> dict[str, Any]:
    """What differs from the chart's defaults; the owner's own values come after these."""
    return {"image": {"registry": registry, "tags": {image.name: image.tag for image in images}}}


def helper_pod(image: str) -> dict[str, Any]:
    """A pod that holds the claim hearth-data open for writing while the sample is copied. It talks to nobody."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": HELPER, "namespace": NAMESPACE, "labels": {"app.kubernetes.io/name": HELPER}},
        "spec": {
            "automountServiceAccountToken": False,
            "restartPolicy": "Never",
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "copy",
                    "image": image,
                    "command": ["sleep", "600"],
                    "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "128Mi"}},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                }
            ],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "hearth-data"}}],
        },
    }


def sample_archive(folder: Path) -> bytes:
    """Return a tar of the sample as it shall lie below /data."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for part in SAMPLE_PARTS:
            archive.add(folder / part, arcname=f"sample/{part}", filter=_plain)
    return out.getvalue()


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mode = 0o770 if entry.isdir() else 0o660
    entry.uid = entry.gid = USER
    entry.uname = entry.gname = ""
    return entry


def copy_sample(context: Context, *, image: str) -> None:
    """Put the sample onto the claim through a pod. Raises ContextError."""
    manifest = json.dumps(helper_pod(image)).encode()
    _run(context.kubectl("apply", "--server-side", "-f", "-"), stdin=manifest)
    try:
        _run(context.kubectl("wait", f"pod/{HELPER}", "--for=condition=Ready", "--timeout=180s"))
        data = sample_archive(context.paths.repo / "tests" / "data" / "work-month")
        unpack = ["tar", "-x", "-C", "/data", "--no-same-owner", "--no-overwrite-dir"]
        _run(context.kubectl("exec", "-i", HELPER, "--", *unpack), stdin=data)
    finally:
        _run(context.kubectl("delete", "pod", HELPER, "--grace-period=0", "--force", "--ignore-not-found"))


def _run(command: Sequence[str], *, stdin: bytes | None = None) -> None:
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    if done.returncode != 0:
        raise ContextError(done.stderr.decode(errors="replace").strip()[:500])


def start_forward(context: Context) -> str:
    """Start `kubectl port-forward` to the gateway, which outlives us. Returns the URL. Raises ContextError."""
    stop_forward(context)
    log = context.folder / "port-forward.log"
    for port in FORWARD_PORTS:
        log.unlink(missing_ok=True)
        command = context.kubectl("port-forward", "--address=127.0.0.1", "service/hearth-gateway", f"{port}:80")
        record = start_daemon(Daemon(name="port-forward", command=tuple(command), log=log, ready=lambda: None))
        deadline = time.monotonic() + 20
        while is_alive(record) and time.monotonic() < deadline:
            if "Forwarding from" in log.read_text():
                (context.folder / "port-forward.json").write_text(json.dumps(record.as_json()))
                return f"http://127.0.0.1:{port}"
            time.sleep(0.1)
        stop_process(record)
        if "address already in use" not in log.read_text():
            break
    raise ContextError(f"the gateway cannot be reached: {log.read_text().strip()[-300:]}")


def stop_forward(context: Context) -> None:
    """End the port-forward of an earlier run."""
    file = context.folder / "port-forward.json"
    if file.exists():
        stop_process(record_from_json(json.loads(file.read_text())))
        file.unlink()
