"""What a knowledge base withholds: the list, releasing, revealing, and who did. Needs the scope `reveal`.

The caller's public id goes along as the actor; nobody can act in another's name.
"""

from typing import Annotated, TypeVar

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import Field, ValidationError

from hearth_api.base import StrictModel
from hearth_api.wire.keys import Scope
from hearth_api.wire.knowledge import ReleaseRequest, RevealRequest
from hearth_gateway.auth import Caller
from hearth_gateway.errors import TooLargeError
from hearth_gateway.request import bad_fields
from hearth_gateway.routes.cold import BaseName, DocumentId, Known, Parts
from hearth_gateway.state import State

MAX_BODY_BYTES = 16 << 10

router = APIRouter(prefix="/v1")

After = Annotated[str | None, Query(max_length=200)]
Limit = Annotated[int, Query(ge=1, le=200)]


class ReleaseBody(StrictModel):
    """Why, and which segments; without numbers all that are withheld in the present version."""

    reason: str = Field(min_length=1, max_length=500)
    segments: tuple[int, ...] | None = None


class RevealBody(StrictModel):
    """Why, which version, and whether a permission for the original is wanted instead of the text."""

    reason: str = Field(min_length=1, max_length=500)
    version: int | None = Field(default=None, ge=1)
    original: bool = False


Body = TypeVar("Body", ReleaseBody, RevealBody)


@router.get("/knowledge-bases/{base}/quarantine")
async def get_quarantine(
    base: BaseName, state: Parts, caller: Known, after: After = None, limit: Limit = 50
) -> Response:
    """List withheld segments, newest first."""
    return await _list(state, caller=caller, base=base, part="quarantine", after=after, limit=limit)


@router.get("/knowledge-bases/{base}/audit")
async def get_audit(base: BaseName, state: Parts, caller: Known, after: After = None, limit: Limit = 50) -> Response:
    """List who revealed or released what, newest first."""
    return await _list(state, caller=caller, base=base, part="audit", after=after, limit=limit)


@router.post("/knowledge-bases/{base}/documents/{document}/release")
async def post_release(base: BaseName, document: DocumentId, request: Request, state: Parts, caller: Known) -> Response:
    """Let withheld segments be seen and indexed."""
    _check(state, caller=caller, base=base)
    body = await _read(request, ReleaseBody)
    asked = ReleaseRequest(actor=caller.id, reason=body.reason, segments=body.segments)
    answer = await state.knowledge.act(base, document=document, act="release", body=_encode(asked))
    return _private(answer)


@router.post("/knowledge-bases/{base}/documents/{document}/reveal")
async def post_reveal(base: BaseName, document: DocumentId, request: Request, state: Parts, caller: Known) -> Response:
    """Give a document as it came, or a permission to read its original once within a minute."""
    _check(state, caller=caller, base=base)
    body = await _read(request, RevealBody)
    asked = RevealRequest(actor=caller.id, reason=body.reason, version=body.version, original=body.original)
    answer = await state.knowledge.act(base, document=document, act="reveal", body=_encode(asked))
    return _private(answer)


def _check(state: State, *, caller: Caller, base: str) -> None:
    caller.require(Scope.REVEAL)
    state.require_knowledge_base(base, caller=caller)


def _encode(asked: ReleaseRequest | RevealRequest) -> bytes:
    return asked.model_dump_json(by_alias=True, exclude_none=True).encode()


async def _list(state: State, *, caller: Caller, base: str, part: str, after: str | None, limit: int) -> Response:
    _check(state, caller=caller, base=base)
    query = {"limit": str(limit)} | ({"after": after} if after is not None else {})
    return _private(await state.knowledge.list_part(base, part=part, query=query))


def _private(answer: bytes) -> Response:
    return Response(answer, media_type="application/json", headers={"Cache-Control": "private, no-store"})


async def _read(request: Request, model: type[Body]) -> Body:
    raw = b""
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > MAX_BODY_BYTES:
            raise TooLargeError(limit=MAX_BODY_BYTES)
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        raise bad_fields(error) from error
