"""The world outside the API server, as one small HTTP server: Ray, the models behind its Serve port, knowledge.

It keeps what is put into it and answers as the real ones do; tests turn its knobs. The operator talks to it through
its real clients: only the addresses are bent.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from hearth_api.wire.serve import ProbeResult, ServeInfo
from hearth_api.wire.weights import WeightsReport
from hearth_operator.clients.knowledge import KnowledgeClient
from hearth_operator.clients.model import Access, ModelClient
from hearth_operator.clients.ray import RayClient
from hearth_operator.handlers.run import Outside

DIGEST = "sha256:" + "a" * 64


@dataclass
class FakeOutside:
    """State and knobs."""

    url: str = ""
    ray_up: bool = True
    knowledge_up: bool = True
    raylet_labels: dict[str, str] = field(default_factory=lambda: {"hearth-node": "home"})
    ray_version: str = "2.60.0"
    apps: dict[str, dict[str, Any]] = field(default_factory=dict)
    failing: dict[str, str] = field(default_factory=dict)
    """Application, or source of its weights -> message of its DEPLOY_FAILED."""
    mute: set[str] = field(default_factory=set)
    """Applications whose routes answer 500."""
    starting: set[str] = field(default_factory=set)
    puts: list[dict[str, Any]] = field(default_factory=list)
    probes: int = 0
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    erased: list[str] = field(default_factory=list)
    """Sources."""
    tokens: set[str] = field(default_factory=set)
    documents: int = 0

    def lose_apps(self) -> None:
        """A head that was replaced has nothing."""
        self.apps.clear()


def _app_view(fake: FakeOutside, name: str, config: dict[str, Any]) -> dict[str, Any]:
    source = config.get("args", {}).get("model", {}).get("source", "")
    if failure := fake.failing.get(name) or fake.failing.get(source):
        return {"status": "DEPLOY_FAILED", "message": failure, "deployed_app_config": config}
    running = name not in fake.starting
    replica = {"replica_id": f"{name}-1", "state": "RUNNING" if running else "STARTING"}
    deployment = {"status": "HEALTHY" if running else "UPDATING", "message": "", "replicas": [replica]}
    return {
        "status": "RUNNING" if running else "DEPLOYING",
        "message": "",
        "deployed_app_config": config,
        "deployments": {"Model": deployment},
    }


def build_fake(fake: FakeOutside) -> web.Application:
    """Return the server's app."""
    routes = web.RouteTableDef()

    def ray_only(request: web.Request) -> None:
        fake.tokens.add(request.headers.get("Authorization", ""))
        if not fake.ray_up:
            raise web.HTTPServiceUnavailable(text="down")

    @routes.get("/api/version")
    async def version(request: web.Request) -> web.Response:
        ray_only(request)
        return web.json_response({"ray_version": fake.ray_version})

    @routes.get("/api/v0/nodes")
    async def nodes(request: web.Request) -> web.Response:
        ray_only(request)
        row = {"node_id": "n1", "state": "ALIVE", "labels": fake.raylet_labels, "resources_total": {"CPU": 2.0}}
        return web.json_response({"result": True, "data": {"result": {"result": [row]}}})

    @routes.get("/api/serve/applications/")
    async def applications(request: web.Request) -> web.Response:
        ray_only(request)
        return web.json_response({"applications": {n: _app_view(fake, n, c) for n, c in fake.apps.items()}})

    @routes.put("/api/serve/applications/")
    async def put(request: web.Request) -> web.Response:
        ray_only(request)
        document = await request.json()
        fake.puts.append(document)
        fake.apps = {app["name"]: app for app in document["applications"]}
        return web.Response()

    @routes.get("/v1/kbs/{kb}/status")
    async def status(request: web.Request) -> web.Response:
        if not fake.knowledge_up:
            raise web.HTTPServiceUnavailable
        kb = request.match_info["kb"]
        if kb not in fake.configs:
            raise web.HTTPNotFound
        return web.json_response(
            {
                "collection": f"kb_{kb}",
                "documents": fake.documents,
                "chunks": fake.documents * 2,
                "embedding": fake.configs[kb]["embedding"],
                "sources": [],
                "queue": {"pending": 0, "failed": 0},
                "consistency": {
                    "consistent": True,
                    "expectedChunks": fake.documents * 2,
                    "indexedChunks": fake.documents * 2,
                },
            }
        )

    @routes.put("/v1/kbs/{kb}")
    async def configure(request: web.Request) -> web.Response:
        if not fake.knowledge_up:
            raise web.HTTPServiceUnavailable
        fake.configs[request.match_info["kb"]] = await request.json()
        return web.Response(status=204)

    @routes.delete("/v1/kbs/{kb}")
    async def delete(request: web.Request) -> web.Response:
        if not fake.knowledge_up:
            raise web.HTTPServiceUnavailable
        fake.deleted.append(request.match_info["kb"])
        fake.configs.pop(request.match_info["kb"], None)
        return web.Response(status=204)

    @routes.delete("/v1/kbs/{kb}/sources/{source}")
    async def erase(request: web.Request) -> web.Response:
        if not fake.knowledge_up:
            raise web.HTTPServiceUnavailable
        fake.erased.append(request.match_info["source"])
        return web.json_response({"erased": 1, "left": 0})

    def serving(request: web.Request) -> dict[str, Any]:
        name = f"{request.match_info['model']}.{request.match_info['variant']}"
        if not fake.ray_up or name in fake.mute or name not in fake.apps:
            raise web.HTTPInternalServerError(text="nothing computes here")
        return fake.apps[name]["args"]

    @routes.get("/{model}/{variant}/info")
    async def info(request: web.Request) -> web.Response:
        args = serving(request)
        return web.json_response(
            {
                "build": "b" * 64,
                "engine": args["engine"],
                "engineVersion": "1",
                "modelId": args["modelId"],
                "modelDigest": DIGEST,
                "contextTokens": args["contextTokens"],
                "dimensions": 384 if args["task"] == "Embed" else None,
                "slotsTotal": args["concurrency"],
                "slotsBusy": 0,
                "tokensProduced": 0,
                "memory": {"now": 200_000_000, "peak": 210_000_000},
                "node": args["node"],
                "pid": 1,
            }
        )

    @routes.post("/{model}/{variant}/probe")
    async def probe(request: web.Request) -> web.Response:
        serving(request)
        fake.probes += 1
        return web.json_response({"ok": True, "tookMs": 1.0})

    app = web.Application()
    app.add_routes(routes)
    return app


