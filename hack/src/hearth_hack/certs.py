"""The cluster's certificates: one authority, ECDSA keys, written once and kept (down keeps them)."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = dt.timedelta(days=3650)
RENEW_BEFORE = dt.timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Subject:
    """One key pair: `groups` are Kubernetes groups (O=), `names` are DNS names and IP addresses it serves."""

    file: str
    user: str
    groups: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Authority:
    """A folder of PEM files, `ca.crt` and `ca.key` among them."""

    directory: Path

    def certificate(self, file: str) -> Path:
        """Return the file of a certificate."""
        return self.directory / f"{file}.crt"

    def key(self, file: str) -> Path:
        """Return the file of a private key."""
        return self.directory / f"{file}.key"


def write_private(path: Path, *, content: bytes) -> None:
    """Atomic, and readable by nobody else at any moment."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.unlink(missing_ok=True)
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as handle:
        handle.write(content)
    scratch.replace(path)


def ensure_authority(directory: Path, *, subjects: Sequence[Subject], now: dt.datetime) -> Authority:
    """Makes what is missing, expires soon, or names other hosts than asked for."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority = Authority(directory=directory)
    if not authority.certificate("ca").exists():
        key = new_key(authority.key("ca"))
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hearth-local-ca")])
        ca = build(name, issuer=name, public=key.public_key(), now=now)
        ca = ca.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        write_certificate(authority.certificate("ca"), ca.sign(key, hashes.SHA256()))
    if not authority.key("service-accounts").exists():
        key = new_key(authority.key("service-accounts"))
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        (directory / "service-accounts.pub").write_bytes(public)
    for subject in subjects:
        if not is_current(authority.certificate(subject.file), subject=subject, now=now):
            issue(subject, authority=authority, now=now)
    return authority


def issue(subject: Subject, *, authority: Authority, now: dt.datetime) -> None:
    """Signs one key pair for serving and for calling."""
    issuer = x509.load_pem_x509_certificate(authority.certificate("ca").read_bytes())
    signer = serialization.load_pem_private_key(authority.key("ca").read_bytes(), password=None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise TypeError("the authority's key is not an ECDSA key")
    key = new_key(authority.key(subject.file))
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in subject.groups]
    attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, subject.user))
    certificate = build(x509.Name(attributes), issuer=issuer.subject, public=key.public_key(), now=now)
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    certificate = certificate.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    if subject.names:
        names = x509.SubjectAlternativeName([general_name(name) for name in subject.names])
        certificate = certificate.add_extension(names, critical=False)
    write_certificate(authority.certificate(subject.file), certificate.sign(signer, hashes.SHA256()))


def is_current(file: Path, *, subject: Subject, now: dt.datetime) -> bool:
    """Return whether the certificate is valid for a while and serves exactly the subject's names."""
    if not file.exists():
        return False
    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    if certificate.not_valid_after_utc < now + RENEW_BEFORE:
        return False
    wanted = [general_name(name) for name in subject.names]
    try:
        present = list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        present = []
    return present == wanted


def build(
    subject: x509.Name, *, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: dt.datetime
) -> x509.CertificateBuilder:
    """Return a certificate that is complete but for its extensions and signature."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
    )


def general_name(name: str) -> x509.GeneralName:
    """Return an address or a DNS name as certificates write it."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def new_key(file: Path) -> ec.EllipticCurvePrivateKey:
    """Make a key and write it."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_private(file, content=pem)
    return key


def write_certificate(file: Path, certificate: x509.Certificate) -> None:
    """Write it as PEM."""
    write_private(file, content=certificate.public_bytes(serialization.Encoding.PEM))


def write_kubeconfig(path: Path, *, authority: Authority, user: str, server: str, namespace: str = "default") -> None:
    """A kubeconfig with everything inside it, mode 0600."""

    def encoded(file: Path) -> str:
        return base64.b64encode(file.read_bytes()).decode()

    cluster = {"server": server, "certificate-authority-data": encoded(authority.certificate("ca"))}
    credentials = {
        "client-certificate-data": encoded(authority.certificate(user)),
        "client-key-data": encoded(authority.key(user)),
    }
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "hearth", "cluster": cluster}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": "hearth", "context": {"cluster": "hearth", "user": user, "namespace": namespace}}],
        "current-context": "hearth",
    }
    write_private(path, content=yaml.safe_dump(content, sort_keys=False).encode())
