"""Documents and their versions: the only place that writes them.

A version has a valid time (when its content was true at the source, as far as the source tells) and a recorded time
(when we were told). Valid times of one document never overlap; a deletion is a version without content, valid from when
we saw it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hearth_api.wire.documents import BatchResult, ManifestLine, NormalDocument, Tombstone
from hearth_knowledge import crypto
from hearth_knowledge.errors import ForbiddenError, NotFoundError
from hearth_knowledge.storage import names, schema
from hearth_knowledge.storage.blobs import BlobStore
from hearth_knowledge.storage.database import Database
from hearth_knowledge.storage.queue import JobQueue
from hearth_knowledge.storage.registry import OpenKb, Registry

Row = sa.Row[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class VersionRow:
    """One version's times. Milliseconds since 1970; `valid_to` is `schema.FOREVER` while nothing replaced it."""

    document: str
    version: int
    tombstone: bool
    recorded: int
    valid_from: int
    valid_to: int
    parent: str | None = None


class People(Protocol):
    """The directory of persons; `privacy.directory.DirectoryStore` is one."""

    def take(self, connection: Connection, opened: OpenKb, document: NormalDocument) -> None:
        """Add a document's people."""
        ...


class Quarantine(Protocol):
    """The list of what is withheld; `privacy.quarantine.QuarantineStore` is one."""

    def take(self, connection: Connection, opened: OpenKb, document: NormalDocument, version: int) -> None:
        """Note what a new version withholds."""
        ...

    def forget(self, connection: Connection, kb: str, document: str) -> None:
        """Take a document off the list."""
        ...


class Links(Protocol):
    """What joins documents; `links.store.LinkStore` is one."""

    def take(self, connection: Connection, opened: OpenKb, document: NormalDocument, version: int) -> None:
        """Note what joins a new version to others."""
        ...


