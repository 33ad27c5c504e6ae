"""The way out, running on loopback against an API server that knows two tokens and one source."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from hearth_common.kube import KubeAccess, KubeApi
from hearth_common.review import TokenReviewer
from hearth_egress.address import Address, make_guard
from hearth_egress.metrics import Metrics
from hearth_egress.policy import AUDIENCE, Policy
from hearth_egress.proxy import Proxy
from hearth_egress.settings import Limits, Settings

ACCOUNTS = {"inbox-token": "hearth-ingest-inbox", "gateway-token": "hearth-gateway"}


@dataclass
class House:
    """A running proxy. `spec` is what the API server says of the source inbox; None is 404."""

    spec: dict[str, Any] | None
    port: int = 0
    metrics: Metrics = field(default_factory=Metrics)
    asked: int = 0

    async def send(self, data: bytes, *, end: bool = False) -> bytes:
        """Send bytes and return everything that comes back until the proxy closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            if end:
                writer.write_eof()
            async with asyncio.timeout(20):
                return await reader.read()
        finally:
            writer.close()

    async def until(self, name: str, value: float, **labels: str) -> None:
        """Wait for a figure."""
        async with asyncio.timeout(10):
            while self.metrics.registry.get_sample_value(name, labels) != value:  # noqa: ASYNC110 (has no event)
                await asyncio.sleep(0.01)

    async def connect(self, target: str, *, token: str | None = "inbox-token") -> bytes:
        """Ask for a tunnel and return the answer."""
        proof = f"Proxy-Authorization: Bearer {token}\r\n" if token else ""
        return await self.send(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{proof}\r\n".encode())


def account(host: str, port: int) -> dict[str, Any]:
    """Return a source's spec with a mail account."""
    imap = {"host": host, "port": port, "secretRef": {"name": "account"}}
    return {"knowledgeBaseRef": {"name": "work"}, "type": "Email", "email": {"imap": imap}}


def loopback_too(address: Address) -> bool:
    """Allow what the real guard allows, and the servers of tests."""
    return address.is_loopback or make_guard(())(address)


@asynccontextmanager
async def running_egress(
    spec: dict[str, Any] | None, *, limits: Limits | None = None, guarded: bool = False
) -> AsyncIterator[House]:
    """Run the proxy; `guarded` is as in a pod, otherwise servers on loopback are reached."""
    house = House(spec)

    async def review(request: web.Request) -> web.Response:
        house.asked += 1
        body = await request.json()
        name = ACCOUNTS.get(body["spec"]["token"])
        user = {"username": f"system:serviceaccount:hearth:{name}"}
        status = {"authenticated": True, "audiences": body["spec"]["audiences"], "user": user}
        return web.json_response({"status": status if name else {"authenticated": False}}, status=201)

    async def source(request: web.Request) -> web.Response:
        if house.spec is None or request.match_info["name"] != "inbox":
            return web.Response(status=404, text=json.dumps({"message": "not found"}))
        head = {"apiVersion": "hearth.banjonet.com/v1alpha1", "kind": "IngestionSource"}
        return web.json_response({**head, "metadata": {"name": "inbox"}, "spec": house.spec})

    app = web.Application()
    app.router.add_post("/apis/authentication.k8s.io/v1/tokenreviews", review)
    path = "/apis/hearth.banjonet.com/v1alpha1/namespaces/hearth/ingestionsources/{name}"
    app.router.add_get(path, source)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    settings = Settings(namespace="hearth", host="127.0.0.1", port=0, limits=limits or Limits())
    async with aiohttp.ClientSession() as session:
        api = KubeApi(KubeAccess(f"http://127.0.0.1:{port}", None, None), session=session)
        proxy = Proxy(
            settings,
            reviewer=TokenReviewer(api, audience=AUDIENCE),
            policy=Policy(api, namespace="hearth"),
            guard=make_guard(()) if guarded else loopback_too,
            metrics=house.metrics,
        )
        server = await proxy.start()
        house.port = server.sockets[0].getsockname()[1]
        try:
            yield house
        finally:
            server.close()
            await proxy.stop(seconds=0.2)
            await runner.cleanup()
