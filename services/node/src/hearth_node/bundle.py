"""What a machine is given to join: tokens, a certificate and the authority. One file, readable by its owner only."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pydantic import Field, ValidationError

from hearth_api.base import StrictModel
from hearth_api.kinds.node import AcceleratorType
from hearth_api.names import API_VERSION, SECRET_CA, ray_secret_name, serve_secret_name
from hearth_node.config import RAY_PORT, SERVE_PORT, write_file
from hearth_node.errors import NodeError
from hearth_node.tls import ONE_USE, general_name, key_pem, make_key

_DAYS = 90
_SKEW = timedelta(hours=1)
_PEM = serialization.Encoding.PEM
_LABELS = {"app.kubernetes.io/name": "hearth", "app.kubernetes.io/component": "node"}


class Bundle(StrictModel):
    """The file that `invite` writes and `join --bundle` takes. Whoever has it can stand for the machine."""

    version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,36}[a-z0-9])?$")
    namespace: str
    hosts: tuple[str, ...] = Field(min_length=1)
    serve_port: int = SERVE_PORT
    ray_port: int = RAY_PORT
    ray_token: str = Field(min_length=16, repr=False)
    serve_token: str = Field(min_length=16, repr=False)
    authority: str
    certificate: str
    key: str = Field(repr=False)
    issued: datetime
    """By the cluster's clock."""


@dataclass(frozen=True, slots=True)
class Authority:
    """The cluster's own CA, as the Secret `hearth-ca` holds it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def read_authority(entries: dict[str, bytes]) -> Authority:
    """Return the authority from its Secret's entries. Raises NodeError."""
    try:
        key = serialization.load_pem_private_key(entries["ca.key"], None)
        certificate = x509.load_pem_x509_certificate(entries["ca.crt"])
    except (KeyError, ValueError, TypeError) as error:
        raise NodeError(f"the Secret {SECRET_CA} holds no authority: delete it and let the operator make it") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise NodeError(f"the key in the Secret {SECRET_CA} is of another kind than Hearth makes")
    return Authority(certificate, key)


def make_bundle(
    authority: Authority,
    *,
    name: str,
    namespace: str,
    hosts: tuple[str, ...],
    ports: tuple[int, int],
    tokens: tuple[str, str],
    invited: bool,
    now: datetime,
) -> Bundle:
    """Return a bundle with a certificate of 90 days. `ports` and `tokens`: Serve's, then Ray's.

    `invited`: the key travels in a file, so the operator replaces it as soon as it sees the machine.
    """
    key = make_key()
    names = [x509.NameAttribute(NameOID.COMMON_NAME, f"hearth node {name}"[:64])]
    if invited:
        names.append(x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, ONE_USE))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(names))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + timedelta(days=_DAYS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([general_name(host) for host in hosts]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return Bundle(
        name=name,
        namespace=namespace,
        hosts=hosts,
        serve_port=ports[0],
        ray_port=ports[1],
        serve_token=tokens[0],
        ray_token=tokens[1],
        authority=authority.certificate.public_bytes(_PEM).decode(),
        certificate=certificate.public_bytes(_PEM).decode(),
        key=key_pem(key).decode(),
        issued=now,
    )


def make_token(random_bytes: Callable[[int], bytes]) -> str:
    """Return a new token of 43 characters."""
    return base64.urlsafe_b64encode(random_bytes(32)).decode().rstrip("=")


def write_bundle(bundle: Bundle, path: Path) -> None:
    """Write the file for its owner only."""
    write_file(path, (json.dumps(bundle.to_json_object(), indent=2) + "\n").encode(), mode=0o600)


def read_bundle(path: Path) -> Bundle:
    """Return the bundle. Raises NodeError."""
    try:
        if path.stat().st_mode & 0o077:
            raise NodeError(f"{path} can be read by others and holds keys: chmod 600 {path}, then try again")
        return Bundle.model_validate_json(path.read_bytes())
    except OSError as error:
        raise NodeError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise NodeError(f"{path} is not a bundle of hack/node/invite, or it was cut: make it anew") from error


def secret_manifests(bundle: Bundle) -> list[dict[str, Any]]:
    """Return the two Secrets by which the cluster calls the machine. The private key is in neither."""
    tokens = {ray_secret_name(bundle.name): bundle.ray_token, serve_secret_name(bundle.name): bundle.serve_token}
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": bundle.namespace, "labels": _LABELS},
            "type": "Opaque",
            "stringData": {"token": token, "ca.crt": bundle.authority},
        }
        for name, token in tokens.items()
    ]


def node_manifest(bundle: Bundle, *, accelerator: AcceleratorType, memory: int, reserve: int = 0) -> dict[str, Any]:
    """Return the InferenceNode for the owner to apply. `memory` and `reserve` in bytes."""
    host = f"[{bundle.hosts[0]}]" if ":" in bundle.hosts[0] else bundle.hosts[0]
    spec: dict[str, Any] = {
        "type": "External",
        "external": {
            "dashboardURL": f"https://{host}:{bundle.ray_port}",
            "serveURL": f"https://{host}:{bundle.serve_port}",
            "raySecretRef": {"name": ray_secret_name(bundle.name)},
            "serveSecretRef": {"name": serve_secret_name(bundle.name)},
            "rayNodeLabels": {"hearth-node": bundle.name},
        },
        "accelerator": {"type": accelerator.value, "memory": f"{memory >> 20}Mi"},
    }
    if reserve:
        spec["reserve"] = {"memory": f"{reserve >> 20}Mi"}
    meta = {"name": bundle.name, "namespace": bundle.namespace}
    return {"apiVersion": API_VERSION, "kind": "InferenceNode", "metadata": meta, "spec": spec}
