"""The HTTP application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from hearth_knowledge.errors import KnowledgeError
from hearth_knowledge.routes import backups, bases, health, privacy, reading, writing
from hearth_knowledge.service import Service

log = structlog.get_logger()


def build_app(service: Service) -> FastAPI:
    """Return the application around a service; its lifespan starts and stops the service."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    app = FastAPI(title="Hearth knowledge service", version="1", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.service = service
    for module in (bases, backups, writing, reading, privacy, health):
        app.include_router(module.router)
    app.add_exception_handler(KnowledgeError, _on_known)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_unknown)
    return app


async def _on_known(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, KnowledgeError)
    if error.status >= 500:
        log.warning("request failed", path=request.url.path, code=error.code, detail=str(error))
    headers = {"retry-after": "5"} if error.status == 503 else None
    return JSONResponse(error.to_json_object(), status_code=error.status, headers=headers)


async def _on_invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    return _refuse(f"{place}: {first['msg']}", status=400, code="invalid_request")


async def _on_http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    return _refuse(str(error.detail), status=error.status_code, code=code)


async def _on_unknown(request: Request, error: Exception) -> JSONResponse:
    log.error("request failed", path=request.url.path, code="internal_error", error=type(error).__name__)
    body = {"error": {"message": "the service failed", "type": "server_error", "code": "internal_error"}}
    return JSONResponse(body, status_code=500)


def _refuse(message: str, *, status: int, code: str) -> JSONResponse:
    body = {"error": {"message": message, "type": "invalid_request_error", "code": code}}
    return JSONResponse(body, status_code=status)
