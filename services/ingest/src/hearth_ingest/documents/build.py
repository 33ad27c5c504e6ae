"""A file's bytes to its NormalDocument."""

from dataclasses import dataclass, replace
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
from hearth_ingest.documents.archive import (
    OPENED_TYPES,
    Budget,
    Opened,
    listing_body,
    open_archive,
    refuse_slow,
    start_budget,
)
from hearth_ingest.documents.body import ARCHIVE_TYPES, Body, media_type_of
from hearth_ingest.documents.parsers import read_body, time_limit
from hearth_ingest.errors import ItemError, RefusedError
from hearth_ingest.findings.apply import with_findings
from hearth_ingest.item import Item, Parsed


@dataclass(frozen=True, slots=True, kw_only=True)
class Carrier:
    """What carries an attachment or a member (a mail, an archive), as far as its document repeats it."""

    id: str
    fingerprint: str
    uri: str
    time: datetime | None
    authors: tuple[Person, ...]
    permalink: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """An attachment or member before it is a document. `opaque` says why it is not opened.

    `uri` is the member's own place; None for what is addressed by its carrier.
    """

    key: str
    name: str
    media_type: str
    data: bytes
    opaque: str | None = None
    uri: str | None = None


def build_document(item: Item, data: bytes, *, name: str, modified: datetime, context: ParseContext) -> list[Parsed]:
    """Return the documents of a file, its own last. Raises ItemError where nothing of it can be read."""
    media_type = media_type_of(name, head=data[:64])
    budget = start_budget(context)
    carrier = Carrier(
        id=document_id(Kind.DOCUMENT, context.source, item.key, key=context.key),
        fingerprint=item.fingerprint,
        uri=item.uri,
        time=modified,
        authors=(),
        permalink=item.uri,
    )
    if media_type == "message/rfc822":
        return _build_mail(item, data, carrier=None, depth=0, context=context)
    opened = _open(data, key=item.key, name=name, media_type=media_type, context=context, budget=budget)
    media_type = (opened.office if opened else None) or media_type
    if opened is not None and opened.office is None:
        body: Body | None = listing_body(opened)
    else:
        with time_limit(context.limits.seconds_per_item):
            body = read_body(data, media_type, limits=context.limits)
    if body is None:
        raise ItemError("no-parser", f"{media_type} is not read")
    reason = "body" if body.segments else "empty"
    document = NormalDocument(
        id=carrier.id,
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
        parts=(Part(media_type=media_type, used=bool(body.segments), reason=reason), *body.parts),
        warnings=body.warnings,
    )
    members = _build_members(opened, key=item.key, carrier=carrier, depth=1, context=context, budget=budget)
    return _finish(document, data, media_type=media_type, members=members, opened=opened, context=context)


def build_attachment(
    attachment: Attachment,
    *,
    carrier: Carrier,
    context: ParseContext,
    depth: int = 1,
    budget: Budget | None = None,
) -> list[Parsed]:
    """Return an attachment's documents, its own last. What cannot be read becomes one without text that says why."""
    media_type = media_type_of(attachment.name, declared=attachment.media_type, head=attachment.data[:64])
    left = budget or start_budget(context)
    identity = document_id(Kind.DOCUMENT, context.source, attachment.key, key=context.key)
    opened: Opened | None = None
    try:
        if attachment.opaque is None and media_type in OPENED_TYPES:
            if depth >= context.limits.attachment_depth:
                raise RefusedError("too-deep", f"{context.limits.attachment_depth} levels allowed")
            if media_type == "message/rfc822" and attachment.uri is not None:
                uri = attachment.uri
                inner = Item(key=attachment.key, fingerprint=carrier.fingerprint, uri=uri, size=len(attachment.data))
                return _build_mail(inner, attachment.data, carrier=carrier, depth=depth, context=context)
            name, key = attachment.name, attachment.key
            opened = _open(attachment.data, key=key, name=name, media_type=media_type, context=context, budget=left)
            media_type = (opened.office if opened else None) or media_type
        body, reason = _attachment_body(attachment, media_type, context=context, opened=opened, budget=left)
    except ItemError as error:
        body, reason = _failed(error)
    document = NormalDocument(
        id=identity,
        source=context.source,
        kind=Kind.DOCUMENT,
        title=_title(body, attachment.name),
        origin=Origin(
            key=attachment.key,
            uri=attachment.uri or carrier.uri,
            fingerprint=carrier.fingerprint,
            bytes=len(attachment.data),
        ),
        pipeline=context.pipeline,
        # A member of an archive has no date but its file's, which a copy changes: that is none of its content.
        created=parse_time(body.created) or (carrier.time if attachment.uri is None else None),
        modified=carrier.time,
        authors=carrier.authors,
        permalink=attachment.uri or carrier.permalink,
        trust=context.trust,
        segments=body.segments,
        links=(Link(rel="attachment", target=carrier.id),),
        parts=(Part(media_type=media_type, used=bool(body.segments), reason=reason, name=attachment.name), *body.parts),
        warnings=body.warnings,
    )
    own = replace(carrier, id=identity)
    members = _build_members(opened, key=attachment.key, carrier=own, depth=depth + 1, context=context, budget=left)
    return _finish(document, attachment.data, media_type=media_type, members=members, opened=opened, context=context)


