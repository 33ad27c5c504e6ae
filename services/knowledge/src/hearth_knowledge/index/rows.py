"""From a document to what the index holds of it: passages to show, texts to embed, rows to write. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from hearth_api.wire.documents import NormalDocument, Person
from hearth_api.wire.knowledge import ChunkingConfig
from hearth_knowledge.crypto import KbKeys, keyed_hash
from hearth_knowledge.index import terms
from hearth_knowledge.index.chunking import Chunk, chunk_document, chunk_time, describe_sender, describe_subject
from hearth_knowledge.index.ledger import Passages
from hearth_knowledge.ports import VectorRow, row_id
from hearth_knowledge.privacy.policy import pseudonym
from hearth_knowledge.storage.documents import VersionRow
from hearth_knowledge.storage.names import to_millis

NO_TIME = -(2**62)


@dataclass(frozen=True, slots=True)
class Prepared:
    """One version, ready for the embedder. `texts`, `sparse` and `passages.chunks` run side by side."""

    document: NormalDocument
    row: VersionRow
    quoted: bool
    passages: Passages
    texts: tuple[str, ...]
    sparse: tuple[dict[int, float], ...]


def prepare(
    raw: NormalDocument, document: NormalDocument, row: VersionRow, *, quoted: bool, sizes: ChunkingConfig, keys: KbKeys
) -> Prepared:
    """Cut a version as it may be seen (`document`) and compute everything but its vectors.

    `raw` is the version as it came: only keyed hashes of its people and its times are taken from it.
    """
    chunks = chunk_document(document, sizes=sizes, include_quoted=quoted)
    texts = tuple("\n".join((describe_subject(document, chunk), chunk.text)).strip() for chunk in chunks)
    language = terms.guess_language(" ".join(chunk.text for chunk in chunks))
    sparse = tuple(
        terms.document_vector(
            terms.document_terms(f"{describe_sender(document, chunk)}\n{text}", language=language),
            key=keys.terms,
            reference_length=sizes.target_tokens,
        )
        for chunk, text in zip(chunks, texts, strict=True)
    )
    return Prepared(
        document=raw,
        row=row,
        quoted=quoted,
        passages=build_passages(document, chunks),
        texts=texts,
        sparse=sparse,
    )


def build_passages(document: NormalDocument, chunks: Sequence[Chunk]) -> Passages:
    """Return what hits show of a document as it may be seen."""
    time = document.modified or document.created
    return Passages(
        title=document.title,
        people=tuple(dict.fromkeys(person.name or person.address or "" for person in _people(document))),
        time=time.isoformat() if time else None,
        permalink=document.permalink,
        origin_key=document.origin.key,
        chunks=tuple(chunks),
    )


def build_rows(prepared: Prepared, vectors: Sequence[Sequence[float]], *, keys: KbKeys) -> list[VectorRow]:
    """Return the rows of a version."""
    document, row = prepared.document, prepared.row
    people = tuple(sorted({hashed for person in _people(document) for hashed in person_hashes(person, keys=keys)}))
    thread = thread_hash(document.thread.id, keys=keys) if document.thread else ""
    return [
        VectorRow(
            id=row_id(document.id, row.version, chunk.ordinal),
            document=document.id,
            version=row.version,
            source=document.source,
            kind=document.kind.value,
            trust=document.trust.value,
            time=_time(document, chunk),
            valid_from=row.valid_from,
            valid_to=row.valid_to,
            thread=thread,
            people=people,
            dense=vector,
            sparse=sparse,
        )
        for chunk, vector, sparse in zip(prepared.passages.chunks, vectors, prepared.sparse, strict=True)
    ]


def person_hashes(person: Person, *, keys: KbKeys) -> set[str]:
    """Return keyed hashes of everything that a filter may call a person: id, pseudonym, address, name and its words."""
    names = [
        person.id,
        pseudonym(person.id, key=keys.privacy),
        person.address or "",
        person.name or "",
        *(person.name or "").replace(",", " ").split(),
    ]
    return {person_hash(name, keys=keys) for name in names if name.strip()}


def person_hash(name: str, *, keys: KbKeys) -> str:
    """Return the keyed hash of one way to call a person, compared without case and accents."""
    return keyed_hash(keys.lookup, "person", terms.fold(name.strip())).hex()[:24]


def thread_hash(thread: str, *, keys: KbKeys) -> str:
    """Return the keyed hash of a thread's id."""
    return keyed_hash(keys.lookup, "thread", thread).hex()[:24]


def _people(document: NormalDocument) -> tuple[Person, ...]:
    return (*document.authors, *document.participants)


def _time(document: NormalDocument, chunk: Chunk) -> int:
    moment = chunk_time(document, chunk)
    return to_millis(moment) if moment else NO_TIME
