"""What is withheld: listing, releasing, revealing, and the record of who did."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request

from hearth_api.wire.knowledge import (
    AuditList,
    QuarantineList,
    ReleaseAnswer,
    ReleaseRequest,
    RevealAnswer,
    RevealRequest,
)
from hearth_knowledge.authorization import Action
from hearth_knowledge.routes.access import demand, service_of
from hearth_knowledge.storage.names import check_document, check_name

router = APIRouter()

Cursor = Annotated[str | None, Query(max_length=200)]
Limit = Annotated[int, Query(ge=1, le=200)]


@router.get("/v1/kbs/{kb}/quarantine")
async def get_quarantine(request: Request, kb: str, after: Cursor = None, limit: Limit = 50) -> QuarantineList:
    """List withheld segments, newest first."""
    await demand(request, Action.REVEAL)
    privacy = service_of(request).privacy
    check_name("kb", kb)
    return await asyncio.to_thread(lambda: privacy.list_quarantine(kb, after=after, limit=limit))


@router.post("/v1/kbs/{kb}/documents/{document}/release")
async def post_release(request: Request, kb: str, document: str, body: ReleaseRequest) -> ReleaseAnswer:
    """Release withheld segments; it is audited, and holds for later versions with the same text."""
    await demand(request, Action.REVEAL)
    service = service_of(request)
    check_name("kb", kb)
    check_document(document)
    answer = await asyncio.to_thread(service.privacy.release, kb, document, body)
    service.worker.wake.set()
    return answer


@router.post("/v1/kbs/{kb}/documents/{document}/reveal")
async def post_reveal(request: Request, kb: str, document: str, body: RevealRequest) -> RevealAnswer:
    """Give a document as it came; it is audited first."""
    await demand(request, Action.REVEAL)
    check_name("kb", kb)
    check_document(document)
    return await asyncio.to_thread(service_of(request).privacy.reveal, kb, document, body)


@router.get("/v1/kbs/{kb}/audit")
async def get_audit(request: Request, kb: str, after: Cursor = None, limit: Limit = 50) -> AuditList:
    """List who revealed or released what, newest first."""
    await demand(request, Action.REVEAL)
    privacy = service_of(request).privacy
    check_name("kb", kb)
    return await asyncio.to_thread(lambda: privacy.list_audit(kb, after=after, limit=limit))
