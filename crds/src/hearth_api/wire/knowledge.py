"""The knowledge service's calls (INTERFACES, "Knowledge service")."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import Field

from hearth_api.base import LenientModel, LenientSnakeModel, SnakeModel, StrictModel
from hearth_api.wire.documents import Anchor, Kind, Trust


class SearchMode(StrEnum):
    """Which legs of the index answer."""

    HYBRID = "hybrid"
    DENSE = "dense"
    SPARSE = "sparse"


class EmbeddingConfig(StrictModel):
    """The model that turns text into vectors: the ModelDeployment's name and what it says of itself."""

    model: str
    digest: str
    dimensions: int = Field(ge=1)


class ChunkingConfig(StrictModel):
    """Sizes in tokens as the chunker counts them (words and punctuation)."""

    target_tokens: int = Field(default=160, ge=32, le=4096)
    overlap_tokens: int = Field(default=20, ge=0, le=512)


class StoreConfig(StrictModel):
    """Where vectors live."""

    mode: Literal["Embedded", "External"] = "Embedded"
    uri: str | None = None


class KbConfig(StrictModel):
    """Body of `PUT /v1/kbs/{kb}`: everything that the operator tells of a knowledge base."""

    embedding: EmbeddingConfig
    chunking: ChunkingConfig = ChunkingConfig()
    store: StoreConfig = StoreConfig()
    kek: str = "hearth-kek"


class SourceStatus(LenientModel):
    """Freshness of one source."""

    source: str
    documents: int
    last_write: datetime | None = None


class QueueStatus(LenientModel):
    """Indexing work that is not done yet."""

    pending: int = 0
    failed: int = 0
    oldest: datetime | None = None
    last_error: str | None = None


class Consistency(LenientModel):
    """Manifest against vector store."""

    consistent: bool
    expected_chunks: int
    indexed_chunks: int


class KbStatus(LenientModel):
    """Answer of `GET /v1/kbs/{kb}/status`."""

    collection: str
    documents: int
    chunks: int
    embedding: EmbeddingConfig
    sources: tuple[SourceStatus, ...] = ()
    queue: QueueStatus = QueueStatus()
    consistency: Consistency


class RunKey(StrictModel):
    """Answer of `GET /v1/kbs/{kb}/sources/{s}/id-key`: the key for document ids, base64 of 32 bytes."""

    key: str


class Cursor(StrictModel):
    """Opaque position of a source. PUT succeeds only when `previous` equals what is stored."""

    value: str | None = None
    previous: str | None = None


class SearchFilters(SnakeModel):
    """All given filters must hold. Lists match any of their members; `people` are names or addresses or ids."""

    source: tuple[str, ...] = ()
    kind: tuple[Kind, ...] = ()
    people: tuple[str, ...] = ()
    after: datetime | None = None
    before: datetime | None = None
    thread: str | None = None
    trust: tuple[Trust, ...] = ()


class SearchRequest(SnakeModel):
    """Body of `POST /v1/kbs/{kb}/search`."""

    query: str = Field(min_length=1, max_length=8000)
    top_k: int = Field(default=8, ge=1, le=100)
    mode: SearchMode = SearchMode.HYBRID
    filters: SearchFilters = SearchFilters()
    as_of: datetime | None = None
    rerank: bool = False
    explain: bool = False


class SearchHit(LenientSnakeModel):
    """One passage."""

    document: str
    version: int
    chunk: int
    title: str
    text: str
    score: float
    source: str
    kind: Kind
    people: tuple[str, ...] = ()
    time: datetime | None = None
    permalink: str | None = None
    anchor: Anchor | None = None
    origin_key: str | None = None
    knowledge_base: str | None = None
    explain: dict[str, float] | None = None


class SearchResponse(LenientSnakeModel):
    """Answer of a search, best first."""

    results: tuple[SearchHit, ...]
    took_ms: float
