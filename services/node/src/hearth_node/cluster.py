"""The cluster as the owner's kubectl reaches it: the authority, two Secrets, and what the time is there."""

import base64
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hearth_api.names import SECRET_CA, ray_secret_name, serve_secret_name
from hearth_node.bundle import Bundle, make_bundle, make_token, read_authority, secret_manifests
from hearth_node.errors import NodeError

_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Kubectl:
    """The owner's kubectl. `base` is the command with its context."""

    base: tuple[str, ...]
    namespace: str

    def call(self, arguments: Sequence[str], *, stdin: str | None = None) -> str:
        """Return what kubectl prints. Raises NodeError with its first line."""
        command = [*self.base, "-n", self.namespace, *arguments]
        try:
            # Its cache would stay in the home of whoever calls: `leave` leaves nothing there.
            with tempfile.TemporaryDirectory(prefix="hearth-kubectl-") as cache:
                done = subprocess.run(
                    command,
                    input=stdin,
                    env={**os.environ, "KUBECACHEDIR": cache},
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=_SECONDS,
                )
        except FileNotFoundError as error:
            raise NodeError("kubectl is not installed here: use a bundle (hack/node/invite where it is)") from error
        except subprocess.TimeoutExpired as error:
            raise NodeError("the cluster does not answer kubectl: is this the right --kubeconfig?") from error
        if done.returncode != 0:
            said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise NodeError(f"kubectl {arguments[0]} failed: {said[:300]}")
        return done.stdout

    def secret(self, name: str) -> dict[str, bytes] | None:
        """Return the entries of a Secret; None: it does not exist."""
        text = self.call(["get", "secret", name, "--ignore-not-found", "-o", "json"])
        if not text.strip():
            return None
        data = json.loads(text).get("data") or {}
        return {key: base64.b64decode(value) for key, value in data.items()}

    def apply(self, manifests: Sequence[dict[str, Any]]) -> None:
        """Apply objects; they pass through a pipe, never a command line or a file."""
        body = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self.call(["apply", "--server-side", "--force-conflicts", "-f", "-"], stdin=json.dumps(body))

    def delete(self, kind: str, *names: str) -> None:
        """Delete objects; none there is well."""
        self.call(["delete", kind, *names, "--ignore-not-found", "--wait=false"])

    def time(self) -> datetime:
        """Return the cluster's time: what it would note as the creation of an object that is not made."""
        text = self.call(["create", "configmap", "hearth-clock", "--dry-run=server", "-o", "json"])
        return datetime.fromisoformat(json.loads(text)["metadata"]["creationTimestamp"])


def invite(
    kubectl: Kubectl,
    *,
    name: str,
    hosts: tuple[str, ...],
    ports: tuple[int, int],
    invited: bool,
    new_tokens: bool,
    random_bytes: Callable[[int], bytes],
) -> Bundle:
    """Make the bundle of a machine and its two Secrets. A machine that joins again keeps its tokens.

    Raises NodeError.
    """
    entries = kubectl.secret(SECRET_CA)
    if entries is None:
        raise NodeError(
            f"there is no Secret {SECRET_CA} in the namespace {kubectl.namespace}: the operator makes it when it "
            "starts. Is this the cluster, the namespace (--namespace) and a release that can join machines?"
        )
    bundle = make_bundle(
        read_authority(entries),
        name=name,
        namespace=kubectl.namespace,
        hosts=hosts,
        ports=ports,
        tokens=(
            _token(kubectl, serve_secret_name(name), new=new_tokens, random_bytes=random_bytes),
            _token(kubectl, ray_secret_name(name), new=new_tokens, random_bytes=random_bytes),
        ),
        invited=invited,
        now=kubectl.time(),
    )
    kubectl.apply(secret_manifests(bundle))
    return bundle


def _token(kubectl: Kubectl, secret: str, *, new: bool, random_bytes: Callable[[int], bytes]) -> str:
    kept = None if new else (kubectl.secret(secret) or {}).get("token")
    return kept.decode().strip() if kept else make_token(random_bytes)
