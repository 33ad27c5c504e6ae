"""Probes and metrics. They need no token and tell nothing of documents."""

import asyncio

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from hearth_knowledge.errors import UnavailableError
from hearth_knowledge.routes.access import service_of

router = APIRouter()


@router.get("/healthz")
async def healthz(request: Request) -> dict[str, str]:
    """Answer while the process and its indexing task live."""
    if not service_of(request).indexing_alive():
        raise UnavailableError("indexing", "its task has ended")
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(request: Request) -> dict[str, str]:
    """Answer when a request can be served: a key is mounted, the database opens, the vector store answers."""
    await asyncio.to_thread(service_of(request).check_ready)
    return {"status": "ok"}


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Prometheus' text format."""
    service = service_of(request)

    def collect() -> bytes:
        for kb in service.registry.list_names():
            status = service.queue.status(kb)
            service.metrics.queue.labels(kb=kb, state="pending").set(status.pending)
            service.metrics.queue.labels(kb=kb, state="failed").set(status.failed)
        return generate_latest(service.metrics.registry)

    return Response(await asyncio.to_thread(collect), media_type=CONTENT_TYPE_LATEST)
