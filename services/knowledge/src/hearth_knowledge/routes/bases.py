"""Knowledge bases: the operator configures, describes and deletes them."""

import asyncio

from fastapi import APIRouter, Request, Response

from hearth_api.wire.knowledge import ErasedSource, KbConfig, KbStatus
from hearth_knowledge.authorization import Action
from hearth_knowledge.routes.access import demand, service_of
from hearth_knowledge.storage.names import check_name

router = APIRouter()


@router.put("/v1/kbs/{kb}")
async def put_kb(request: Request, kb: str, config: KbConfig) -> KbStatus:
    """Make or change a knowledge base; idempotent."""
    await demand(request, Action.CONFIGURE)
    service = service_of(request)
    status = await asyncio.to_thread(service.lifecycle.configure, check_name("kb", kb), config)
    service.worker.wake.set()
    return status


@router.get("/v1/kbs/{kb}/status")
async def get_status(request: Request, kb: str) -> KbStatus:
    """Describe a knowledge base."""
    await demand(request, Action.STATUS)
    return await asyncio.to_thread(service_of(request).lifecycle.status, check_name("kb", kb))


@router.delete("/v1/kbs/{kb}", status_code=204)
async def delete_kb(request: Request, kb: str) -> Response:
    """Remove everything of a knowledge base. Deleting again answers the same."""
    await demand(request, Action.DELETE)
    await asyncio.to_thread(service_of(request).lifecycle.delete, check_name("kb", kb))
    return Response(status_code=204)


@router.delete("/v1/kbs/{kb}/sources/{source}")
async def delete_source(request: Request, kb: str, source: str) -> ErasedSource:
    """Erase documents of a source for some seconds; call again while some are left. Nothing left answers the same."""
    caller = await demand(request, Action.ERASE)
    service = service_of(request)
    check_name("kb", kb)
    check_name("source", source)
    answer = await asyncio.to_thread(lambda: service.eraser.erase(kb, source, actor=caller.account))
    service.worker.wake.set()
    return answer
