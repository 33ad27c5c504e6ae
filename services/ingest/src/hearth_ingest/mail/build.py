"""A message to its documents: the mail itself and one document for each attachment."""

from dataclasses import dataclass
from datetime import datetime
from email.message import Message
from typing import Literal
from urllib.parse import quote

from hearth_api.wire.documents import (
    Kind,
    Link,
    NormalDocument,
    Origin,
    Participant,
    Person,
    Segment,
    ThreadRef,
    document_id,
    keyed_id,
    person_id,
)
from hearth_ingest.context import ParseContext
from hearth_ingest.documents.build import Attachment, Carrier, attachment_ref, build_attachment
from hearth_ingest.findings.apply import with_findings
from hearth_ingest.item import Item, Parsed
from hearth_ingest.mail.dates import observe_date
from hearth_ingest.mail.headers import Address, addresses, header, message_ids
from hearth_ingest.mail.quoting import split_text
from hearth_ingest.mail.structure import Attached, Content, read_content

_ROLES: tuple[tuple[str, Literal["to", "cc", "bcc", "reply-to"]], ...] = (
    ("to", "to"),
    ("cc", "cc"),
    ("bcc", "bcc"),
    ("reply-to", "reply-to"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What surrounds a message: its identity, its thread (None for a nested mail) and how deep it is nested."""

    item: Item
    thread: ThreadRef | None
    envelope: str = ""
    parent: Carrier | None = None
    path: str = ""
    depth: int = 0
    twin: bool = False


def build_mail(message: Message, data: bytes, *, frame: Frame, context: ParseContext) -> list[Parsed]:
    """Return the documents of a message, its own last. Raises ItemError."""
    item = frame.item
    identity = document_id(Kind.EMAIL, context.source, item.key, key=context.key)
    content = read_content(message, prefix=f"{frame.path}." if frame.path else "")
    date = observe_date(header(message, "date"), received=header(message, "received"), envelope=frame.envelope)
    for code, detail in date.warnings:
        content.warn(code, detail)
    authors = tuple(_person(a, context) for a in addresses(message, "from") or addresses(message, "sender"))
    mids = message_ids(header(message, "message-id"))
    permalink = f"mid:{quote(mids[0], safe='@')}" if mids else (frame.parent.permalink if frame.parent else None)
    _warn_identity(content, mids=mids, authors=authors, twin=frame.twin)
    carrier = Carrier(
        id=identity, fingerprint=item.fingerprint, uri=item.uri, time=date.value, authors=authors, permalink=permalink
    )
    attached = [
        _build_attached(a, carrier=carrier, frame=frame, content=content, context=context) for a in content.attached
    ]
    carried = [(a, docs) for a, docs in zip(content.attached, attached, strict=True) if docs]
    document = NormalDocument(
        id=identity,
        source=context.source,
        kind=Kind.EMAIL,
        title=header(message, "subject")[:500],
        origin=Origin(key=item.key, uri=item.uri, fingerprint=item.fingerprint, bytes=len(data)),
        pipeline=context.pipeline,
        created=date.value,
        modified=date.value,
        authors=authors,
        participants=_participants(message, context),
        thread=frame.thread,
        permalink=permalink,
        identities=tuple(f"mid:<{mid}>" for mid in mids[:1]),
        trust=context.trust,
        segments=tuple(_segments(content, author=authors[0].id if authors else None, time=date.value)),
        attachments=tuple(attachment_ref(docs[-1], name=a.name) for a, docs in carried),
        links=_links(content, frame, [docs[-1].document.id for _, docs in carried]),
        parts=tuple(content.parts),
        warnings=tuple(content.warnings),
    )
    own = Parsed(
        document=with_findings(document, mask=context.at_source).sealed(), original=data, media_type="message/rfc822"
    )
    return [doc for docs in attached for doc in docs] + [own]


def _warn_identity(content: Content, *, mids: tuple[str, ...], authors: tuple[Person, ...], twin: bool) -> None:
    if not mids:
        content.warn("message-id-missing")
    if twin:
        content.warn("message-id-shared", "another mail with other content has the same Message-ID")
    if not authors:
        content.warn("from-missing")


def _build_attached(
    attached: Attached, *, carrier: Carrier, frame: Frame, content: Content, context: ParseContext
) -> list[Parsed]:
    base = frame.item.key if not frame.path else frame.item.key.rpartition("#")[0]
    key = f"{base}#{attached.path}"
    if attached.message is not None:
        if frame.depth + 1 >= context.limits.attachment_depth:
            content.warn("too-deep", f"part {attached.path}: {context.limits.attachment_depth} levels allowed")
            return []
        inner = Item(key=key, fingerprint=frame.item.fingerprint, uri=frame.item.uri, size=len(attached.data))
        nested = Frame(item=inner, thread=None, parent=carrier, path=attached.path, depth=frame.depth + 1)
        return build_mail(attached.message, attached.data, frame=nested, context=context)
    attachment = Attachment(
        key=key, name=attached.name, media_type=attached.media_type, data=attached.data, opaque=attached.opaque
    )
    return build_attachment(attachment, carrier=carrier, context=context, depth=frame.depth + 1)


def _segments(content: Content, *, author: str | None, time: datetime | None) -> list[Segment]:
    """Return the texts split by role. Quoted words are someone else's: they carry no author and no time."""
    out: list[Segment] = []
    for piece in content.texts:
        if piece.notes:
            out.append(Segment(text=piece.text, role="notes", author=author, time=time))
            continue
        for part in split_text(piece.text):
            own = part.role != "quoted"
            out.append(
                Segment(text=part.text, role=part.role, author=author if own else None, time=time if own else None)
            )
    out.extend(Segment(text=i.text, role="event", author=author, time=time) for i in content.invitations)
    return out


def _links(content: Content, frame: Frame, attachments: list[str]) -> tuple[Link, ...]:
    links = [Link(rel="reply", target=frame.thread.parent)] if frame.thread and frame.thread.parent else []
    if frame.parent is not None:
        links.append(Link(rel="attachment", target=frame.parent.id))
    links.extend(Link(rel="attachment", target=target) for target in attachments)
    uids = dict.fromkeys(uid for invitation in content.invitations for uid in invitation.uids)
    links.extend(Link(rel="meeting", target=f"uid:{uid}") for uid in uids)
    return tuple(links)


def _identity(address: Address, context: ParseContext) -> str:
    return person_id(address.address or address.name or "", key=context.key)


def _person(address: Address, context: ParseContext) -> Person:
    return Person(id=_identity(address, context), name=address.name, address=address.address or None)


def _participants(message: Message, context: ParseContext) -> tuple[Participant, ...]:
    return tuple(
        Participant(id=_identity(a, context), name=a.name, address=a.address or None, role=role)
        for name, role in _ROLES
        for a in addresses(message, name)
    )


def thread_ref(root: str, *, position: int, parent: str | None, context: ParseContext) -> ThreadRef:
    """Return a thread's reference from message ids; `parent` is the origin.key of the mail that this one answers."""
    return ThreadRef(
        id=keyed_id("thread", root, key=context.key),
        position=position,
        parent=document_id(Kind.EMAIL, context.source, parent, key=context.key) if parent else None,
    )
