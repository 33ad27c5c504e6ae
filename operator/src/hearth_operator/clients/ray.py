"""Ray's own API on a machine: its version, its raylets and the Serve applications."""

from collections.abc import Mapping
from typing import Any, Protocol

import aiohttp

from hearth_operator.clients.http import HttpStatusError, call_json
from hearth_operator.errors import UnreachableError
from hearth_operator.facts import RayApp, RayNode

_PUT_SECONDS = 60


class RayApi(Protocol):
    """Ray on one endpoint. Every call raises UnreachableError when nothing is known."""

    async def version(self) -> str:
        """Return Ray's version."""

    async def nodes(self) -> tuple[RayNode, ...]:
        """Return all raylets, dead ones too."""

    async def applications(self, *, timeout: float) -> dict[str, RayApp]:
        """Return the applications by name."""

    async def put_applications(self, document: dict[str, Any]) -> None:
        """Replace all declarative applications: what is not in the document is deleted."""


class RayClient:
    """RayApi over HTTP."""

    def __init__(self, session: aiohttp.ClientSession, *, url: str, token: str | None) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._token = token

    async def version(self) -> str:
        """Return Ray's version."""
        answer = await self._call("GET", "/api/version", timeout=5)
        return str((answer or {}).get("ray_version", ""))

    async def nodes(self) -> tuple[RayNode, ...]:
        """Return all raylets, dead ones too."""
        answer = await self._call("GET", "/api/v0/nodes?detail=1&limit=1000", timeout=10)
        rows = (((answer or {}).get("data") or {}).get("result") or {}).get("result") or []
        return tuple(_node(row) for row in rows)

    async def applications(self, *, timeout: float) -> dict[str, RayApp]:
        """Return the applications by name."""
        answer = await self._call("GET", "/api/serve/applications/", timeout=timeout)
        apps = (answer or {}).get("applications") or {}
        return {name: _app(name, details) for name, details in apps.items()}

    async def put_applications(self, document: dict[str, Any]) -> None:
        """Replace all declarative applications: what is not in the document is deleted."""
        await self._call("PUT", "/api/serve/applications/", body=document, timeout=_PUT_SECONDS)

    async def _call(self, method: str, path: str, *, timeout: float, body: object | None = None) -> Any:
        try:
            return await call_json(
                self._session, method, self._url + path, token=self._token, body=body, timeout=timeout
            )
        except HttpStatusError as error:
            if error.status in {401, 403}:
                raise UnreachableError(
                    "RayTokenRefused", f"{self._url} refused Ray's token ({error.status})"
                ) from error
            if error.status >= 500:  # the dashboard lives, the controller or the store does not
                raise UnreachableError("RayUnreachable", error.message) from error
            raise


def _node(row: Mapping[str, Any]) -> RayNode:
    total = row.get("resources_total") or {}
    return RayNode(
        node_id=str(row.get("node_id", "")),
        alive=row.get("state") == "ALIVE",
        labels={str(k): str(v) for k, v in (row.get("labels") or {}).items()},
        cpus=float(total.get("CPU", 0.0)),
        memory=int(total.get("memory", 0)),
    )


def _app(name: str, details: Mapping[str, Any]) -> RayApp:
    deployments = details.get("deployments") or {}
    replicas = [r for d in deployments.values() for r in d.get("replicas") or ()]
    running = tuple(sorted(str(r.get("replica_id", "")) for r in replicas if r.get("state") == "RUNNING"))
    messages = [details.get("message") or "", *(d.get("message") or "" for d in deployments.values())]
    return RayApp(
        name=name,
        status=str(details.get("status", "")),
        message="\n".join(m for m in messages if m),
        config=details.get("deployed_app_config"),
        replicas=running,
    )
