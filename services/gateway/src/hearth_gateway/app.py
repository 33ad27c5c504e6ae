"""The ASGI application: hot routes first, FastAPI for the rest, one log line each."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from hearth_gateway.asgi import Receive, Scope, Send, request_id
from hearth_gateway.errors import BadRequestError, GatewayError, MethodError, NotFoundError
from hearth_gateway.record import Record
from hearth_gateway.routes.backups import router as backups
from hearth_gateway.routes.cold import router
from hearth_gateway.routes.hot import ROUTES, HotRoutes
from hearth_gateway.routes.privacy import router as privacy
from hearth_gateway.state import State
from hearth_gateway.web.routes import router as page

log = structlog.get_logger()

QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
ID_IN_PATH = re.compile(
    r"^(/v1/(?:knowledge-bases|models))/.+?(/documents(?:/[^/]+)?)?(/original|/history|/release|/reveal|/quarantine|/audit|/related)?$"
)

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


class Gateway:
    """Sends a request to its hot route by one dictionary look-up, everything else to FastAPI."""

    def __init__(self, cold: FastAPI) -> None:
        self.cold = cold
        self._hot: HotRoutes | None = None

    def start(self, state: State) -> None:
        """Begin to serve with these parts."""
        self.cold.state.hearth = state
        self._hot = HotRoutes(state)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.cold(scope, receive, send)
            return
        route = ROUTES.get(scope["path"])
        if route is not None and self._hot is not None:
            await self._hot.serve(route, scope=scope, receive=receive, send=send)
        elif scope["path"] in QUIET or self._hot is None:
            await self.cold(scope, receive, send)
        else:
            await self._logged(scope, receive=receive, send=send)

    async def _logged(self, scope: Scope, *, receive: Receive, send: Send) -> None:
        record = Record(route=route_label(scope["path"]), request_id=request_id(scope))
        status = 499

        async def watching(message: dict[str, object]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(str(message["status"]))
                record.answered()
            await send(message)

        try:
            await self.cold(scope, receive, watching)  # type: ignore[arg-type]  # ASGI messages are mutable mappings
        finally:
            record.caller = scope.get("hearth.caller")
            state: State = self.cold.state.hearth
            record.close(status, metrics=state.metrics)


def route_label(path: str) -> str:
    """Return a path without names and ids, so that figures have few labels and none tells what was read."""
    if path in {"/", "/favicon.ico"} or path.startswith("/assets/"):
        return "page"
    match = ID_IN_PATH.match(path)
    if match:
        return match.group(1) + "/*" + ("/documents/*" if match.group(2) else "") + (match.group(3) or "")
    return path if path in {"/v1/models", "/v1/search", "/v1/knowledge-bases", "/v1/status", "/v1/backups"} else "other"


def build_app(start: Callable[[Gateway], AbstractAsyncContextManager[None]]) -> Gateway:
    """Build the application. `start` makes the parts, gives them to the gateway, and ends them afterwards."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with start(gateway):
            yield

    # No generated pages: they would load scripts from elsewhere, and every path here is guarded or listed below.
    cold = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan, redirect_slashes=False)
    cold.include_router(router)
    cold.include_router(privacy)
    cold.include_router(backups)
    cold.include_router(page)
    _add_probes(cold)
    cold.add_exception_handler(GatewayError, _show)
    cold.add_exception_handler(HTTPException, _show_http)
    cold.add_exception_handler(RequestValidationError, _show_validation)
    cold.add_exception_handler(Exception, _show_bug)
    gateway = Gateway(cold)
    return gateway


def _add_probes(cold: FastAPI) -> None:
    @cold.get("/healthz")
    async def healthz() -> PlainTextResponse:
        """Alive."""
        return PlainTextResponse("ok")

    @cold.get("/readyz")
    async def readyz(request: Request) -> PlainTextResponse:
        """Ready once the catalog and the keys were read; it stays so while the API server is away."""
        state: State | None = getattr(request.app.state, "hearth", None)
        if state is None or not state.source.synced:
            return PlainTextResponse("the catalog was not read yet", status_code=503)
        return PlainTextResponse("ok")

    @cold.get("/metrics")
    async def metrics(request: Request) -> Response:
        """Figures for Prometheus."""
        state: State = request.app.state.hearth
        return Response(generate_latest(state.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def render(error: GatewayError) -> Response:
    """Return an error as a response."""
    headers = {name.decode(): value.decode() for name, value in error.headers()}
    return Response(error.body(), status_code=error.status, headers=headers)


async def _show(_request: Request, error: Exception) -> Response:
    return render(error) if isinstance(error, GatewayError) else JSONResponse({}, status_code=500)


async def _show_http(_request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.status_code == 405:
        return render(MethodError("This path does not take this method."))
    return render(NotFoundError("This path does not exist."))


async def _show_validation(_request: Request, error: Exception) -> Response:
    fields = error.errors() if isinstance(error, RequestValidationError) else []
    name = str(fields[0]["loc"][-1]) if fields and fields[0].get("loc") else None
    return render(BadRequestError(f"The parameter '{name}' is wrong.", param=name))


async def _show_bug(request: Request, error: Exception) -> Response:
    log.error("request.failed", path=route_label(request.url.path), exc_info=error)
    return render(GatewayError("The gateway failed; its log tells why."))
