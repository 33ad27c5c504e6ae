"""What a collection holds, as SQL knows it: which versions are indexed, their chunks (sealed), how often terms occur.

The ledger is written after the rows are in Milvus, in one transaction with the term counts and the end of the job. A
crash before that repeats the work with the same row ids; it never counts anything twice.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection

from hearth_api.wire.documents import Anchor
from hearth_knowledge import crypto
from hearth_knowledge.index.chunking import Chunk
from hearth_knowledge.storage import names, schema
from hearth_knowledge.storage.registry import OpenKb


@dataclass(frozen=True, slots=True)
class IndexedVersion:
    """One version in one collection."""

    document: str
    version: int
    valid_to: int
    quoted: bool
    count: int


@dataclass(frozen=True, slots=True)
class Passages:
    """What a search result shows of a version; sealed in the ledger, so that a result needs one small read."""

    title: str
    people: tuple[str, ...]
    time: str | None
    permalink: str | None
    origin_key: str
    chunks: tuple[Chunk, ...]

    def encode(self) -> bytes:
        """Return JSON."""
        body = asdict(self)
        for item, chunk in zip(body["chunks"], self.chunks, strict=True):
            item["anchor"] = chunk.anchor.to_json_object() if chunk.anchor else None
        return json.dumps(body, ensure_ascii=False).encode()

    @classmethod
    def decode(cls, data: bytes) -> "Passages":
        """Read what `encode` wrote."""
        body: dict[str, Any] = json.loads(data)
        chunks = tuple(
            Chunk(**{**item, "anchor": Anchor.model_validate(item["anchor"]) if item["anchor"] else None})
            for item in body.pop("chunks")
        )
        return cls(**{**body, "people": tuple(body["people"]), "chunks": chunks})


def list_indexed(connection: Connection, kb: str, collection: str, document: str | None = None) -> list[IndexedVersion]:
    """Return the versions of a document (or of all) that a collection holds."""
    table = schema.indexed
    query = sa.select(table.c.document, table.c.version, table.c.valid_to, table.c.quoted, table.c.count).where(
        table.c.kb == kb, table.c.collection == collection
    )
    if document is not None:
        query = query.where(table.c.document == document)
    return [IndexedVersion(*row) for row in connection.execute(query.order_by(table.c.document, table.c.version))]


def read_passages(
    connection: Connection, opened: OpenKb, collection: str, document: str, version: int, *, key: bytes
) -> Passages | None:
    """Return the passages of a version, or None when the collection does not hold it."""
    table = schema.indexed
    sealed = connection.execute(
        sa.select(table.c.chunks).where(*_of(opened.name, collection, document, version))
    ).scalar()
    if sealed is None:
        return None
    return Passages.decode(crypto.unseal(key, sealed, place=names.chunks(opened.name, document, version, collection)))


def record(
    connection: Connection,
    opened: OpenKb,
    collection: str,
    entry: IndexedVersion,
    *,
    passages: Passages,
    frequencies: Mapping[int, int],
    key: bytes,
    random: crypto.RandomBytes,
) -> None:
    """Write that a version is indexed; an earlier entry of the same version is replaced, with its term counts."""
    forget(connection, opened, collection, entry.document, entry.version, key=key)
    place = (opened.name, entry.document, entry.version, collection)
    connection.execute(
        schema.indexed.insert().values(
            kb=opened.name,
            collection=collection,
            **asdict(entry),
            chunks=crypto.seal(key, passages.encode(), place=names.chunks(*place), random=random),
            terms=crypto.seal(
                key, json.dumps(list(frequencies.items())).encode(), place=names.chunk_terms(*place), random=random
            ),
        )
    )
    _count(connection, opened.name, collection, frequencies, sign=1)


def close(connection: Connection, kb: str, collection: str, document: str, version: int, *, valid_to: int) -> None:
    """Write that a version's rows carry this end of validity."""
    connection.execute(schema.indexed.update().where(*_of(kb, collection, document, version)).values(valid_to=valid_to))


def forget(connection: Connection, opened: OpenKb, collection: str, document: str, version: int, *, key: bytes) -> None:
    """Remove a version from the ledger and its terms from the counts."""
    table = schema.indexed
    where = _of(opened.name, collection, document, version)
    sealed = connection.execute(sa.select(table.c.terms).where(*where)).scalar()
    if sealed is None:
        return
    place = names.chunk_terms(opened.name, document, version, collection)
    _count(connection, opened.name, collection, dict(json.loads(crypto.unseal(key, sealed, place=place))), sign=-1)
    connection.execute(table.delete().where(*where))


def count_chunks(connection: Connection, kb: str, collection: str) -> int:
    """Return how many rows the collection should have."""
    table = schema.indexed
    total = connection.execute(
        sa.select(sa.func.sum(table.c.count)).where(table.c.kb == kb, table.c.collection == collection)
    ).scalar()
    return int(total or 0)


def count_documents(connection: Connection, kb: str, collection: str) -> tuple[int, int]:
    """Return how many documents there are, and of how many a collection holds the present version."""
    documents, indexed = schema.documents, schema.indexed
    alive = sa.and_(documents.c.kb == kb, documents.c.deleted.is_(False))
    held = sa.exists().where(
        indexed.c.kb == kb,
        indexed.c.collection == collection,
        indexed.c.document == documents.c.id,
        indexed.c.version == documents.c.version,
    )
    total, done = (
        connection.execute(sa.select(sa.func.count()).select_from(documents).where(where)).scalar_one()
        for where in (alive, sa.and_(alive, held))
    )
    return int(total), int(done)


def term_frequencies(connection: Connection, kb: str, collection: str, terms: Collection[int]) -> dict[int, int]:
    """Return in how many chunks each term stands."""
    table = schema.terms
    query = sa.select(table.c.term, table.c.chunks).where(
        table.c.kb == kb, table.c.collection == collection, table.c.term.in_(sorted(terms))
    )
    return {term: chunks for term, chunks in connection.execute(query) if chunks > 0}


def sum_frequencies(vectors: Iterable[Mapping[int, float]]) -> Counter[int]:
    """Count in how many vectors each dimension stands."""
    return Counter(dimension for vector in vectors for dimension in vector)


def _count(connection: Connection, kb: str, collection: str, frequencies: Mapping[int, int], *, sign: int) -> None:
    if not frequencies:
        return
    table = schema.terms
    row = insert(table)
    connection.execute(
        row.on_conflict_do_update(
            index_elements=["kb", "collection", "term"], set_={"chunks": table.c.chunks + row.excluded.chunks}
        ),
        [{"kb": kb, "collection": collection, "term": term, "chunks": sign * n} for term, n in frequencies.items()],
    )
    if sign < 0:
        connection.execute(
            table.delete().where(table.c.kb == kb, table.c.collection == collection, table.c.chunks <= 0)
        )


def _of(kb: str, collection: str, document: str, version: int) -> tuple[sa.ColumnElement[bool], ...]:
    table = schema.indexed
    return (
        table.c.kb == kb,
        table.c.collection == collection,
        table.c.document == document,
        table.c.version == version,
    )
