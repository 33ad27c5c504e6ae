"""NormalDocument: what ingestion hands to the knowledge service (INTERFACES, "Normal form")."""

import base64
import hashlib
import hmac
import json
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from hearth_api.base import StrictModel

DOCUMENT_ID_PATTERN = r"^[a-z]{2,16}-[a-z2-7]{16,64}$"
ZERO_KEY = bytes(32)


class Kind(StrEnum):
    """What a document is."""

    EMAIL = "email"
    DOCUMENT = "document"
    CALENDAR = "calendar"
    TEAMS = "teams"


class Trust(StrEnum):
    """How far a source's text may be believed. Never an authority for instructions."""

    OWN = "Own"
    KNOWN = "Known"
    EXTERNAL = "External"


class Origin(StrictModel):
    """Where a document came from. `fingerprint` changes when the source changes, cheaply readable."""

    key: str
    uri: str
    fingerprint: str
    bytes: int = Field(ge=0)


class Person(StrictModel):
    """An author. `id` is a keyed hash of the address, equal in all sources of a knowledge base."""

    id: str
    name: str | None = None
    address: str | None = None


class Participant(Person):
    """A person with a role in the document."""

    role: Literal["from", "to", "cc", "bcc", "reply-to", "organizer", "attendee", "member", "mentioned"]


class ThreadRef(StrictModel):
    """Position in a conversation, counted from 1 by time."""

    id: str
    position: int = Field(ge=1, default=1)
    parent: str | None = None


class Anchor(StrictModel):
    """Where in the original a segment stands."""

    page: int | None = None
    slide: int | None = None
    cell: str | None = None
    heading: str | None = None
    line: int | None = None


SegmentRole = Literal["body", "quoted", "signature", "header", "table", "notes", "event"]


class Segment(StrictModel):
    """A span of text with one author, one time, one place."""

    text: str
    role: SegmentRole = "body"
    author: str | None = None
    time: datetime | None = None
    permalink: str | None = None
    anchor: Anchor | None = None
    quarantine: str | None = None
    """Why the segment is withheld (a code, as "instruction-to-model"): stored, but neither indexed, shown nor prompted
    until somebody releases it."""


class AttachmentRef(StrictModel):
    """An attachment, which is a document of its own."""

    document: str
    name: str
    media_type: str
    bytes: int = Field(ge=0)


class Link(StrictModel):
    """A relation to another document.

    `target` is a document's id or one of its `identities` ("uid:...", "mid:...", "url:..."); the knowledge service
    joins the two, whichever arrives first.
    """

    rel: Literal["meeting", "reply", "attachment", "mention", "same-event", "quote", "file"]
    target: str


class Part(StrictModel):
    """One MIME part or container entry, used or not, with the reason."""

    media_type: str
    used: bool
    reason: str
    name: str | None = None


class Finding(StrictModel):
    """Personal or secret data found in a text. Offsets are code points within that text."""

    where: Literal["title", "heading", "attachment", "part"] | None = None
    """Which text: the title, a segment's heading, the name of an attachment or part; None: the segment's own."""
    segment: int = Field(ge=0)
    """Number of the segment, attachment or part; 0 for the title."""
    type: str
    start: int = Field(ge=0)
    end: int = Field(ge=0)
    score: float = Field(ge=0, le=1)


class DocumentWarning(StrictModel):
    """Something that a reader should know, never fatal."""

    code: str
    detail: str = ""


class NormalDocument(StrictModel):
    """One document in normal form."""

    id: Annotated[str, Field(pattern=DOCUMENT_ID_PATTERN)]
    source: str
    kind: Kind
    title: str
    origin: Origin
    pipeline: str
    created: datetime | None = None
    modified: datetime | None = None
    authors: tuple[Person, ...] = ()
    participants: tuple[Participant, ...] = ()
    thread: ThreadRef | None = None
    permalink: str | None = None
    identities: tuple[str, ...] = ()
    """Names that other documents may call this one by: "uid:<iCalendar UID>", "mid:<Message-ID>", "url:<address>"
    (a meeting's join address, a file's address), "chat:<conversation id>/<message id>"."""
    trust: Trust = Trust.EXTERNAL
    segments: tuple[Segment, ...] = ()
    attachments: tuple[AttachmentRef, ...] = ()
    links: tuple[Link, ...] = ()
    parts: tuple[Part, ...] = ()
    findings: tuple[Finding, ...] = ()
    warnings: tuple[DocumentWarning, ...] = ()
    content_hash: str = ""

    def sealed(self) -> "NormalDocument":
        """Return a copy whose `content_hash` covers everything that a reader or the index can see."""
        return self.model_copy(update={"content_hash": compute_content_hash(self)})


class Tombstone(StrictModel):
    """Says that the source no longer has a document. It stays in history and leaves every index."""

    id: Annotated[str, Field(pattern=DOCUMENT_ID_PATTERN)]
    deleted: Literal[True]
    reason: str = "gone-at-source"


BatchLine = TypeAdapter[NormalDocument | Tombstone](NormalDocument | Tombstone)


class BatchResult(StrictModel):
    """Answer to one line of `documents:batch`."""

    id: str
    version: int = 0
    changed: bool = False
    state: Literal["added", "updated", "deleted", "unchanged", "refused"]
    error: str | None = None


class ManifestLine(StrictModel):
    """What the knowledge service holds of a source's document; enough for a diff before fetching."""

    id: str
    key: str
    fingerprint: str
    pipeline: str
    content_hash: str


def compute_content_hash(document: NormalDocument) -> str:
    """Return "sha256:<hex>" over the document without origin fingerprint, pipeline, time of change and hash itself.

    A touched file (new mtime, same bytes) therefore changes nothing.
    """
    body = document.model_dump(
        mode="json",
        by_alias=True,
        exclude={"content_hash": True, "pipeline": True, "modified": True, "origin": {"fingerprint"}},
    )
    return "sha256:" + hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def keyed_id(prefix: str, *parts: str, key: bytes = ZERO_KEY) -> str:
    """Return "<prefix>-<base32 of the first 20 bytes of HMAC-SHA256>" over the NUL-joined parts."""
    digest = hmac.new(key, "\0".join(parts).encode(), hashlib.sha256).digest()
    return f"{prefix}-{base64.b32encode(digest[:20]).decode().lower()}"


def document_id(kind: Kind, source: str, origin_key: str, *, key: bytes = ZERO_KEY) -> str:
    """Return the id of a document: it names the same thing in every run and tells nothing without the key."""
    return keyed_id(kind.value, source, origin_key, key=key)


def person_id(address: str, *, key: bytes = ZERO_KEY) -> str:
    """Return a person's id from a mail address, compared without case."""
    return keyed_id("person", address.strip().lower(), key=key)
