"""The one way by which documents leave storage: filtered by policy, with what is quarantined withheld.

Reveal is the exception, and it is written down before anything is given.
"""

from dataclasses import replace

import sqlalchemy as sa

from hearth_api.wire.documents import NormalDocument
from hearth_api.wire.knowledge import (
    AuditList,
    PrivacyConfig,
    QuarantinedSegment,
    QuarantineList,
    ReleaseAnswer,
    ReleaseRequest,
    RevealAnswer,
    RevealRequest,
)
from hearth_knowledge.errors import NotFoundError, WithheldError
from hearth_knowledge.index.chunking import chunk_document
from hearth_knowledge.index.ledger import Passages
from hearth_knowledge.index.rows import build_passages
from hearth_knowledge.privacy.audit import Act, AuditLog, Tickets
from hearth_knowledge.privacy.directory import DirectoryStore
from hearth_knowledge.privacy.names import Directory
from hearth_knowledge.privacy.policy import Lens, apply_privacy, filter_text, withhold
from hearth_knowledge.privacy.quarantine import QuarantineStore
from hearth_knowledge.storage import schema
from hearth_knowledge.storage.database import Database
from hearth_knowledge.storage.documents import DocumentStore, VersionRow
from hearth_knowledge.storage.queue import JobQueue
from hearth_knowledge.storage.registry import OpenKb, Registry

EXCERPT = 200
_DEPTH = 6


