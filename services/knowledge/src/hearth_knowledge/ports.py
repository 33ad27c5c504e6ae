"""What the service needs of others, as Protocols. Tests put small fakes behind them; nothing else is ever faked."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from hearth_api.wire.keys import Priority
from hearth_common.review import Identity


class Authenticator(Protocol):
    """Says who a token is; `hearth_common.review.TokenReviewer` is one."""

    async def review(self, token: str) -> Identity:
        """Return the identity, or raise TokenRefusedError or KubeUnreachableError."""
        ...


class Embedder(Protocol):
    """Turns texts into vectors."""

    async def embed(
        self, texts: Sequence[str], *, model: str, dimensions: int, priority: Priority, seconds: float
    ) -> list[list[float]]:
        """Return one vector of `dimensions` floats per text.

        Raises EmbedderUnavailableError (try again) or EmbedderRefusedError (this text will not pass).
        """
        ...


@dataclass(frozen=True, slots=True)
class Relevance:
    """One text by its position, with a score from 0 to 1."""

    index: int
    score: float


class Reranker(Protocol):
    """Says how well texts answer a query. Its caller limits the time, and believes nothing of what it says unread."""

    async def rerank(self, query: str, texts: Sequence[str], *, model: str, priority: Priority) -> list[Relevance]:
        """Return what the model says, as it says it. RerankerError where it says nothing."""
        ...


@dataclass(frozen=True, slots=True)
class VectorRow:
    """One chunk as the vector store knows it: no text, no title, no name. Times are milliseconds since 1970."""

    id: str
    document: str
    version: int
    source: str
    kind: str
    trust: str
    time: int
    valid_from: int
    valid_to: int
    thread: str
    people: tuple[str, ...]
    dense: Sequence[float]
    sparse: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class RowFilter:
    """All that are given must hold. Hashed values are compared as they are."""

    valid_at: int
    source: Collection[str] = ()
    kind: Collection[str] = ()
    trust: Collection[str] = ()
    people: Collection[str] = ()
    thread: str | None = None
    after: int | None = None
    before: int | None = None


class VectorStore(Protocol):
    """Holds rows in collections behind aliases. Blocking calls; StoreUnavailableError when it does not answer."""

    def ping(self) -> None:
        """Return when the store answers."""
        ...

    def ensure_collection(self, collection: str, *, dimensions: int) -> None:
        """Make the collection with its indexes if it is not there, and load it."""
        ...

    def point_alias(self, alias: str, *, collection: str) -> None:
        """Let the alias mean this collection from now on."""
        ...

    def drop(self, collections: Collection[str], *, alias: str | None = None) -> None:
        """Remove collections (and an alias first). Missing ones are no error."""
        ...

    def list_collections(self, prefix: str) -> list[str]:
        """Return the names of collections that begin with `prefix`."""
        ...

    def upsert(self, collection: str, rows: Sequence[VectorRow]) -> None:
        """Write rows; equal ids are replaced."""
        ...

    def close_rows(self, collection: str, document: str, version: int, *, valid_to: int) -> int:
        """Set `valid_to` on all rows of a version and return how many there were."""
        ...

    def delete_rows(self, collection: str, document: str, version: int) -> None:
        """Remove all rows of a version."""
        ...

    def delete_source(self, collection: str, source: str) -> None:
        """Remove all rows of a source."""
        ...

    def delete_ids(self, collection: str, ids: Sequence[str]) -> None:
        """Remove rows by id."""
        ...

    def flush(self, collection: str) -> None:
        """Bring everything written to disk."""
        ...

    def count(self, collection: str) -> int:
        """Count rows."""
        ...

    def row_ids(self, collection: str) -> set[str]:
        """Return the ids of all rows."""
        ...

    def close(self) -> None:
        """Close connections."""
        ...

    def search_dense(
        self, collection: str, vector: Sequence[float], *, where: RowFilter, limit: int
    ) -> list[tuple[str, float]]:
        """Return (row id, cosine similarity), best first."""
        ...

    def search_sparse(
        self, collection: str, vector: Mapping[int, float], *, where: RowFilter, limit: int
    ) -> list[tuple[str, float]]:
        """Return (row id, inner product above 0), best first."""
        ...


def row_id(document: str, version: int, ordinal: int) -> str:
    """Return the id of a chunk's row: the same chunk has the same id in every run."""
    return f"{document}.{version}.{ordinal}"


def parse_row_id(row: str) -> tuple[str, int, int]:
    """Return (document, version, ordinal)."""
    document, version, ordinal = row.rsplit(".", 2)
    return document, int(version), int(ordinal)