class _BentModels:
    """The real client, with every address led to the fake."""

    def __init__(self, client: ModelClient, fake: FakeOutside) -> None:
        self._client, self._fake = client, fake

    async def info(self, url: str, access: Access) -> ServeInfo:
        assert access.ca is None or "BEGIN CERTIFICATE" in access.ca
        return await self._client.info(self._fake.url + urlsplit(url).path, Access(access.token, None))

    async def probe(self, url: str, access: Access) -> ProbeResult:
        return await self._client.probe(self._fake.url + urlsplit(url).path, Access(access.token, None))

    async def weights(self, url: str, access: Access) -> WeightsReport:
        return await self._client.weights(self._fake.url + urlsplit(url).path, Access(access.token, None))


@contextlib.asynccontextmanager
async def serve_fake(fake: FakeOutside) -> AsyncIterator[Outside]:
    """Run the fake and return clients that lead to it."""
    # An answer that nobody waits for any more keeps nothing open.
    runner = web.AppRunner(build_fake(fake), access_log=None, handler_cancellation=True, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[union-attr]
    async with aiohttp.ClientSession() as session:
        yield Outside(
            ray=lambda _url, token: RayClient(session, url=fake.url, token=token),
            model=_BentModels(ModelClient(session), fake),
            knowledge=KnowledgeClient(session, url=fake.url, token=lambda: "projected"),
        )
    await runner.cleanup()


async def finish_job(
    kube: Any, job: str, *, namespace: str, report: dict[str, Any] | None, failed: bool = False, seconds: float = 30
) -> None:
    """Play kubelet: end a Job's pod with a termination message."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        pods = await kube.list_all("Pod", labels={"batch.kubernetes.io/job-name": job})
        open_pods = [p for p in pods if p["status"].get("phase") in {"Pending", "Running"}]
        if open_pods:
            break
        assert asyncio.get_running_loop().time() < deadline, f"no pod of {job}: {pods}"
        await asyncio.sleep(0.1)
    terminated = {
        "exitCode": 1 if failed else 0,
        "startedAt": now,
        "finishedAt": now,
        "message": json.dumps(report) if report is not None else "",
    }
    status = {
        "phase": "Failed" if failed else "Succeeded",
        "startTime": now,
        "containerStatuses": [
            {
                "name": "ingest",
                "image": "x",
                "imageID": "x",
                "ready": False,
                "restartCount": 0,
                "state": {"terminated": terminated},
            }
        ],
    }
    path = f"/api/v1/namespaces/{namespace}/pods/{open_pods[0]['metadata']['name']}/status"
    await kube._request("PATCH", path, body={"status": status}, content_type="application/merge-patch+json")
