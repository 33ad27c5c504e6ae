"""A real Ray of this machine as the operator's endpoint: its client, its Secrets, what runs there, and steady questions."""

import contextlib
import copy
import threading
from collections.abc import Iterator
from typing import Any

from hearth_api.names import TOKEN_MOUNT
from hearth_operator.clients.ray import RayClient
from hearth_operator.facts import RayApp, RayNode
from support.ray_cluster import RAY_TOKEN, SERVE_TOKEN, RayCluster

LONG = 300.0
"""Seconds: on a busy machine Ray may need a minute to refuse its first PUT, and one more to import the models."""
TOKEN_PATH = f"{TOKEN_MOUNT}/serve/token"


class RayHere:
    """The real client; only where this machine keeps the Serve port's token and certificate is bent."""

    def __init__(self, client: RayClient, cluster: RayCluster) -> None:
        self._client, self._cluster = client, cluster
        self.puts: list[dict[str, Any]] = []

    async def version(self) -> str:
        return await self._client.version()

    async def nodes(self) -> tuple[RayNode, ...]:
        return await self._client.nodes()

    async def applications(self, *, timeout: float) -> dict[str, RayApp]:
        found = await self._client.applications(timeout=timeout)
        for app in found.values():
            if app.config and "args" in app.config:
                _arguments(app.config)["tokenPath"] = TOKEN_PATH
        return found

    async def put_applications(self, document: dict[str, Any], *, first: bool = False) -> None:
        here = copy.deepcopy(document)
        for app in here["applications"]:
            _arguments(app)["tokenPath"] = self._cluster.token_path
        here["http_options"] |= {
            "ssl_certfile": str(self._cluster.folder / "tls.crt"),
            "ssl_keyfile": str(self._cluster.folder / "tls.key"),
        }
        await self._client.put_applications(here, first=first)
        self.puts.append(document)  # one that Ray did not take is given to it again, and rightly


def _arguments(app: dict[str, Any]) -> dict[str, Any]:
    arguments: dict[str, Any] = app["args"]
    return arguments.get("weights", arguments)


def secrets(cluster: RayCluster) -> list[dict[str, Any]]:
    """The two Secrets of an External node."""

    def secret(name: str, **entries: str) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": entries}

    return [
        secret("ray", token=RAY_TOKEN),
        secret("serve", token=SERVE_TOKEN, **{"ca.crt": (cluster.folder / "tls.crt").read_text()}),
    ]


def replicas(cluster: RayCluster, app: str) -> set[tuple[str, int]]:
    """Running replicas with their process ids."""
    deployments = cluster.application(app).get("deployments", {})
    found = (r for d in deployments.values() for r in d["replicas"] if r["state"] == "RUNNING")
    return {(r["replica_id"], r["pid"]) for r in found}


@contextlib.contextmanager
def asked_all_the_time(cluster: RayCluster, path: str) -> Iterator[list[int]]:
    """Ask a route again and again from a thread; yield the statuses of its answers."""
    statuses: list[int] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(0.1):
            statuses.append(cluster.model(path).status)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        thread.join()
