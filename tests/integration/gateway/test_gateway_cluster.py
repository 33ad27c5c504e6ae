"""The gateway's watches and reviews against an API server's HTTP: lists, watches, 410, hang-ups, reviews."""

import asyncio
import base64
import contextlib
import json
import os
import signal
import socket
import sys
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from hearth_common.errors import KubeStatusError, TokenRefusedError
from hearth_common.kube import KubeAccess, KubeApi
from hearth_common.review import TokenReviewer
from hearth_common.tokens import ProjectedToken
from hearth_gateway.catalog.source import KubeCatalog
from hearth_gateway.errors import UnavailableError
from support.gateway import api_key, deployment, key_record, knowledge_base, settle, until

KINDS = "/apis/hearth.banjonet.com/v1alpha1/namespaces/hearth"
SECRETS = "/api/v1/namespaces/hearth/secrets"


class ApiServer:
    """Keeps objects by path with one growing resource version, and serves list, watch, get and TokenReview."""

    def __init__(self) -> None:
        self.version = 10
        self.objects: dict[str, dict[str, dict[str, Any]]] = {}
        self.log: list[tuple[int, str, dict[str, Any]]] = []
        self.oldest = 0
        self.changed = asyncio.Event()
        self.lists = 0
        self.selectors: set[str | None] = set()
        self.authorizations: set[str | None] = set()
        self.hang_up = asyncio.Event()

    def put(self, path: str, item: dict[str, Any], *, kind: str = "MODIFIED") -> None:
        self.version += 1
        item = {**item, "metadata": {**item["metadata"], "resourceVersion": str(self.version)}}
        found = self.objects.setdefault(path, {})
        if kind == "DELETED":
            found.pop(item["metadata"]["name"])
        else:
            found[item["metadata"]["name"]] = item
        self.log.append((self.version, path, {"type": kind, "object": item}))
        self.changed.set()
        self.changed = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.authorizations.add(request.headers.get("Authorization"))
        if request.method == "POST":
            return await self.review(request)
        path = request.path
        if path.startswith(SECRETS + "/"):
            found = self.objects.get(SECRETS, {}).get(path.rsplit("/", 1)[1])
            return web.json_response(found or {"message": "not found"}, status=200 if found else 404)
        if path == SECRETS:
            self.selectors.add(request.query.get("fieldSelector"))
        if request.query.get("watch"):
            return await self.watch(request)
        self.lists += 1
        items = list(self.objects.get(path, {}).values())
        return web.json_response({"metadata": {"resourceVersion": str(self.version)}, "items": items})

    async def watch(self, request: web.Request) -> web.StreamResponse:
        position = int(request.query["resourceVersion"])
        if position < self.oldest:
            return web.json_response({"message": "too old resource version", "code": 410}, status=410)
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            changed, hang_up = self.changed, self.hang_up
            for version, path, event in self.log:
                if path == request.path and version > position:
                    position = version
                    await response.write(json.dumps(event).encode() + b"\n")
            waits = [asyncio.ensure_future(changed.wait()), asyncio.ensure_future(hang_up.wait())]
            _, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            if hang_up.is_set():
                return response

    async def review(self, request: web.Request) -> web.Response:
        spec = (await request.json())["spec"]
        good = spec["token"] == "h.e30.s"
        user = {"username": "system:serviceaccount:hearth:hearth-knowledge"} if good else {}
        status = {"authenticated": good, "user": user, "audiences": spec["audiences"] if good else []}
        return web.json_response({"status": status}, status=201)


def _secret(name: str, **entries: str) -> dict[str, Any]:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in entries.items()}
    return {"metadata": {"name": name}, "data": data}


@pytest.fixture
async def server():
    found = ApiServer()
    found.put(f"{KINDS}/modeldeployments", deployment())
    found.put(f"{KINDS}/knowledgebases", knowledge_base())
    key = key_record(api_key()).model_dump_json(by_alias=True)
    found.put(SECRETS, _secret("hearth-api-keys", abcdefghij=key))
    return found


@contextlib.asynccontextmanager
async def running(server: ApiServer, port: int = 0):
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, reuse_address=True)
    await site.start()
    try:
        yield site._server.sockets[0].getsockname()[1]
    finally:
        await runner.cleanup()
        await settle()


@contextlib.asynccontextmanager
async def watching(port: int, token: ProjectedToken | None = None):
    async with aiohttp.ClientSession() as session:
        api = KubeApi(KubeAccess(url=f"http://127.0.0.1:{port}", token=token, context=None), session=session)
        source = KubeCatalog(api, namespace="hearth", keys_secret="hearth-api-keys")
        task = asyncio.create_task(source.run())
        try:
            async with asyncio.timeout(5):
                await until(lambda: source.synced)
            yield source, api
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
    await settle()


