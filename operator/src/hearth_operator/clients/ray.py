"""Ray's own API on a machine: its version, its raylets and the Serve applications."""

from typing import Any, Protocol, TypeVar

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hearth_operator.clients.http import HttpStatusError, call_json, trust
from hearth_operator.clients.model import Access
from hearth_operator.errors import UnreachableError
from hearth_operator.facts import RayApp, RayNode

_FIRST_PUT_SECONDS = 60
"""It starts Serve."""
_PUT_SECONDS = 10
_MOST_BYTES = 8 * 1024 * 1024
_RUNNING = frozenset({"RUNNING", "UPDATING", "PENDING_MIGRATION"})
"""States of a replica whose process is up: UPDATING takes a new user_config, PENDING_MIGRATION still serves."""
Answer = TypeVar("Answer", bound=BaseModel)


class RayApi(Protocol):
    """Ray on one endpoint. Every call raises UnreachableError when nothing is known."""

    async def version(self) -> str:
        """Return Ray's version."""

    async def nodes(self) -> tuple[RayNode, ...]:
        """Return all raylets, dead ones too."""

    async def applications(self, *, timeout: float) -> dict[str, RayApp]:
        """Return the applications by name."""

    async def put_applications(self, document: dict[str, Any], *, first: bool = False) -> None:
        """Replace all declarative applications: what is not in the document is deleted. `first`: Serve starts with it.

        Raises HttpStatusError 400 where Ray refuses the document.
        """


class _Lenient(BaseModel):
    """Part of an answer: what is not read here may be anything."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class _Version(_Lenient):
    ray_version: str = Field(max_length=64)


class _Raylet(_Lenient):
    node_id: str = ""
    state: str = ""
    labels: dict[str, str] | None = None
    resources_total: dict[str, float] | None = None


class _Rows(_Lenient):
    result: list[_Raylet] | None = None


class _Listed(_Lenient):
    result: _Rows | None = None


class _Nodes(_Lenient):
    data: _Listed


class _Replica(_Lenient):
    replica_id: str = ""
    state: str = ""
    node_id: str | None = None


class _Deployment(_Lenient):
    message: str | None = None
    replicas: list[_Replica] | None = None


class _Application(_Lenient):
    status: str = ""
    message: str | None = None
    deployed_app_config: dict[str, Any] | None = None
    deployments: dict[str, _Deployment] | None = None


class _Applications(_Lenient):
    applications: dict[str, _Application]


class RayClient:
    """RayApi over HTTP. What is not the answer of a Ray is UnreachableError `UnexpectedAnswer`."""

    def __init__(self, session: aiohttp.ClientSession, *, url: str, token: Access | str | None) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._token = token.token if isinstance(token, Access) else token
        ca = token.ca if isinstance(token, Access) else None
        self._verify = trust(ca) if ca is not None else None

    async def version(self) -> str:
        """Return Ray's version."""
        return (await self._get(_Version, "/api/version", timeout=5)).ray_version

    async def nodes(self) -> tuple[RayNode, ...]:
        """Return all raylets, dead ones too."""
        answer = await self._get(_Nodes, "/api/v0/nodes?detail=1&limit=1000", timeout=10)
        rows = answer.data.result.result if answer.data.result is not None else None
        return tuple(_node(row) for row in rows or ())

    async def applications(self, *, timeout: float) -> dict[str, RayApp]:
        """Return the applications by name."""
        answer = await self._get(_Applications, "/api/serve/applications/", timeout=timeout)
        return {name: _app(name, details) for name, details in answer.applications.items()}

    async def put_applications(self, document: dict[str, Any], *, first: bool = False) -> None:
        """Replace all declarative applications: what is not in the document is deleted."""
        seconds = _FIRST_PUT_SECONDS if first else _PUT_SECONDS
        await self._call("PUT", "/api/serve/applications/", body=document, timeout=seconds)

    async def _get(self, model: type[Answer], path: str, *, timeout: float) -> Answer:
        try:
            return model.model_validate(await self._call("GET", path, timeout=timeout))
        except HttpStatusError as error:
            raise UnreachableError("UnexpectedAnswer", error.message) from error
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            where = ".".join(map(str, first["loc"]))[:100]
            text = f"GET {self._url}{path}: not an answer of Ray: {where or 'it'}: {first['msg']}"
            raise UnreachableError("UnexpectedAnswer", text[:400]) from error

    async def _call(self, method: str, path: str, *, timeout: float, body: object | None = None) -> Any:
        try:
            return await call_json(
                self._session,
                method,
                self._url + path,
                token=self._token,
                body=body,
                timeout=timeout,
                verify=self._verify,
                most_bytes=_MOST_BYTES,
            )
        except HttpStatusError as error:
            if error.status in {401, 403}:
                raise UnreachableError(
                    "RayTokenRefused", f"{self._url} refused Ray's token ({error.status})"
                ) from error
            if error.status >= 500:  # the dashboard lives, the controller or the store does not
                raise UnreachableError("RayUnreachable", error.message) from error
            raise


def _node(row: _Raylet) -> RayNode:
    total = row.resources_total or {}
    return RayNode(
        node_id=row.node_id,
        alive=row.state == "ALIVE",
        labels=row.labels or {},
        cpus=total.get("CPU", 0.0),
        memory=int(total.get("memory", 0)),
    )


def _app(name: str, details: _Application) -> RayApp:
    deployments = details.deployments or {}
    running = [r for d in deployments.values() for r in d.replicas or () if r.state in _RUNNING]
    messages = [details.message or "", *(d.message or "" for d in deployments.values())]
    return RayApp(
        name=name,
        status=details.status,
        message="\n".join(m for m in messages if m),
        replicas=tuple(sorted(r.replica_id for r in running)),
        node_ids=tuple(sorted({r.node_id for r in running if r.node_id})),
        config=details.deployed_app_config,
        importing=details.status == "DEPLOYING" and not deployments,
    )
