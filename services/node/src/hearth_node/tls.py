"""The certificate of a machine: its key is made here and never leaves; the cluster's authority signs."""

import ipaddress
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hearth_node.config import write_file

ONE_USE = "hearth-invite"
"""Organisational unit of a certificate whose key came in a bundle: the operator replaces both soon."""
_PEM = serialization.Encoding.PEM


class CertificateError(Exception):
    """A certificate does not fit this machine. The text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFacts:
    """What may be told of a certificate."""

    not_before: datetime
    not_after: datetime
    serial: str
    hosts: tuple[str, ...]
    invited: bool
    """Its key came in a bundle."""


def make_key() -> ec.EllipticCurvePrivateKey:
    """Return a new private key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key as PEM."""
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def make_request(key: ec.EllipticCurvePrivateKey, *, name: str, hosts: Iterable[str]) -> bytes:
    """Return a certificate request as PEM."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"hearth node {name}"[:64])])
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject)
        .add_extension(x509.SubjectAlternativeName([general_name(host) for host in hosts]), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(_PEM)
    )


def general_name(host: str) -> x509.GeneralName:
    """Return an address or a DNS name as certificates hold it."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def read_certificate(pem: bytes) -> x509.Certificate:
    """Return the first certificate of a PEM text. Raises CertificateError."""
    try:
        return x509.load_pem_x509_certificates(pem)[0]
    except (ValueError, IndexError) as error:
        raise CertificateError("it holds no certificate in PEM") from error


def read_facts(certificate: x509.Certificate) -> CertificateFacts:
    """Return what may be told of a certificate."""
    units = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    return CertificateFacts(
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        serial=f"{certificate.serial_number:x}",
        hosts=_hosts(certificate),
        invited=any(unit.value == ONE_USE for unit in units),
    )


def _hosts(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(name.value) for name in names if isinstance(name, x509.DNSName | x509.IPAddress))


def check_certificate(
    certificate: x509.Certificate, *, authority: x509.Certificate, hosts: Iterable[str], now: datetime
) -> None:
    """Raise CertificateError where the cluster would not trust a certificate, or where it is for another machine."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise CertificateError("it is not signed by the authority of the cluster that this machine joined") from error
    if now > certificate.not_valid_after_utc:
        raise CertificateError(f"it has expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")
    if now < certificate.not_valid_before_utc:
        raise CertificateError(
            f"it is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC, "
            f"and the clock of this machine says {now:%Y-%m-%d %H:%M} UTC"
        )
    held = set(_hosts(certificate))
    missing = [host for host in hosts if host not in held]
    if missing:
        raise CertificateError(f"it does not name {', '.join(missing)}, only {', '.join(sorted(held)) or 'nobody'}")


class CertificateStore:
    """The key and certificate in their file, and the TLS context that shows them."""

    def __init__(self, path: Path, *, authority: Path, name: str, hosts: tuple[str, ...]) -> None:
        self._path = path
        self._authority = authority
        self._name = name
        self._hosts = hosts
        self._stamp: tuple[int, int] | None = None
        self._pending: ec.EllipticCurvePrivateKey | None = None
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])

    def load(self) -> bool:
        """Show the file's certificate from the next connection on; say whether it is another one.

        Raises OSError or ssl.SSLError: then the former one stays.
        """
        stat = self._path.stat()
        stamp = (stat.st_mtime_ns, stat.st_ino)
        if stamp == self._stamp:
            return False
        self.context.load_cert_chain(self._path)
        self._stamp = stamp
        return True

    def facts(self) -> CertificateFacts:
        """Return what may be told of the certificate."""
        return read_facts(read_certificate(self._path.read_bytes()))

    def request(self) -> bytes:
        """Make a key, which is kept here, and return the request for its certificate."""
        self._pending = make_key()
        return make_request(self._pending, name=self._name, hosts=self._hosts)

    def install(self, chain: bytes, *, now: datetime) -> CertificateFacts:
        """Take the answer to `request`. Raises CertificateError; then nothing has changed."""
        key = self._pending
        if key is None:
            raise CertificateError("no certificate was requested since this process started: request one first")
        certificate = read_certificate(chain)
        authority = read_certificate(self._authority.read_bytes())
        check_certificate(certificate, authority=authority, hosts=self._hosts, now=now)
        if certificate.public_key() != key.public_key():
            raise CertificateError("it is for another key than the one that was requested last")
        write_file(self._path, key_pem(key) + certificate.public_bytes(_PEM), mode=0o600)
        self._pending = None
        self.load()
        return read_facts(certificate)
