"""Tables. Readable are ids, times, kinds, source names and configuration; the rest is sealed or keyed hashes."""

from sqlalchemy import (
    DDL,
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    event,
)

metadata = MetaData()

FOREVER = 2**62
"""`valid_to` of a version that nothing has replaced. Times are milliseconds since 1970, UTC."""

kbs = Table(
    "kbs",
    metadata,
    Column("name", String(63), primary_key=True),
    Column("config", JSON, nullable=False),
    Column("wrapped_key", LargeBinary, nullable=False),
    Column("kek_version", Integer, nullable=False),
    Column("created", BigInteger, nullable=False),
)

collections = Table(
    "collections",
    metadata,
    Column("kb", String(63), primary_key=True),
    Column("name", String(96), primary_key=True),
    Column("config", JSON, nullable=False),
    Column("active", Boolean, nullable=False),
)

lineage = Table(  # beside `collections`, so that older folders get it too
    "lineage",
    metadata,
    Column("kb", String(63), primary_key=True),
    Column("name", String(96), primary_key=True),
    Column("started", BigInteger, nullable=False),
    Column("built", BigInteger, nullable=True),  # since when it answers
)

documents = Table(
    "documents",
    metadata,
    Column("kb", String(63), primary_key=True),
    Column("id", String(96), primary_key=True),
    Column("source", String(63), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("wrapped_key", LargeBinary, nullable=False),
    Column("version", Integer, nullable=False),
    Column("deleted", Boolean, nullable=False),
    Column("manifest", LargeBinary, nullable=False),  # sealed: origin key, fingerprint, pipeline, content hash
    Column("content_mac", LargeBinary, nullable=False),
    Column("state_mac", LargeBinary, nullable=False),  # content, fingerprint and pipeline: is the manifest still true?
    Column("original", LargeBinary, nullable=True),  # sealed: media type, name, size, version
    Column("written", BigInteger, nullable=False),
)
Index("documents_by_source", documents.c.kb, documents.c.source)

versions = Table(
    "versions",
    metadata,
    Column("kb", String(63), primary_key=True),
    Column("document", String(96), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("tombstone", Boolean, nullable=False),
    Column("recorded", BigInteger, nullable=False),
    Column("valid_from", BigInteger, nullable=False),
    Column("valid_to", BigInteger, nullable=False),
    Column("parent", String(96), nullable=True),
    ForeignKeyConstraint(["kb", "document"], ["documents.kb", "documents.id"], ondelete="CASCADE"),
)
Index("versions_by_parent", versions.c.kb, versions.c.parent)

indexed = Table(
    "indexed",
    metadata,
    Column("kb", String(63), primary_key=True),
    Column("collection", String(96), primary_key=True),
    Column("document", String(96), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("valid_to", BigInteger, nullable=False),
    Column("quoted", Boolean, nullable=False),  # were quoted segments indexed?
    Column("count", Integer, nullable=False),
    Column("chunks", LargeBinary, nullable=False),  # sealed: the chunks' texts and places
    Column("terms", LargeBinary, nullable=False),  # sealed: how many chunks each term stands in
)

terms = Table(
    "terms",
    metadata,
    Column("kb", String(63), primary_key=True),
    Column("collection", String(96), primary_key=True),
    Column("term", BigInteger, primary_key=True),
    Column("chunks", Integer, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("kb", String(63), primary_key=True),
    Column("document", String(96), primary_key=True),
    Column("ticket", Integer, nullable=False),  # rises with each enqueue: work that was overtaken is not taken off
    Column("enqueued", BigInteger, nullable=False),
    Column("due", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("error", String(64), nullable=True),  # a code, never a text
)

cursors = Table(
    "cursors",
    metadata,
    Column("kb", String(63), primary_key=True),
    Column("source", String(63), primary_key=True),
    Column("value", LargeBinary, nullable=False),  # sealed
)

people = Table(
    "people",
    metadata,
    Column("kb", String(63), primary_key=True),
    Column("person", LargeBinary, primary_key=True),  # keyed hash of the person's id
    Column("sealed", LargeBinary, nullable=False),  # id, names, addresses
    Column("added", BigInteger, nullable=False),
    Column("changed", BigInteger, nullable=False),
)

quarantined = Table(
    "quarantined",
    metadata,
    Column("kb", String(63), primary_key=True),
    Column("document", String(96), primary_key=True),
    Column("segment", Integer, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("reason", String(64), nullable=False),  # a code
    Column("recorded", BigInteger, nullable=False),
    Column("mark", LargeBinary, nullable=False),  # keyed hash of document and text
)

releases = Table(
    "releases",
    metadata,
    Column("kb", String(63), primary_key=True),
    Column("document", String(96), primary_key=True),
    Column("mark", LargeBinary, primary_key=True),
)

stale = Table(  # documents whose present version must be indexed again although the ledger has it
    "stale",
    metadata,
    Column("kb", String(63), primary_key=True),
    Column("document", String(96), primary_key=True),
)

marks = Table(  # what joins documents: keyed hashes of names, link targets, threads, people and words of titles
    "marks",
    metadata,
    Column("kb", String(63), primary_key=True),
    Column("document", String(96), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("side", String(16), primary_key=True),
    Column("rel", String(16), primary_key=True),
    Column("mark", LargeBinary, primary_key=True),
    Column("scheme", String(16), nullable=False),  # uid, mid, url, chat, doc, content; empty for words and people
)
Index("marks_by_mark", marks.c.kb, marks.c.mark)

moments = Table(
    "moments",
    metadata,
    Column("kb", String(63), primary_key=True),
    Column("document", String(96), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("starts", BigInteger, primary_key=True),
    Column("ends", BigInteger, nullable=False),
    Column("day", Boolean, nullable=False),  # only the day is known
)
Index("moments_by_time", moments.c.kb, moments.c.starts)

audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("kb", String(63), nullable=False, index=True),
    Column("time", BigInteger, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("act", String(32), nullable=False),
    Column("document", String(96), nullable=False),
    Column("version", Integer, nullable=False),
    Column("reason", LargeBinary, nullable=False),  # sealed
)
# The database itself refuses to change what was written down; entries go with their knowledge base and not before.
for _act, _when in (("UPDATE", ""), ("DELETE", "WHEN EXISTS (SELECT 1 FROM kbs WHERE name = OLD.kb)")):
    event.listen(
        audit,
        "after_create",
        DDL(  # type: ignore[no-untyped-call]
            f"CREATE TRIGGER audit_no_{_act.lower()} BEFORE {_act} ON audit {_when} "
            "BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END"
        ),
    )
