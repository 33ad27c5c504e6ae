# ruff: noqa: INP001 (a module beside a script)
"""The API server for the bench: an administrator who writes, and an observer who only watches."""

import asyncio
import base64
import json
import ssl
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import yaml
from resources import PLURALS, Object

GROUP = "/apis/hearth.banjonet.com/v1alpha1"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_SECRET = base64.b64encode(b"secret").decode()


class Admin:
    """Writes as the administrator of a kubeconfig."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        with tempfile.TemporaryDirectory() as folder:
            context = ssl.create_default_context(cafile=_material(cluster, "certificate-authority", folder))
            context.load_cert_chain(
                _material(user, "client-certificate", folder), _material(user, "client-key", folder)
            )
        self._url = str(cluster["server"])
        self._context = context

    async def __aenter__(self) -> Self:
        self.session = aiohttp.ClientSession(
            self._url,
            connector=aiohttp.TCPConnector(ssl=self._context, limit=32),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=30),
            read_bufsize=2**20,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.session.close()

    async def request(self, method: str, path: str, body: Object, *, media: str = "application/json") -> Object:
        """Send one request; raises what the server refuses."""
        data = json.dumps(body)
        async with self.session.request(method, path, data=data, headers={"Content-Type": media}) as answer:
            text = await answer.text()
            assert answer.status < 300, text
            result: Object = json.loads(text)
            return result

    async def create_crd(self, crd: Object) -> None:
        """Create a kind."""
        await self.request("POST", CRDS, crd)

    async def wait_for_kinds(self) -> None:
        """Wait until every kind answers."""
        for plural in PLURALS.values():
            while True:
                async with self.session.get(f"{GROUP}/namespaces/default/{plural}") as answer:
                    if answer.status == 200:
                        break
                await asyncio.sleep(0.1)

    async def create_namespace(self, name: str) -> None:
        """Create a namespace with the Secrets that the chart or a person makes."""
        await self.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        data = {"token": _SECRET}
        secret: dict[str, Any] = {"metadata": {"name": "machine"}, "data": data}
        await self.request("POST", f"/api/v1/namespaces/{name}/secrets", secret)

    async def create(self, namespace: str, resource: Object) -> None:
        """Create one resource."""
        await self.request("POST", f"{GROUP}/namespaces/{namespace}/{PLURALS[resource['kind']]}", resource)

    async def change(self, namespace: str, resource: Object, patch: Object) -> None:
        """Change one resource."""
        path = f"{GROUP}/namespaces/{namespace}/{PLURALS[resource['kind']]}/{resource['metadata']['name']}"
        await self.request("PATCH", path, patch, media="application/merge-patch+json")


class Observer:
    """Watches all resources of a namespace and remembers when a generation, and when its status, was first seen."""

    def __init__(self, admin: Admin, namespace: str) -> None:
        self._admin = admin
        self._namespace = namespace
        self._tasks: list[asyncio.Task[None]] = []
        self._asked: dict[tuple[str, str], tuple[int, float]] = {}
        self._settled: set[tuple[str, str]] = set()
        self._statuses: dict[tuple[str, str], Any] = {}
        self.latencies: list[tuple[str, float]] = []
        self.status_writes = 0

    @property
    def settled(self) -> int:
        """How many resources are settled now."""
        return len(self._settled)

    @property
    def waiting(self) -> int:
        """How many are not."""
        return len(self._asked)

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._watch(kind)) for kind in PLURALS]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch(self, kind: str) -> None:
        path = f"{GROUP}/namespaces/{self._namespace}/{PLURALS[kind]}?watch=true&timeoutSeconds=3600"
        async with self._admin.session.get(path) as answer:
            async for line in answer.content:
                event = json.loads(line)
                if event["type"] in {"ADDED", "MODIFIED"}:
                    self._see(kind, event["object"], now=time.monotonic())

    def _see(self, kind: str, obj: Object, *, now: float) -> None:
        key = (kind, obj["metadata"]["name"])
        generation = obj["metadata"]["generation"]
        status = obj.get("status") or {}
        if status != self._statuses.get(key, {}):
            self._statuses[key] = status
            self.status_writes += 1
        ready = any(condition["type"] == "Ready" for condition in status.get("conditions") or ())
        if status.get("observedGeneration") == generation and ready:
            self._settled.add(key)
            if asked := self._asked.pop(key, None):
                self.latencies.append((kind, now - asked[1]))
        else:
            self._settled.discard(key)
            if key not in self._asked:  # a later change before the answer does not make the wait shorter
                self._asked[key] = (generation, now)


def _material(entry: dict[str, Any], key: str, folder: str) -> str:
    if key in entry:
        return str(entry[key])
    path = Path(folder) / key
    path.write_bytes(base64.b64decode(entry[f"{key}-data"]))
    return str(path)
