"""Lists, status, search and documents: FastAPI, since here clarity costs nothing that matters."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import Field, ValidationError

from hearth_api.wire.documents import DOCUMENT_ID_PATTERN
from hearth_api.wire.keys import Scope
from hearth_api.wire.knowledge import SearchRequest
from hearth_gateway.asgi import header
from hearth_gateway.auth import Caller
from hearth_gateway.catalog.model import CHAT, Model
from hearth_gateway.errors import ModelNotFoundError, TooLargeError
from hearth_gateway.rag.answer import search_all
from hearth_gateway.request import MAX_KNOWLEDGE_BASES, bad_fields
from hearth_gateway.state import State
from hearth_gateway.status import knowledge_status, model_status, node_status, source_status, time_now

MAX_SEARCH_BYTES = 64 << 10
CHUNK = 64 << 10
NAME_PATTERN = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"

router = APIRouter(prefix="/v1")

BaseName = Annotated[str, Path(pattern=NAME_PATTERN)]
DocumentId = Annotated[str, Path(pattern=DOCUMENT_ID_PATTERN)]


class SearchBody(SearchRequest):
    """A search over one or more knowledge bases; without names, over all that the key may read."""

    knowledge_bases: tuple[str, ...] | None = Field(default=None, min_length=1, max_length=MAX_KNOWLEDGE_BASES)


def state_of(request: Request) -> State:
    """Return the gateway's parts."""
    state = request.app.state.hearth
    assert isinstance(state, State)
    return state


async def caller_of(request: Request) -> Caller:
    """Authenticate. Every route of this router depends on it."""
    caller = await state_of(request).admit(header(request.scope, b"authorization"))
    request.scope["hearth.caller"] = caller.id
    return caller


Parts = Annotated[State, Depends(state_of)]
Known = Annotated[Caller, Depends(caller_of)]


@router.get("/models")
async def list_models(state: Parts, caller: Known) -> dict[str, Any]:
    """List models, their aliases, and `model@kb` for each knowledge base that the key may read."""
    entries = [model_entry(state.catalog.models[target], name=name) for name, target in state.catalog.names.items()] + [
        model_entry(model, name=f"{model.name}@{base}", knowledge_base=base)
        for model in state.catalog.models.values()
        if model.task == CHAT
        for base in state.readable(caller)
    ]
    return {"object": "list", "data": entries}


@router.get("/models/{name}")
async def get_model(name: str, state: Parts, caller: Known) -> dict[str, Any]:
    """Return one entry of the list."""
    for entry in (await list_models(state, caller))["data"]:
        if entry["id"] == name:
            return dict(entry)
    raise ModelNotFoundError(name, known=tuple(state.catalog.models))


def model_entry(model: Model, *, name: str, knowledge_base: str | None = None) -> dict[str, Any]:
    """Return a model as OpenAI lists it, with Hearth's detail beside."""
    hearth: dict[str, Any] = {"task": model.task, "ready": bool(model.candidates)}
    if model.dimensions is not None:
        hearth["dimensions"] = model.dimensions
    if model.candidates:
        hearth["context_tokens"] = model.candidates[0].context_tokens
    if knowledge_base is not None:
        hearth["knowledge_base"] = knowledge_base
    return {"id": name, "object": "model", "created": model.created, "owned_by": "hearth", "hearth": hearth}


@router.post("/search")
async def search(request: Request, state: Parts, caller: Known) -> dict[str, Any]:
    """Search knowledge bases."""
    caller.require(Scope.SEARCH)
    body = await read_search(request)
    names = state.readable(caller) if body.knowledge_bases is None else tuple(dict.fromkeys(body.knowledge_bases))
    for name in names:
        state.require_knowledge_base(name, caller=caller)
    started = time.perf_counter()
    asked = SearchRequest.model_validate(body.model_dump(exclude={"knowledge_bases"}))
    found = await search_all(state.knowledge, names=names, request=asked)
    took = round((time.perf_counter() - started) * 1000, 2)
    answer = {
        "results": [hit.to_json_object() for hit in found.hits[: asked.top_k]],
        "took_ms": took,
        "reranked": bool(names) and not found.unranked,
    }
    return answer | ({"rerank_reasons": dict(found.unranked)} if found.unranked else {})


async def read_search(request: Request) -> SearchBody:
    """Parse the body. FastAPI would answer 422 in its own shape, and read any size."""
    raw = b""
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MAX_SEARCH_BYTES:
            raise TooLargeError(limit=MAX_SEARCH_BYTES)
    try:
        return SearchBody.model_validate_json(raw)
    except ValidationError as error:
        raise bad_fields(error) from error


