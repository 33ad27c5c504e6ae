"""What the gateway calls: search, documents, originals, history, differences."""

import asyncio
from datetime import datetime

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from hearth_api.wire.knowledge import SearchRequest, SearchResponse
from hearth_knowledge.authorization import Action
from hearth_knowledge.errors import InvalidRequestError
from hearth_knowledge.routes.access import demand, service_of
from hearth_knowledge.storage.names import check_document, check_name, to_millis
from hearth_knowledge.views import (
    DiffView,
    DocumentView,
    HistoryView,
    RelatedView,
    view_diff,
    view_document,
    view_version,
)

router = APIRouter()


@router.post("/v1/kbs/{kb}/search")
async def post_search(request: Request, response: Response, kb: str, body: SearchRequest) -> SearchResponse:
    """Find passages. The header x-hearth-degraded names a leg that could not answer."""
    await demand(request, Action.SEARCH)
    answer = await service_of(request).searcher.search(check_name("kb", kb), body)
    if answer.degraded is not None:
        response.headers["x-hearth-degraded"] = answer.degraded
    return answer.response


@router.get("/v1/kbs/{kb}/documents/{document}")
async def get_document(
    request: Request, kb: str, document: str, version: int | None = None, as_of: datetime | None = None
) -> DocumentView:
    """Return a version by number, or the one valid at a time, by default now."""
    await demand(request, Action.READ)
    if version is not None and as_of is not None:
        raise InvalidRequestError("as_of", "cannot be combined with version")
    documents = service_of(request).privacy
    moment = to_millis(as_of) if as_of else None
    check_name("kb", kb)
    check_document(document)
    row, body = await asyncio.to_thread(lambda: documents.read(kb, document, version=version, as_of=moment))
    return view_document(row, body)


@router.get("/v1/kbs/{kb}/documents/{document}/original")
async def get_original(request: Request, kb: str, document: str, reveal: str | None = None) -> StreamingResponse:
    """Stream the original. It is never rendered in place: its bytes are somebody else's.

    Where the policy withholds anything of it, only with a permission that `reveal` gave.
    """
    await demand(request, Action.READ)
    service = service_of(request)
    check_name("kb", kb)
    check_document(document)
    opened = await asyncio.to_thread(service.registry.open, kb)
    found, pieces = await asyncio.to_thread(
        lambda: service.originals.read(
            kb,
            document,
            permit=lambda version: service.privacy.check_original(opened, document, version, ticket=reveal),
        )
    )
    headers = {
        "content-disposition": "attachment",
        "x-content-type-options": "nosniff",
        "content-length": str(found.bytes),
        "x-hearth-version": str(found.version),
    }
    return StreamingResponse(pieces, media_type=found.media_type, headers=headers)


@router.get("/v1/kbs/{kb}/documents/{document}/history")
async def get_history(request: Request, kb: str, document: str) -> HistoryView:
    """Return all versions with their times."""
    await demand(request, Action.READ)
    documents = service_of(request).documents
    check_name("kb", kb)
    check_document(document)
    rows = await asyncio.to_thread(documents.history, kb, document)
    return HistoryView(id=document, versions=tuple(view_version(row) for row in rows))


@router.get("/v1/kbs/{kb}/documents/{document}/related")
async def get_related(request: Request, kb: str, document: str, as_of: datetime | None = None) -> RelatedView:
    """Return what belongs to a document: its conversation, its meeting with invitation, chat, notes and files."""
    await demand(request, Action.READ)
    related = service_of(request).related
    check_name("kb", kb)
    check_document(document)
    moment = to_millis(as_of) if as_of else None
    found = await asyncio.to_thread(lambda: related.find(kb, document, as_of=moment))
    return RelatedView(id=document, related=found)


@router.get("/v1/kbs/{kb}/documents/{document}/diff")
async def get_diff(request: Request, kb: str, document: str, from_version: int, to_version: int) -> DiffView:
    """Compare two versions line by line."""
    await demand(request, Action.READ)
    documents = service_of(request).privacy
    check_name("kb", kb)
    check_document(document)

    def compare() -> DiffView:
        before = documents.read(kb, document, version=from_version)
        return view_diff(before, documents.read(kb, document, version=to_version))

    return await asyncio.to_thread(compare)
