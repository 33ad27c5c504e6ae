"""Backups: making one now, listing those that are there."""

import asyncio
from datetime import datetime

from fastapi import APIRouter, Request

from hearth_knowledge.authorization import Action
from hearth_knowledge.backup.manifest import Manifest
from hearth_knowledge.routes.access import demand, service_of
from hearth_knowledge.views import BackupList, BackupView

router = APIRouter()


@router.post("/v1/backups", status_code=201)
async def post_backup(request: Request) -> BackupView:
    """Make a backup now; answers when it is on disk. 409 while another is being made or no place is configured."""
    await demand(request, Action.BACKUP)
    return _view(await asyncio.to_thread(service_of(request).backups.make))


@router.get("/v1/backups")
async def get_backups(request: Request) -> BackupList:
    """List finished backups, newest first. What is erased later is still in those made before."""
    await demand(request, Action.BACKUP)
    found = await asyncio.to_thread(service_of(request).backups.list)
    return BackupList(items=tuple(_view(one) for one in found))


def _view(made: Manifest) -> BackupView:
    return BackupView(
        name=made.name,
        created=datetime.fromisoformat(made.created),
        documents=made.documents,
        versions=made.versions,
        files=made.files,
        missing=made.missing,
        bytes=made.archive_bytes,
        sha256=made.sha256,
        kek_versions=made.kek_versions,
    )
