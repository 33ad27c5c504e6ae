"""The front over Unix sockets, in front of a small Ray and Serve: no network."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from yarl import URL

from hearth_api.wire.machine import MachineFacts
from hearth_node.config import NodeConfig, Paths
from hearth_node.facts import MachineReader
from hearth_node.front import Front
from hearth_node.tls import CertificateStore, general_name, key_pem, make_key
from hearth_node.wake_on_lan import Waker

RAY, SERVE = "r" * 43, "s" * 43
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
CONFIG = NodeConfig(name="studio", hosts=("10.10.12.5",), memory=1 << 30, cpus=2)


@dataclass
class Upstream:
    """What Ray and Serve were asked, and how the slow route is let go on."""

    asked: list[tuple[str, str, bytes]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)


def sign(request_or_key, ca_key, ca, *, hosts=("10.10.12.5",), now=NOW, days=90, unit=None):
    """Return a certificate as the cluster's authority gives it."""
    public = request_or_key.public_key()
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, "machine" if ca is not None else "authority")]
    if unit is not None:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit))
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name(parts))
        .issuer_name(ca.subject if ca is not None else x509.Name(parts))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([general_name(host) for host in hosts]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def authority(now=NOW):
    key = make_key()
    return key, sign(key, key, None, now=now, days=3650)


def write_machine(folder: Path) -> Paths:
    """The files that join leaves; return their paths. The authority's key is beside them, for tests."""
    paths = Paths(folder)
    for made in (paths.prefix / "etc", paths.var, paths.ray):
        made.mkdir(parents=True, exist_ok=True)
    paths.ray_token.write_text(RAY)
    paths.serve_token.write_text(SERVE)
    ca_key, ca = authority()
    pem = serialization.Encoding.PEM
    paths.authority.write_bytes(ca.public_bytes(pem))
    (paths.prefix / "ca.key").write_bytes(key_pem(ca_key))
    key = make_key()
    paths.certificate.write_bytes(key_pem(key) + sign(key, ca_key, ca).public_bytes(pem))
    return paths


def certify(paths: Paths) -> str:
    """A certificate for the loopback that is valid now; return its authority."""
    now = datetime.now(UTC)
    ca_key, ca = authority(now)
    key = make_key()
    made = sign(key, ca_key, ca, hosts=("127.0.0.1",), now=now)
    paths.authority.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    paths.certificate.write_bytes(key_pem(key) + made.public_bytes(serialization.Encoding.PEM))
    return ca.public_bytes(serialization.Encoding.PEM).decode()


def upstream_app(upstream: Upstream) -> web.Application:
    async def echo(request: web.Request) -> web.StreamResponse:
        upstream.asked.append((request.method, request.raw_path, await request.read()))
        upstream.headers = dict(request.headers)
        return web.json_response({"ok": True}, headers={"x-from": "ray"})

    async def slow(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b"data: one\n\n")
        try:
            await upstream.go_on.wait()
        except asyncio.CancelledError:
            upstream.cancelled.set()
            raise
        await answer.write(b"data: two\n\n")
        return answer

    async def cut(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b"data: one\n\n")
        request.transport.abort()
        return answer

    app = web.Application(client_max_size=32 << 20)
    app.router.add_post("/chat/a/v1/slow", slow)
    app.router.add_post("/chat/a/v1/cut", cut)
    app.router.add_route("*", "/{path:.*}", echo)
    return app


def machine_here() -> MachineFacts:
    """Return what this machine tells of itself."""
    return MachineReader(ours=lambda _pid: False).read()


@asynccontextmanager
async def served(handler: web.Server | web.Application, path: Path) -> AsyncIterator[None]:
    if isinstance(handler, web.Application):
        runner = web.AppRunner(handler, handler_cancellation=True, shutdown_timeout=0.1)
    else:
        runner = web.ServerRunner(handler, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    try:
        yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def a_session(path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path), limit=0)) as session:
        yield session


@dataclass
class House:
    """A front with its two ports."""

    front: Front
    upstream: Upstream
    serve: aiohttp.ClientSession
    ray: aiohttp.ClientSession
    paths: Paths

    async def call(self, method, path, *, token=SERVE, port="serve", **given):
        headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **given.pop("headers", {})}
        session = self.serve if port == "serve" else self.ray
        async with session.request(
            method, URL(f"http://front{path}", encoded=True), headers=headers, **given
        ) as answer:
            return answer.status, dict(answer.headers), await answer.read()


@asynccontextmanager
async def a_front(folder: Path, *, facts=machine_here, waker=None) -> AsyncIterator[House]:
    paths = write_machine(folder / "p")
    upstream = Upstream()
    async with served(upstream_app(upstream), folder / "up"), a_session(folder / "up") as inside:
        store = CertificateStore(paths.certificate, authority=paths.authority, name=CONFIG.name, hosts=CONFIG.hosts)
        front = Front(
            config=CONFIG,
            paths=paths,
            store=store,
            session=inside,
            facts=facts,
            state=lambda: {"name": "studio"},
            waker=waker or Waker(),
            now=lambda: NOW,
        )
        serving = web.Server(front.serve_handler(), handler_cancellation=True, access_log=None)
        raying = web.Server(front.ray_handler(), handler_cancellation=True, access_log=None)
        async with (
            served(serving, folder / "s"),
            served(raying, folder / "r"),
            a_session(folder / "s") as serve,
            a_session(folder / "r") as ray,
        ):
            yield House(front=front, upstream=upstream, serve=serve, ray=ray, paths=paths)
