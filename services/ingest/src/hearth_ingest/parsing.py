"""The `parse` command: NormalDocuments as lines of JSON, without any service."""

import json
from collections.abc import Iterator
from pathlib import Path

from hearth_api.wire.documents import Kind, document_id
from hearth_ingest.calendars.build import Frame
from hearth_ingest.calendars.source import CalendarSource
from hearth_ingest.context import ParseContext
from hearth_ingest.documents.source import DocumentSource
from hearth_ingest.errors import ItemError
from hearth_ingest.item import Source
from hearth_ingest.mail.source import Format, MailSource
from hearth_ingest.teams.source import TeamsSource


def build_source(
    kind: str,
    roots: tuple[Path, ...],
    *,
    context: ParseContext,
    form: Format = "auto",
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    frame: Frame | None = None,
) -> Source:
    """Return the source for a type. The caller has refused types without a parser; calendars come with a frame."""
    if kind == "calendar":
        if frame is None:
            raise ValueError("a calendar needs a frame: its window and zone")
        return CalendarSource(roots, context=context, frame=frame, include=include, exclude=exclude)
    if kind == "teams":
        return TeamsSource(roots, context=context, include=include, exclude=exclude)
    if kind == "email":
        return MailSource(roots, context=context, form=form, include=include, exclude=exclude)
    return DocumentSource(roots, context=context, include=include, exclude=exclude)


def document_kind(kind: str) -> Kind:
    """Return the kind of the documents that a source's items become."""
    return {"email": Kind.EMAIL, "calendar": Kind.CALENDAR, "teams": Kind.TEAMS}.get(kind, Kind.DOCUMENT)


def parse_lines(source: Source, *, kind: Kind, context: ParseContext) -> Iterator[str]:
    """Yield one JSON line for each document, and {"id", "origin", "error"} for what could not be read."""
    listing = source.observe()
    for refusal in (*listing.refusals, *listing.skipped):
        identity = document_id(kind, context.source, refusal.uri, key=context.key)
        origin = {"key": refusal.uri, "uri": refusal.uri, "fingerprint": "", "bytes": 0}
        yield _error_line(identity, origin, refusal.code, refusal.detail)
    for item in listing.items:
        try:
            documents = source.parse(item)
        except ItemError as error:
            identity = document_id(kind, context.source, item.key, key=context.key)
            origin = {"key": item.key, "uri": item.uri, "fingerprint": item.fingerprint, "bytes": item.size}
            yield _error_line(identity, origin, error.code, error.detail)
            continue
        for parsed in reversed(documents):
            yield json.dumps(parsed.document.to_json_object(), ensure_ascii=False)


def _error_line(identity: str, origin: dict[str, object], code: str, detail: str) -> str:
    line = {"id": identity, "origin": origin, "error": {"code": code, "detail": detail}}
    return json.dumps(line, ensure_ascii=False)
