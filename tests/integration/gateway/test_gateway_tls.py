"""TLS to a node: its own authority is trusted, no other, and a renewed one is fetched."""

import asyncio
import datetime as dt
import ipaddress
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from support.gateway import catalog, deployment, variant

HELLO = {"model": "chat", "messages": [{"role": "user", "content": "hello"}]}


def make_authority(folder):
    """Write a certificate for 127.0.0.1 that is its own authority; return (server context, its PEM)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hearth-node-home")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    folder.mkdir()
    (folder / "tls.crt").write_bytes(pem)
    (folder / "tls.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    return context, pem


async def _ask(http):
    async with http.post("/v1/chat/completions", json=HELLO) as answer:
        return answer.status, await answer.json()


@pytest.fixture
def node(house):
    def set_node(url, pem):
        house.source.secrets["hearth-serve-home"] = {"token": b"serve-token", "ca.crt": pem}
        entry = variant(
            url=f"https://{url}/m",
            tokenSecretRef={"name": "hearth-serve-home", "key": "token"},
            caSecretRef={"name": "hearth-serve-home", "key": "ca.crt"},
        )
        house.source.set_catalog(catalog(deployment(variants=[entry])))

    return set_node


async def test_a_node_is_trusted_by_its_own_authority_and_no_other(house, http, node, serve_web, tmp_path):
    context, pem = make_authority(tmp_path / "one")
    _, other = make_authority(tmp_path / "two")
    async with serve_web(house.first.app(), ssl_context=context) as url:
        node(url, other)
        status, body = await _ask(http)
        assert (status, house.first.seen) == (503, [])
        assert "do not trust each other" in body["error"]["message"]
        node(url, pem)
        await asyncio.sleep(1.1)  # Secrets read within the last second are not read again
        assert (await _ask(http))[0] == 200