@router.get("/knowledge-bases")
async def list_knowledge_bases(state: Parts, caller: Known) -> dict[str, Any]:
    """List the knowledge bases that the key may read."""
    caller.require(Scope.SEARCH)
    bases = [state.catalog.knowledge_bases[name] for name in state.readable(caller)]
    return {
        "object": "list",
        "data": [
            {
                "id": base.name,
                "object": "knowledge_base",
                "ready": base.ready,
                "message": base.message,
                "documents": base.documents,
                "chunks": base.chunks,
                "pending": base.pending,
                "embedding_model": base.embedding_model,
                "rerank_model": base.rerank_model,
                "sources": list(base.sources),
            }
            for base in bases
        ],
    }


@router.get("/knowledge-bases/{base}/documents/{document}")
async def get_document(
    base: BaseName,
    document: DocumentId,
    state: Parts,
    caller: Known,
    *,
    version: Annotated[int | None, Query(ge=1)] = None,
    as_of: Annotated[str | None, Query(max_length=40)] = None,
) -> Response:
    """Return a document, at a version or a time."""
    query = {"version": str(version)} if version is not None else {}
    if as_of is not None:
        query["as_of"] = as_of
    return await _relay_json(state, caller=caller, base=base, document=document, part="", query=query)


@router.get("/knowledge-bases/{base}/documents/{document}/history")
async def get_history(base: BaseName, document: DocumentId, state: Parts, caller: Known) -> Response:
    """Return a document's versions."""
    return await _relay_json(state, caller=caller, base=base, document=document, part="/history", query={})


@router.get("/knowledge-bases/{base}/documents/{document}/related")
async def get_related(
    base: BaseName,
    document: DocumentId,
    state: Parts,
    caller: Known,
    as_of: Annotated[str | None, Query(max_length=40)] = None,
) -> Response:
    """Return what belongs to a document: its conversation, its meeting with invitation, chat, notes and files."""
    query = {} if as_of is None else {"as_of": as_of}
    return await _relay_json(state, caller=caller, base=base, document=document, part="/related", query=query)


@router.get("/knowledge-bases/{base}/documents/{document}/original")
async def get_original(
    base: BaseName,
    document: DocumentId,
    state: Parts,
    caller: Known,
    *,
    version: Annotated[int | None, Query(ge=1)] = None,
    reveal: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """Return the original bytes, as a download: a browser must never run what came by mail."""
    state.require_knowledge_base(base, caller=caller)
    query = {"version": str(version)} if version is not None else {}
    if reveal is not None:
        caller.require(Scope.REVEAL)
        query["reveal"] = reveal
    stack = AsyncExitStack()
    answer = await stack.enter_async_context(
        state.knowledge.read(base, document=document, part="/original", query=query)
    )

    async def body() -> AsyncIterator[bytes]:
        async with stack:
            async for chunk in answer.content.iter_chunked(CHUNK):
                yield chunk

    headers = {
        "Content-Disposition": f'attachment; filename="{document}"',
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Cache-Control": "private, no-store",
    }
    if (length := answer.headers.get("Content-Length")) is not None and length.isdigit():
        headers["Content-Length"] = length
    media = answer.headers.get("Content-Type", "application/octet-stream")
    return StreamingResponse(body(), media_type=media, headers=headers)


async def _relay_json(
    state: State, *, caller: Caller, base: str, document: str, part: str, query: dict[str, str]
) -> Response:
    state.require_knowledge_base(base, caller=caller)
    async with state.knowledge.read(base, document=document, part=part, query=query) as answer:
        return Response(await answer.read(), media_type="application/json")


@router.get("/status")
async def get_status(state: Parts, caller: Known) -> JSONResponse:
    """Return models, nodes, knowledge bases, sources and queues, as one would ask after a bad night."""
    if caller.internal:
        caller.require(Scope.CHAT)
    catalog = state.catalog
    bases = state.readable(caller)
    knowledge = await asyncio.gather(*(knowledge_status(state, name=name) for name in bases))
    return JSONResponse(
        {
            "time": time_now(),
            "scopes": sorted(caller.scopes),
            "models": [model_status(state, model=model) for model in catalog.models.values()],
            "nodes": node_status(catalog),
            "knowledge_bases": knowledge,
            "sources": source_status(catalog, bases=bases),
        }
    )
