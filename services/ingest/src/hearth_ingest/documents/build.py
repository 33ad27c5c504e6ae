"""A file's bytes to its NormalDocument."""

from dataclasses import dataclass
from datetime import UTC, date, datetime

from hearth_api.wire.documents import (
    AttachmentRef,
    DocumentWarning,
    Kind,
    Link,
    NormalDocument,
    Origin,
    Part,
    Person,
    document_id,
)
from hearth_ingest.context import ParseContext
from hearth_ingest.documents.body import Body, media_type_of
from hearth_ingest.documents.parsers import read_body, time_limit
from hearth_ingest.errors import ItemError
from hearth_ingest.findings.apply import with_findings
from hearth_ingest.item import Item, Parsed


def build_document(item: Item, data: bytes, *, name: str, modified: datetime, context: ParseContext) -> Parsed:
    """Return the document of a file. Raises ItemError where nothing of it can be read."""
    media_type = media_type_of(name, head=data[:64])
    with time_limit(context.limits.seconds_per_item):
        body = read_body(data, media_type, limits=context.limits)
    if body is None:
        raise ItemError("no-parser", f"{media_type} is not read")
    document = NormalDocument(
        id=document_id(Kind.DOCUMENT, context.source, item.key, key=context.key),
        source=context.source,
        kind=Kind.DOCUMENT,
        title=_title(body, name),
        origin=Origin(key=item.key, uri=item.uri, fingerprint=item.fingerprint, bytes=len(data)),
        pipeline=context.pipeline,
        created=parse_time(body.created),
        modified=modified,
        permalink=item.uri,
        trust=context.trust,
        segments=body.segments,
        parts=(Part(media_type=media_type, used=bool(body.segments), reason="body" if body.segments else "empty"),),
        warnings=body.warnings,
    )
    return Parsed(
        document=with_findings(document, mask=context.at_source).sealed(), original=data, media_type=media_type
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Carrier:
    """The mail that carries an attachment, as far as the attachment's document repeats it."""

    id: str
    fingerprint: str
    uri: str
    time: datetime | None
    authors: tuple[Person, ...]
    permalink: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """An attachment before it is a document. `opaque` says why it is not opened."""

    key: str
    name: str
    media_type: str
    data: bytes
    opaque: str | None = None


def build_attachment(attachment: Attachment, *, carrier: Carrier, context: ParseContext) -> Parsed:
    """Return an attachment's document. What cannot be read becomes a document without text that says why."""
    media_type = media_type_of(attachment.name, declared=attachment.media_type, head=attachment.data[:64])
    body, reason = _attachment_body(attachment, media_type, context)
    document = NormalDocument(
        id=document_id(Kind.DOCUMENT, context.source, attachment.key, key=context.key),
        source=context.source,
        kind=Kind.DOCUMENT,
        title=_title(body, attachment.name),
        origin=Origin(key=attachment.key, uri=carrier.uri, fingerprint=carrier.fingerprint, bytes=len(attachment.data)),
        pipeline=context.pipeline,
        created=parse_time(body.created) or carrier.time,
        modified=carrier.time,
        authors=carrier.authors,
        permalink=carrier.permalink,
        trust=context.trust,
        segments=body.segments,
        links=(Link(rel="attachment", target=carrier.id),),
        parts=(Part(media_type=media_type, used=bool(body.segments), reason=reason, name=attachment.name),),
        warnings=body.warnings,
    )
    return Parsed(
        document=with_findings(document, mask=context.at_source).sealed(),
        original=attachment.data,
        media_type=media_type,
    )


def _attachment_body(attachment: Attachment, media_type: str, context: ParseContext) -> tuple[Body, str]:
    if attachment.opaque:
        return Body(warnings=(DocumentWarning(code="opaque-content", detail=attachment.opaque),)), attachment.opaque
    try:
        body = read_body(attachment.data, media_type, limits=context.limits)
    except ItemError as error:
        return Body(warnings=(DocumentWarning(code=error.code, detail=error.detail),)), error.code
    if body is None:
        return Body(warnings=(DocumentWarning(code="no-parser", detail=media_type),)), "no-parser"
    return body, "body" if body.segments else "empty"


def attachment_ref(parsed: Parsed, *, name: str) -> AttachmentRef:
    """Return how a mail names one of its attachments."""
    size = len(parsed.original)
    return AttachmentRef(document=parsed.document.id, name=name, media_type=parsed.media_type, bytes=size)


def _title(body: Body, name: str) -> str:
    return (" ".join(body.title.split()) or name.rpartition("/")[2])[:500]


def parse_time(text: str | None) -> datetime | None:
    """Return an ISO 8601 time or day, in UTC where it names no zone; None for anything else."""
    if not text:
        return None
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        try:
            day = date.fromisoformat(text[:10])
        except ValueError:
            return None
        value = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return value if value.tzinfo else value.replace(tzinfo=UTC)
