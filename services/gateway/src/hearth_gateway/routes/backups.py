"""Backups of the knowledge service: making one now, listing those there are. Needs the scope `admin`."""

from fastapi import APIRouter
from fastapi.responses import Response

from hearth_api.wire.keys import Scope
from hearth_gateway.routes.cold import Known, Parts

router = APIRouter(prefix="/v1")
NOT_STORED = {"Cache-Control": "private, no-store"}


@router.get("/backups")
async def get_backups(state: Parts, caller: Known) -> Response:
    """List finished backups, newest first."""
    caller.require(Scope.ADMIN)
    answer = await state.knowledge.list_backups()
    return Response(answer, media_type="application/json", headers=NOT_STORED)


@router.post("/backups")
async def post_backup(state: Parts, caller: Known) -> Response:
    """Make a backup and answer when it is on disk: 409 while another is made, or where no place is configured."""
    caller.require(Scope.ADMIN)
    answer = await state.knowledge.make_backup()
    return Response(answer, status_code=201, media_type="application/json", headers=NOT_STORED)