class DocumentStore:
    """Writes batches; reads versions. Blocking; run it off the event loop."""

    def __init__(
        self,
        database: Database,
        *,
        blobs: BlobStore,
        registry: Registry,
        queue: JobQueue,
        random: crypto.RandomBytes,
        now: Callable[[], int],
        people: People,
        quarantine: Quarantine,
        links: Links,
    ) -> None:
        self._links = links
        self._people = people
        self._quarantine = quarantine
        self._database = database
        self._blobs = blobs
        self._registry = registry
        self._queue = queue
        self._random = random
        self._now = now

    def apply_batch(
        self, kb: str, lines: Sequence[NormalDocument | Tombstone | BatchResult], *, source: str
    ) -> list[BatchResult]:
        """Write all lines of one source in one transaction and return one answer per line, in order.

        A line that is a BatchResult already was refused before; it is handed through.
        """
        with self._database.write() as connection:
            opened = self._registry.open(kb, connection=connection)
            results = []
            for line in lines:
                if isinstance(line, BatchResult):
                    results.append(line)
                elif isinstance(line, Tombstone):
                    results.append(self._bury(connection, opened, line, source=source))
                else:
                    results.append(self._put(connection, opened, line))
        return results

    def _put(self, connection: Connection, opened: OpenKb, document: NormalDocument) -> BatchResult:
        row = _find(connection, opened.name, document.id)
        if row is not None and row.source != document.source:
            return BatchResult(id=document.id, state="refused", error="id: belongs to another source")
        content = crypto.keyed_hash(opened.keys.lookup, "content", document.content_hash)
        origin = document.origin
        state = crypto.keyed_hash(
            opened.keys.lookup, "state", document.content_hash, origin.key, origin.fingerprint, document.pipeline
        )
        key = self.document_key(opened, row) if row is not None else self._random(crypto.KEY_BYTES)
        facts: dict[str, object] = {"manifest": self._seal_manifest(opened, document, key=key), "state_mac": state}
        if row is not None and not row.deleted and row.content_mac == content:
            if row.state_mac != state:
                _update(connection, opened.name, document.id, values=facts)
            return BatchResult(id=document.id, version=row.version, state="unchanged")
        version = row.version + 1 if row is not None else 1
        self._write_body(opened, document, version, key=key)
        facts |= {"content_mac": content, "version": version, "deleted": False, "written": self._now()}
        if row is None:
            wrapped = crypto.seal(
                opened.keys.wrap, key, place=names.document_key(opened.name, document.id), random=self._random
            )
            connection.execute(
                schema.documents.insert().values(
                    kb=opened.name,
                    id=document.id,
                    source=document.source,
                    kind=document.kind.value,
                    wrapped_key=wrapped,
                    **facts,
                )
            )
        else:
            _update(connection, opened.name, document.id, values=facts)
        parent = document.thread.parent if document.thread else None
        self._add_version(
            connection, opened.name, document.id, version, starts=document.modified or document.created, parent=parent
        )
        self._people.take(connection, opened, document)
        self._quarantine.take(connection, opened, document, version)
        self._links.take(connection, opened, document, version)
        appeared = row is None or row.deleted
        self._enqueue(connection, opened.name, document.id, replies=appeared)
        return BatchResult(id=document.id, version=version, changed=True, state="added" if appeared else "updated")

    def _write_body(self, opened: OpenKb, document: NormalDocument, version: int, *, key: bytes) -> None:
        # Before the row: a crash between leaves a file that nobody names and the next attempt replaces.
        place = names.body(opened.name, document.id, version)
        plain = document.model_dump_json(by_alias=True).encode()
        sealed = crypto.seal_stream(key, [plain], place=place, random=self._random)
        self._blobs.write(opened.name, document.id, f"{version}.body", pieces=sealed)

    def _bury(self, connection: Connection, opened: OpenKb, line: Tombstone, *, source: str) -> BatchResult:
        row = _find(connection, opened.name, line.id)
        if row is not None and row.source != source:
            return BatchResult(id=line.id, state="refused", error="id: belongs to another source")
        if row is None or row.deleted:
            return BatchResult(id=line.id, version=row.version if row is not None else 0, state="unchanged")
        values = {"version": row.version + 1, "deleted": True, "written": self._now(), "content_mac": b""}
        _update(connection, opened.name, line.id, values=values)
        self._add_version(connection, opened.name, line.id, row.version + 1, tombstone=True)
        self._quarantine.forget(connection, opened.name, line.id)
        self._enqueue(connection, opened.name, line.id, replies=True)
        return BatchResult(id=line.id, version=row.version + 1, changed=True, state="deleted")

    def _add_version(
        self,
        connection: Connection,
        kb: str,
        document: str,
        version: int,
        *,
        starts: datetime | None = None,
        parent: str | None = None,
        tombstone: bool = False,
    ) -> None:
        """Add a version and end the one before where it begins."""
        now = self._now()
        table = schema.versions
        of_document = sa.and_(table.c.kb == kb, table.c.document == document)
        last = connection.execute(
            sa.select(table.c.valid_from).where(of_document).order_by(table.c.version.desc()).limit(1)
        ).scalar()
        valid_from = choose_start(names.to_millis(starts) if starts else None, last=last, now=now)
        connection.execute(
            table.update().where(of_document, table.c.valid_to == schema.FOREVER).values(valid_to=valid_from)
        )
        connection.execute(
            table.insert().values(
                kb=kb,
                document=document,
                version=version,
                tombstone=tombstone,
                recorded=now,
                valid_from=valid_from,
                valid_to=schema.FOREVER,
                parent=parent,
            )
        )

    def _enqueue(self, connection: Connection, kb: str, document: str, *, replies: bool) -> None:
        """Queue a document and, where it came or went, its replies: what they quote is indexed with them or not."""
        wanted = {document}
        if replies:
            table = schema.versions
            wanted |= set(
                connection.execute(
                    sa.select(table.c.document).where(table.c.kb == kb, table.c.parent == document)
                ).scalars()
            )
        self._queue.enqueue(connection, kb, wanted)

    def document_key(self, opened: OpenKb, row: Row) -> bytes:
        """Return a document's own key."""
        return crypto.unseal(opened.keys.wrap, row.wrapped_key, place=names.document_key(opened.name, row.id))

    def _seal_manifest(self, opened: OpenKb, document: NormalDocument, *, key: bytes) -> bytes:
        line = ManifestLine(
            id=document.id,
            key=document.origin.key,
            fingerprint=document.origin.fingerprint,
            pipeline=document.pipeline,
            content_hash=document.content_hash,
        )
        place = names.manifest(opened.name, document.id)
        return crypto.seal(key, line.model_dump_json(by_alias=True).encode(), place=place, random=self._random)

    def manifest(self, kb: str, source: str) -> Iterator[bytes]:
        """Yield one JSON line per living document of a source, in the order of ids."""
        opened = self._registry.open(kb)
        table = schema.documents
        after = ""
        while True:
            query = (
                sa.select(table)
                .where(table.c.kb == kb, table.c.source == source, table.c.deleted.is_(False), table.c.id > after)
                .order_by(table.c.id)
                .limit(500)
            )
            with self._database.read() as connection:
                rows = connection.execute(query).all()
            for row in rows:
                place = names.manifest(kb, row.id)
                yield crypto.unseal(self.document_key(opened, row), row.manifest, place=place) + b"\n"
            if not rows:
                return
            after = rows[-1].id

    def find(self, opened: OpenKb, document: str) -> Row:
        """Return a document's row. NotFoundError."""
        with self._database.read() as connection:
            row = _find(connection, opened.name, document)
        if row is None:
            raise NotFoundError("document", document)
        return row

    def history(self, kb: str, document: str) -> list[VersionRow]:
        """Return all versions, oldest first. NotFoundError."""
        self._registry.open(kb)
        table = schema.versions
        query = sa.select(table).where(table.c.kb == kb, table.c.document == document).order_by(table.c.version)
        with self._database.read() as connection:
            rows = [_to_version(row) for row in connection.execute(query)]
        if not rows:
            raise NotFoundError("document", document)
        return rows

    def read(
        self, kb: str, document: str, *, version: int | None = None, as_of: int | None = None
    ) -> tuple[VersionRow, NormalDocument]:
        """Return a version by number, or the one valid at a time (now by default). NotFoundError."""
        opened = self._registry.open(kb)
        moment = self._now() if as_of is None else as_of
        for row in self.history(kb, document):
            wanted = row.version == version if version is not None else row.valid_from <= moment < row.valid_to
            if wanted and not row.tombstone:
                return row, self.read_body(opened, document, row.version)
        raise NotFoundError("document", document if version is None else f"{document} version {version}")

    def read_body(self, opened: OpenKb, document: str, version: int) -> NormalDocument:
        """Decrypt one version's normal form."""
        key = self.document_key(opened, self.find(opened, document))
        sealed = self._blobs.read(opened.name, document, f"{version}.body")
        plain = b"".join(crypto.unseal_stream(key, sealed, place=names.body(opened.name, document, version)))
        return NormalDocument.model_validate_json(plain)

    def check_owner(self, kb: str, document: str, *, source: str, account: str) -> None:
        """Raise ForbiddenError unless the document is of the source; NotFoundError where there is none."""
        if self.find(self._registry.open(kb), document).source != source:
            raise ForbiddenError(account, "write documents of another source")


def choose_start(said: int | None, *, last: int | None, now: int) -> int:
    """Return when a version begins to be valid.

    What the source says, unless that lies in the future or not after the version before it; then the time we were told.
    """
    floor = -(2**62) if last is None else last + 1
    if said is not None and floor <= said <= now:
        return said
    return max(now, floor)


def _find(connection: Connection, kb: str, document: str) -> Row | None:
    table = schema.documents
    return connection.execute(sa.select(table).where(table.c.kb == kb, table.c.id == document)).one_or_none()


def _update(connection: Connection, kb: str, document: str, *, values: dict[str, object]) -> None:
    table = schema.documents
    connection.execute(table.update().where(table.c.kb == kb, table.c.id == document).values(**values))


def _to_version(row: Row) -> VersionRow:
    return VersionRow(
        document=row.document,
        version=row.version,
        tombstone=row.tombstone,
        recorded=row.recorded,
        valid_from=row.valid_from,
        valid_to=row.valid_to,
        parent=row.parent,
    )