def _open(data: bytes, *, key: str, name: str, media_type: str, context: ParseContext, budget: Budget) -> Opened | None:
    if media_type not in ARCHIVE_TYPES:
        return None
    return open_archive(data, key=key, name=name, media_type=media_type, context=context, budget=budget)


def _build_members(
    opened: Opened | None, *, key: str, carrier: Carrier, depth: int, context: ParseContext, budget: Budget
) -> list[list[Parsed]]:
    """Return the documents of each member of an archive."""
    out: list[list[Parsed]] = []
    for member in opened.members if opened else ():
        place = f"{key}!{member.name}"
        attachment = Attachment(key=place, name=member.name, media_type=member.media_type, data=member.data, uri=place)
        out.append(build_attachment(attachment, carrier=carrier, context=context, depth=depth, budget=budget))
    return out


def _finish(
    document: NormalDocument,
    data: bytes,
    *,
    media_type: str,
    members: list[list[Parsed]],
    opened: Opened | None,
    context: ParseContext,
) -> list[Parsed]:
    """Return the members' documents and the carrying one, which names them."""
    if members:
        refs = tuple(attachment_ref(docs[-1], name=docs[-1].document.title) for docs in members)
        links = tuple(Link(rel="attachment", target=docs[-1].document.id) for docs in members)
        document = document.model_copy(update={"attachments": refs, "links": document.links + links})
    own = Parsed(
        document=with_findings(document, mask=context.at_source).sealed(),
        original=data,
        media_type=media_type,
        refusals=tuple(opened.refusals) if opened else (),
    )
    return [one for docs in members for one in docs] + [own]


def _build_mail(item: Item, data: bytes, *, carrier: Carrier | None, depth: int, context: ParseContext) -> list[Parsed]:
    # The mail package builds its attachments with this module.
    from hearth_ingest.mail.build import Frame, build_mail  # noqa: PLC0415
    from hearth_ingest.mail.structure import parse_message  # noqa: PLC0415

    with time_limit(context.limits.seconds_per_item):
        frame = Frame(item=item, thread=None, parent=carrier, depth=depth)
        return build_mail(parse_message(data), data, frame=frame, context=context)


def _attachment_body(
    attachment: Attachment, media_type: str, *, context: ParseContext, opened: Opened | None, budget: Budget
) -> tuple[Body, str]:
    if attachment.opaque:
        return Body(warnings=(DocumentWarning(code="opaque-content", detail=attachment.opaque),)), attachment.opaque
    if opened is not None and opened.office is None:
        body: Body | None = listing_body(opened)
    else:
        refuse_slow(budget)
        try:
            with time_limit(context.limits.seconds_per_item):
                body = read_body(attachment.data, media_type, limits=context.limits)
        except RefusedError as error:
            budget.slow += error.code == "too-slow"
            raise
    if body is None:
        return Body(warnings=(DocumentWarning(code="no-parser", detail=media_type),)), "no-parser"
    return body, "body" if body.segments else "empty"


def _failed(error: ItemError) -> tuple[Body, str]:
    return Body(warnings=(DocumentWarning(code=error.code, detail=error.detail),)), error.code


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
