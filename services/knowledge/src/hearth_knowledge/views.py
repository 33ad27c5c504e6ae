"""Answers of reading calls that have no model in `hearth_api.wire`."""

import difflib
from collections.abc import Iterator
from datetime import datetime
from typing import Literal

from hearth_api.base import LenientModel
from hearth_api.wire.documents import NormalDocument
from hearth_api.wire.knowledge import Related
from hearth_knowledge.storage.documents import VersionRow
from hearth_knowledge.storage.names import from_millis
from hearth_knowledge.storage.schema import FOREVER


class VersionView(LenientModel):
    """One version. `validTo` is absent while nothing replaced it."""

    version: int
    state: Literal["present", "deleted"]
    recorded: datetime
    valid_from: datetime
    valid_to: datetime | None = None


class DocumentView(VersionView):
    """A version with its content."""

    document: NormalDocument


class HistoryView(LenientModel):
    """All versions, oldest first."""

    id: str
    versions: tuple[VersionView, ...]


class RelatedView(LenientModel):
    """What belongs to a document, the strongest reason first."""

    id: str
    related: tuple[Related, ...]


class BackupView(LenientModel):
    """One finished backup. `kekVersions` of the Secret hearth-kek are needed to restore it."""

    name: str
    created: datetime
    documents: int
    versions: int
    files: int
    missing: int
    bytes: int
    sha256: str
    kek_versions: tuple[int, ...]


class BackupList(LenientModel):
    """Finished backups, newest first."""

    items: tuple[BackupView, ...]


class Change(LenientModel):
    """Lines that one version has and the other has not."""

    op: Literal["insert", "delete", "replace"]
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


class DiffView(LenientModel):
    """What changed from one version to another."""

    id: str
    from_version: int
    to_version: int
    changes: tuple[Change, ...]


def view_version(row: VersionRow) -> VersionView:
    """Return a version's times."""
    return VersionView(**_times(row))


def view_document(row: VersionRow, document: NormalDocument) -> DocumentView:
    """Return a version with its content."""
    return DocumentView(document=document, **_times(row))


def view_diff(before: tuple[VersionRow, NormalDocument], after: tuple[VersionRow, NormalDocument]) -> DiffView:
    """Compare two versions line by line, the title as the first line."""
    old, new = list(_lines(before[1])), list(_lines(after[1]))
    changes = tuple(
        Change(op=op, before=tuple(old[a:b]), after=tuple(new[c:d]))
        for op, a, b, c, d in difflib.SequenceMatcher(a=old, b=new, autojunk=False).get_opcodes()
        if op != "equal"
    )
    return DiffView(id=after[1].id, from_version=before[0].version, to_version=after[0].version, changes=changes)


def _times(row: VersionRow) -> dict[str, object]:
    return {
        "version": row.version,
        "state": "deleted" if row.tombstone else "present",
        "recorded": from_millis(row.recorded),
        "valid_from": from_millis(row.valid_from),
        "valid_to": from_millis(row.valid_to) if row.valid_to < FOREVER else None,
    }


def _lines(document: NormalDocument) -> Iterator[str]:
    yield document.title
    for segment in document.segments:
        yield from segment.text.splitlines()
