"""Original files: encrypted as they stream in, decrypted as they stream out, never whole in memory or plain on disk."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy.engine import Connection

from hearth_knowledge import crypto
from hearth_knowledge.errors import NotFoundError, TooLargeError
from hearth_knowledge.storage import names, schema
from hearth_knowledge.storage.blobs import BlobStore
from hearth_knowledge.storage.database import Database
from hearth_knowledge.storage.documents import DocumentStore, Row
from hearth_knowledge.storage.registry import OpenKb, Registry


@dataclass(frozen=True, slots=True)
class Original:
    """What is known of an original."""

    media_type: str
    bytes: int
    version: int


class Links(Protocol):
    """What joins documents; `links.store.LinkStore` is one."""

    def take_original(self, connection: Connection, opened: OpenKb, document: str, version: int, digest: bytes) -> None:
        """Note the digest of the bytes that a version was read from."""
        ...


class OriginalStore:
    """The newest original of each document, and those of earlier versions."""

    def __init__(
        self,
        database: Database,
        *,
        blobs: BlobStore,
        registry: Registry,
        documents: DocumentStore,
        random: crypto.RandomBytes,
        limit: int,
        links: Links,
    ) -> None:
        self._links = links
        self._database = database
        self._blobs = blobs
        self._registry = registry
        self._documents = documents
        self._random = random
        self._limit = limit

    def write(self, kb: str, document: str, *, media_type: str, pieces: Iterable[bytes]) -> Original:
        """Store the bytes that the current version was read from. TooLargeError leaves what was there."""
        opened = self._registry.open(kb)
        row = self._documents.find(opened, document)
        if row.deleted:
            raise NotFoundError("document", document)
        key = self._documents.document_key(opened, row)
        counted = _Counted(pieces, limit=self._limit)
        sealed = crypto.seal_stream(key, counted, place=names.original(kb, document, row.version), random=self._random)
        with self._blobs.stage(kb, document, f"{row.version}.original", pieces=sealed) as put:
            self._record(opened, row, key, media_type=media_type, counted=counted, put=put)
        return Original(media_type=media_type, bytes=counted.total, version=row.version)

    def _record(
        self, opened: OpenKb, row: Row, key: bytes, *, media_type: str, counted: "_Counted", put: Callable[[], None]
    ) -> None:
        """Put the file in place in the transaction that describes it: a backup sees both or neither."""
        kb, document = opened.name, row.id
        facts = {"mediaType": media_type, "bytes": counted.total, "version": row.version}
        value = crypto.seal(
            key, json.dumps(facts).encode(), place=names.original_facts(kb, document), random=self._random
        )
        table = schema.documents
        with self._database.write() as connection:
            put()
            connection.execute(table.update().where(table.c.kb == kb, table.c.id == document).values(original=value))
            self._links.take_original(connection, opened, document, row.version, counted.digest.digest())

    def read(
        self, kb: str, document: str, *, permit: Callable[[int], None] = lambda _version: None
    ) -> tuple[Original, Iterator[bytes]]:
        """Return the newest original. NotFoundError where the document is deleted or has none.

        `permit` is asked with the original's version before a byte is read, and raises where it may not be given.
        """
        opened = self._registry.open(kb)
        row = self._documents.find(opened, document)
        if row.deleted or row.original is None:
            raise NotFoundError("original of", document)
        key = self._documents.document_key(opened, row)
        facts = json.loads(crypto.unseal(key, row.original, place=names.original_facts(kb, document)))
        found = Original(media_type=facts["mediaType"], bytes=facts["bytes"], version=facts["version"])
        permit(found.version)
        sealed = self._blobs.read(kb, document, f"{found.version}.original")
        return found, crypto.unseal_stream(key, sealed, place=names.original(kb, document, found.version))


class _Counted:
    """Counts bytes as they pass and stops at the limit."""

    def __init__(self, pieces: Iterable[bytes], *, limit: int) -> None:
        self._pieces = pieces
        self._limit = limit
        self.total = 0
        self.digest = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self.total += len(piece)
            if self.total > self._limit:
                raise TooLargeError("original", limit=self._limit)
            self.digest.update(piece)
            yield piece
