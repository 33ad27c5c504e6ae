"""Certificates of serving nodes.

A managed node has a CA of its own, whose key is thrown away at once. Joined machines have one authority in common:
their keys are made there, their certificates live for 90 days and are renewed.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_VALID = timedelta(days=3650)
_SKEW = timedelta(hours=1)
_JOINED_VALID = timedelta(days=90)
_LEAST_RSA_BITS = 2048


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM texts."""

    ca: bytes
    certificate: bytes
    key: bytes


def issue(host: str, *, namespace: str, now: datetime) -> Certificate:
    """Return a certificate for a Service, signed by a CA made for it. Nobody can sign with that CA again."""
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Hearth CA of {host}"[:64])])
    ca = (
        _builder(ca_name, ca_name, ca_key.public_key(), now=now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign=True), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    certificate = (
        _builder(subject, ca_name, key.public_key(), now=now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_alternatives(host, namespace)), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    return Certificate(
        ca=ca.public_bytes(pem),
        certificate=certificate.public_bytes(pem) + ca.public_bytes(pem),
        key=key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


class RequestError(Exception):
    """A certificate request is not signed as it must be. The text says why."""


@dataclass(frozen=True, slots=True)
class Authority:
    """PEM texts."""

    certificate: bytes
    key: bytes


def make_authority(*, now: datetime) -> Authority:
    """Return the authority of joined machines."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Hearth CA of joined machines")])
    certificate = (
        _builder(name, name, key.public_key(), now=now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    return Authority(
        certificate=certificate.public_bytes(pem),
        key=key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def sign_request(request: bytes, authority: Authority, *, name: str, hosts: Iterable[str], now: datetime) -> bytes:
    """Return the certificate (PEM) for a request (PEM). Raises RequestError.

    Only its public key is taken: for which hosts it stands is decided here.
    """
    try:
        parsed = x509.load_pem_x509_csr(request)
        key = parsed.public_key()
        signed = parsed.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise RequestError("it is not a certificate request in PEM") from error
    strong = isinstance(key, ec.EllipticCurvePublicKey) or (
        isinstance(key, rsa.RSAPublicKey) and key.key_size >= _LEAST_RSA_BITS
    )
    if not signed or not strong:
        raise RequestError("its key is too weak, or did not sign it")
    ca = x509.load_pem_x509_certificate(authority.certificate)
    ca_key = serialization.load_pem_private_key(authority.key, None)
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
        raise RequestError("the authority's key is of another kind than Hearth makes")
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"hearth node {name}"[:64])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(ca.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _JOINED_VALID)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True, slots=True)
class Signed:
    """PEM texts of a certificate under the authority of joined machines, and its key."""

    certificate: bytes
    key: bytes


def certificate_is_due(pem: bytes, authority: Authority, *, hosts: Iterable[str], now: datetime) -> bool:
    """Whether a new certificate is to be made: there is none, a third of its life is left, its authority is another
    one, or it lacks a host.
    """
    try:
        held = x509.load_pem_x509_certificate(pem)
        held.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate))
        names = held.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return True
    life = held.not_valid_after_utc - held.not_valid_before_utc
    return now >= held.not_valid_after_utc - life / 3 or any(_general_name(host) not in names for host in hosts)


def issue_signed(authority: Authority, *, name: str, hosts: Iterable[str], now: datetime) -> Signed:
    """Return a key and its certificate for a part of the cluster that joined machines call. Raises RequestError."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"hearth {name}"[:64])])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    return Signed(
        certificate=sign_request(request.public_bytes(pem), authority, name=name, hosts=hosts, now=now),
        key=key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _VALID)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _alternatives(host: str, namespace: str) -> list[x509.GeneralName]:
    hosts = (host, f"{host}.{namespace}", f"{host}.{namespace}.svc", f"{host}.{namespace}.svc.cluster.local")
    return [
        *(x509.DNSName(h) for h in hosts),
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign,
        crl_sign=sign,
        encipher_only=False,
        decipher_only=False,
    )