async def test_the_catalog_follows_changes_and_a_revocation_within_a_second(server, tmp_path):
    (tmp_path / "token").write_text("pod-token")
    async with running(server) as port, watching(port, ProjectedToken(tmp_path / "token")) as (source, _):
        assert source.catalog.find("chat").candidates
        assert list(source.keys) == ["abcdefghij"]
        server.put(f"{KINDS}/modeldeployments", deployment("new"))
        server.put(SECRETS, _secret("hearth-api-keys"))
        async with asyncio.timeout(1):
            await until(lambda: source.catalog.find("new") and not source.keys)
        server.put(f"{KINDS}/modeldeployments", deployment("new"), kind="DELETED")
        async with asyncio.timeout(1):
            await until(lambda: not source.catalog.find("new"))
    assert server.selectors == {"metadata.name=hearth-api-keys"}
    assert server.authorizations == {"Bearer pod-token"}


async def test_after_a_hang_up_the_watch_goes_on_without_a_new_list(server):
    async with running(server) as port, watching(port) as (source, _):
        lists = server.lists
        server.hang_up.set()
        server.hang_up = asyncio.Event()
        server.put(f"{KINDS}/modeldeployments", deployment("late"))
        async with asyncio.timeout(3):
            await until(lambda: source.catalog.find("late"))
        assert server.lists == lists


async def test_an_expired_version_is_listed_anew(server):
    async with running(server) as port, watching(port) as (source, _):
        server.put(f"{KINDS}/modeldeployments", deployment("late"))
        server.oldest = server.version + 1
        server.version += 5
        server.hang_up.set()
        server.hang_up = asyncio.Event()
        async with asyncio.timeout(3):
            await until(lambda: server.lists >= 6)
        assert source.catalog.find("chat")


async def test_while_the_api_server_is_away_everything_stays_known_and_comes_back(server):
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(running(server))
        await_away = contextlib.AsyncExitStack()
        source, _ = await await_away.enter_async_context(watching(first))
        await stack.aclose()
        async with asyncio.timeout(5):
            await until(lambda: not source.connected)
        assert source.synced
        assert source.catalog.find("chat").candidates
        assert source.keys
        with pytest.raises(UnavailableError):
            await source.secret("hearth-serve-home")
        async with running(server, first):
            server.put(f"{KINDS}/modeldeployments", deployment("back"))
            async with asyncio.timeout(8):
                await until(lambda: source.catalog.find("back"))
            await await_away.aclose()


async def test_a_large_resource_is_read_whole(server):
    async with running(server) as port, watching(port) as (source, _):
        big = deployment("big", message="x" * 300_000)
        server.put(f"{KINDS}/modeldeployments", big)
        async with asyncio.timeout(3):
            await until(lambda: source.catalog.find("big"))
        assert len(source.catalog.find("big").message) == 300_000


async def test_secrets_and_reviews(server):
    server.put(SECRETS, _secret("hearth-serve-home", token="t"))
    async with running(server) as port, watching(port) as (source, api):
        assert await source.secret("hearth-serve-home") == {"token": b"t"}
        with pytest.raises(UnavailableError):
            await source.secret("absent")
        with pytest.raises(KubeStatusError, match="404"):
            await api.get(f"{SECRETS}/absent")
        reviewer = TokenReviewer(api, audience="hearth-gateway")
        assert (await reviewer.review("h.e30.s")).account == "hearth-knowledge"
        with pytest.raises(TokenRefusedError):
            await reviewer.review("h.e30.x")


async def test_the_command_serves_what_the_cluster_says_and_ends_gently(server, tmp_path):
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with running(server) as kube:
        environment = {
            **os.environ,
            "HEARTH_KUBE_URL": f"http://127.0.0.1:{kube}",
            "HEARTH_NAMESPACE": "hearth",
            "HEARTH_LISTEN_HOST": "127.0.0.1",
            "HEARTH_LISTEN_PORT": str(port),
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "hearth_gateway.main", env=environment, stdout=asyncio.subprocess.PIPE
        )
        headers = {"Authorization": f"Bearer {api_key()}"}
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as http, asyncio.timeout(30):
            while not await _ready(http):  # noqa: ASYNC110 (another process: there is no event)
                await asyncio.sleep(0.05)
            async with http.get("/v1/models") as answer:
                assert [entry["id"] for entry in (await answer.json())["data"]] == ["chat", "chat@work"]
        process.terminate()
        output, _ = await asyncio.wait_for(process.communicate(), 20)
    lines = [json.loads(line) for line in output.splitlines()]
    assert any(line["event"] == "request" and line["route"] == "/v1/models" for line in lines)
    assert api_key() not in output.decode()
    assert process.returncode in (0, -signal.SIGTERM)


async def _ready(http):
    try:
        async with http.get("/readyz") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False
