"""What an ingestion run calls: key, manifest, cursor, batches, originals."""

import asyncio
from collections.abc import AsyncIterator, Iterator

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from hearth_api.wire.knowledge import Cursor, RunKey
from hearth_knowledge.authorization import Action
from hearth_knowledge.batch import encode_lines, parse_lines, read_lines
from hearth_knowledge.errors import InvalidRequestError, TooLargeError
from hearth_knowledge.routes.access import demand, demand_source, service_of
from hearth_knowledge.storage.names import check_document, check_name

NDJSON = "application/x-ndjson"
DEFAULT_MEDIA_TYPE = "application/octet-stream"
MAX_MEDIA_TYPE = 128

router = APIRouter()


@router.get("/v1/kbs/{kb}/sources/{source}/id-key")
async def get_id_key(request: Request, kb: str, source: str) -> RunKey:
    """Return the key that document ids of this knowledge base are made with."""
    await demand(request, Action.INGEST, source=source)
    return await asyncio.to_thread(service_of(request).lifecycle.run_key, check_name("kb", kb))


@router.get("/v1/kbs/{kb}/sources/{source}/manifest")
async def get_manifest(request: Request, kb: str, source: str) -> StreamingResponse:
    """Stream what is held of a source, one JSON line per living document."""
    await demand(request, Action.INGEST, source=source)
    service = service_of(request)
    await asyncio.to_thread(service.registry.open, check_name("kb", kb))
    lines = service.documents.manifest(kb, check_name("source", source))
    return StreamingResponse(lines, media_type=NDJSON)


@router.get("/v1/kbs/{kb}/sources/{source}/cursor")
async def get_cursor(request: Request, kb: str, source: str) -> Cursor:
    """Return a source's cursor."""
    await demand(request, Action.INGEST, source=source)
    value = await asyncio.to_thread(service_of(request).cursors.read, check_name("kb", kb), source)
    return Cursor(value=value)


@router.put("/v1/kbs/{kb}/sources/{source}/cursor")
async def put_cursor(request: Request, kb: str, source: str, cursor: Cursor) -> Cursor:
    """Move a cursor if it is where the caller believes; 409 otherwise."""
    await demand(request, Action.INGEST, source=source)
    cursors = service_of(request).cursors
    check_name("kb", kb)
    await asyncio.to_thread(lambda: cursors.swap(kb, source, value=cursor.value, previous=cursor.previous))
    return Cursor(value=cursor.value)


@router.post("/v1/kbs/{kb}/documents:batch")
async def post_batch(request: Request, kb: str) -> Response:
    """Write NormalDocuments and tombstones in one transaction; answers one line per line."""
    _, source = await demand_source(request)
    service = service_of(request)
    check_name("kb", kb)
    lines = await read_lines(request.stream(), limits=service.settings.limits)
    results = await asyncio.to_thread(
        lambda: service.documents.apply_batch(
            kb, parse_lines(lines, source=source, limits=service.settings.limits), source=source
        )
    )
    service.worker.wake.set()
    for result in results:
        service.metrics.lines.labels(kb=kb, state=result.state).inc()
    return Response(encode_lines(results), media_type=NDJSON)


@router.put("/v1/kbs/{kb}/documents/{document}/original", status_code=204)
async def put_original(request: Request, kb: str, document: str) -> Response:
    """Store the original bytes that the present version was read from."""
    caller, source = await demand_source(request)
    service = service_of(request)
    check_name("kb", kb)
    check_document(document)
    media_type = request.headers.get("content-type", DEFAULT_MEDIA_TYPE)
    if len(media_type) > MAX_MEDIA_TYPE or not media_type.isprintable():
        raise InvalidRequestError("content-type", "is not a media type")
    limit = service.settings.limits.original_bytes
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > limit:
        raise TooLargeError("original", limit=limit)
    await asyncio.to_thread(lambda: service.documents.check_owner(kb, document, source=source, account=caller.account))
    loop = asyncio.get_running_loop()
    pieces = _pull(request.stream(), loop=loop)
    await asyncio.to_thread(lambda: service.originals.write(kb, document, media_type=media_type, pieces=pieces))
    return Response(status_code=204)


def _pull(stream: AsyncIterator[bytes], *, loop: asyncio.AbstractEventLoop) -> Iterator[bytes]:
    """Read a request's body from a thread, piece by piece, so that a large file is never whole in memory."""

    async def following() -> bytes | None:
        return await anext(stream, None)

    while (piece := asyncio.run_coroutine_threadsafe(following(), loop).result()) is not None:
        yield piece