class PrivacyFilter:
    """Shows documents, guards originals, releases and reveals. Blocking; run it off the event loop."""

    def __init__(
        self,
        database: Database,
        *,
        registry: Registry,
        documents: DocumentStore,
        queue: JobQueue,
        people: DirectoryStore,
        quarantine: QuarantineStore,
        audit: AuditLog,
        tickets: Tickets,
    ) -> None:
        self._database = database
        self._registry = registry
        self._documents = documents
        self._queue = queue
        self._people = people
        self._quarantine = quarantine
        self._audit = audit
        self._tickets = tickets

    def lens(self, opened: OpenKb, config: PrivacyConfig | None = None) -> Lens:
        """Return a policy (by default the knowledge base's) with its directory."""
        lens = Lens(config=config or opened.config.privacy, key=opened.keys.privacy, directory=Directory())
        return replace(lens, directory=self._people.read(opened)) if lens.addresses else lens

    def show(self, opened: OpenKb, document: NormalDocument, *, indexed: bool = False) -> NormalDocument:
        """Return a document as it may be seen; what is withheld is a note, or nothing where it is to be indexed."""
        released = self._quarantine.released(opened, document)
        kept = withhold(document, released=released, placeholder=not indexed)
        return apply_privacy(kept, self.lens(opened))

    def read(
        self, kb: str, document: str, *, version: int | None = None, as_of: int | None = None
    ) -> tuple[VersionRow, NormalDocument]:
        """Return a version as it may be seen. NotFoundError."""
        row, body = self._documents.read(kb, document, version=version, as_of=as_of)
        return row, self.show(self._registry.open(kb), body)

    def passages(
        self, opened: OpenKb, document: str, version: int, passages: Passages, *, ordinal: int | None = None
    ) -> Passages:
        """Return what a hit shows, under the policy and the directory of now.

        With `ordinal` only that chunk is to be shown.

        While another index is being built, passages that were cut under an earlier policy are cut anew from the
        document; persons who became known after indexing get their names here.
        """
        if opened.active.config.privacy != opened.config.privacy:
            return self._recut(opened, document, version, passages)
        lens = self.lens(opened)
        if not lens.pseudonyms:
            return passages
        return replace(
            passages,
            title=filter_text(passages.title, lens),
            people=tuple(filter_text(name, lens) for name in passages.people),
            origin_key=filter_text(passages.origin_key, lens),
            chunks=tuple(
                replace(chunk, text=filter_text(chunk.text, lens)) if ordinal in {None, chunk.ordinal} else chunk
                for chunk in passages.chunks
            ),
        )

    def _recut(self, opened: OpenKb, document: str, version: int, passages: Passages) -> Passages:
        shown = self.show(opened, self._documents.read_body(opened, document, version), indexed=True)
        quoted = any(chunk.quoted for chunk in passages.chunks)
        fresh = chunk_document(shown, sizes=opened.active.config.chunking, include_quoted=quoted)
        chunks = []
        for number, chunk in enumerate(passages.chunks):
            near = [one for one in fresh if one.segment == chunk.segment and one.quoted == chunk.quoted]
            same = [one for one in passages.chunks[:number] if one.segment == chunk.segment]
            text = near[min(len(same), len(near) - 1)].text if near else ""
            chunks.append(replace(chunk, text=text))
        placed = tuple(
            replace(
                chunk, permalink=shown.segments[chunk.segment].permalink, anchor=shown.segments[chunk.segment].anchor
            )
            for chunk in chunks
        )
        return build_passages(shown, placed)

    def query(self, opened: OpenKb, text: str) -> str:
        """Return a query with persons by the names that the index knows them by."""
        return filter_text(text, self.lens(opened))

    def check_original(self, opened: OpenKb, document: str, version: int, *, ticket: str | None) -> None:
        """Raise WithheldError unless the bytes hold nothing that the policy forbids, or a ticket permits them."""
        if ticket is not None:
            if not self._tickets.redeem(ticket, opened.name, document):
                raise WithheldError("the permission to read this original was used, is too old or is for another one")
            return
        if self._differs(opened, document, version, depth=0):
            raise WithheldError(
                "the original holds what this knowledge base withholds; POST .../reveal with original: true "
                "and a reason gives a permission for it"
            )

    def _differs(self, opened: OpenKb, document: str, version: int | None, *, depth: int) -> bool:
        """Tell whether a document, or one that is carried inside it, is shown otherwise than it came."""
        try:
            if version is None:
                _, body = self._documents.read(opened.name, document)
            else:
                body = self._documents.read_body(opened, document, version)
        except NotFoundError:
            return False
        if self.show(opened, body) != body or depth >= _DEPTH:
            return True
        return any(self._differs(opened, one.document, None, depth=depth + 1) for one in body.attachments)

    def list_quarantine(self, kb: str, *, after: str | None, limit: int) -> QuarantineList:
        """Return a page of withheld segments."""
        opened = self._registry.open(kb)
        rows, following = self._quarantine.page(kb, after=after, limit=limit)
        items = []
        lens = self.lens(opened)
        for row in rows:
            body = self._documents.read_body(opened, row.document, row.version)
            shown = apply_privacy(body, lens)
            segment = shown.segments[row.segment]
            items.append(
                QuarantinedSegment(
                    document=row.document,
                    version=row.version,
                    segment=row.segment,
                    reason=row.reason,
                    title=shown.title,
                    source=shown.source,
                    kind=shown.kind,
                    time=segment.time or shown.modified or shown.created,
                    excerpt=segment.text[:EXCERPT],
                )
            )
        return QuarantineList(items=tuple(items), next=following)

    def release(self, kb: str, document: str, request: ReleaseRequest) -> ReleaseAnswer:
        """Let withheld segments of the present version be seen and indexed from now on."""
        opened = self._registry.open(kb)
        row, body = self._documents.read(kb, document)
        with self._database.write() as connection:
            count = self._quarantine.release(connection, opened, body, request.segments)
            self._note(connection, opened, "release", request, row)
            if count:
                schema_stale = schema.stale.insert().prefix_with("OR IGNORE").values(kb=kb, document=document)
                connection.execute(schema_stale)
                self._queue.enqueue(connection, kb, {document})
        return ReleaseAnswer(released=count)

    def reveal(self, kb: str, document: str, request: RevealRequest) -> RevealAnswer:
        """Give the document as it came, or a ticket for its original. It is audited first."""
        opened = self._registry.open(kb)
        row, body = self._documents.read(kb, document, version=request.version)
        act: Act = "reveal-original" if request.original else "reveal"
        with self._database.write() as connection:
            self._note(connection, opened, act, request, row)
        if request.original:
            return RevealAnswer(ticket=self._tickets.issue(kb, document))
        return RevealAnswer(document=body.to_json_object())

    def list_audit(self, kb: str, *, after: str | None, limit: int) -> AuditList:
        """Return a page of acts."""
        return self._audit.page(self._registry.open(kb), after=after, limit=limit)

    def _note(
        self,
        connection: sa.Connection,
        opened: OpenKb,
        act: Act,
        request: ReleaseRequest | RevealRequest,
        row: VersionRow,
    ) -> None:
        self._audit.append(
            connection,
            opened,
            act=act,
            actor=request.actor,
            document=row.document,
            version=row.version,
            reason=request.reason,
        )
