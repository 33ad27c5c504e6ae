"""The knowledge service's calls (INTERFACES, "Knowledge service")."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import Field

from hearth_api.base import LenientModel, LenientSnakeModel, SnakeModel, StrictModel
from hearth_api.wire.documents import Anchor, Kind, Trust

MAX_CANDIDATES = 200
"""Passages that a reranker may be given for one search."""


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


class RerankConfig(StrictModel):
    """The model that puts what a search found into its final order: the ModelDeployment's name."""

    model: str
    candidates: int = Field(default=50, ge=2, le=MAX_CANDIDATES)
    """How many of the best passages it reads."""


class ChunkingConfig(StrictModel):
    """Sizes in tokens as the chunker counts them (words and punctuation)."""

    target_tokens: int = Field(default=160, ge=32, le=4096)
    overlap_tokens: int = Field(default=20, ge=0, le=512)


class StoreConfig(StrictModel):
    """Where vectors live."""

    mode: Literal["Embedded", "External"] = "Embedded"
    uri: str | None = None
    credentials: str | None = None
    """Entry of the Secret hearth-stores that opens it: the knowledge base's name."""


class PrivacyPolicy(StrEnum):
    """What becomes of personal data in what is indexed, put into prompts and shown."""

    OFF = "Off"
    MASK = "Mask"
    PSEUDONYMISE = "Pseudonymise"


class SecretsPolicy(StrEnum):
    """What becomes of credentials (passwords, keys, tokens) in texts, whatever the policy for persons is."""

    MASK = "Mask"
    KEEP = "Keep"


class PrivacyConfig(StrictModel):
    """A knowledge base's privacy. A change indexes everything again; the sources are not needed for it."""

    policy: PrivacyPolicy = PrivacyPolicy.OFF
    secrets: SecretsPolicy = SecretsPolicy.MASK
    keep: tuple[str, ...] = ()
    """Types of findings that are left as they are, as "phone"."""


class KbConfig(StrictModel):
    """Body of `PUT /v1/kbs/{kb}`: everything that the operator tells of a knowledge base."""

    embedding: EmbeddingConfig
    rerank: RerankConfig | None = None
    """Absent is also what an older release understands."""
    chunking: ChunkingConfig = ChunkingConfig()
    store: StoreConfig = StoreConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    kek: str = "hearth-kek"
    paused: bool = False
    """Index nothing new. What is deleted or erased leaves the index all the same."""


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


class IndexBuild(LenientModel):
    """An index that is built beside the one that answers."""

    collection: str
    embedding: EmbeddingConfig
    started: datetime | None = None
    done: int
    """Documents that it holds."""
    total: int


class IndexStatus(LenientModel):
    """Where the index that answers comes from."""

    built: datetime | None = None
    """Since when it answers; None where an older release built it."""
    building: IndexBuild | None = None


class ErasedSource(LenientModel):
    """Answer of `DELETE /v1/kbs/{kb}/sources/{s}`: documents that this call erased, and how many are left."""

    erased: int
    left: int


class KbStatus(LenientModel):
    """Answer of `GET /v1/kbs/{kb}/status`."""

    collection: str
    documents: int
    chunks: int
    embedding: EmbeddingConfig
    sources: tuple[SourceStatus, ...] = ()
    queue: QueueStatus = QueueStatus()
    consistency: Consistency
    quarantined: int = 0
    """Segments that are withheld now."""
    index: IndexStatus | None = None


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
    rerank: bool | None = None
    """None: where the knowledge base has a reranker. True: refused where it has none."""
    explain: bool = False
    expand: tuple[Literal["thread", "meeting"], ...] = ()
    """Also say what belongs to each hit: the rest of its conversation; its meeting with invitation, chat and notes."""


class Related(LenientSnakeModel):
    """A document that belongs to a hit. `rel` says how it was found, the strongest reason first."""

    document: str
    rel: Literal["thread", "meeting", "invitation", "chat", "notes", "file", "reply", "same-event"]
    reason: str
    """What joins the two, as "iCalendar UID", "Message-ID", "address", "people and time"."""
    title: str
    kind: Kind
    source: str
    time: datetime | None = None
    permalink: str | None = None
    text: str = ""
    """Its beginning, filtered like every other text."""


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
    related: tuple[Related, ...] = ()


class NotReranked(StrEnum):
    """Why a reranker did not order an answer."""

    OFF = "off"
    """The request says so."""
    NOT_CONFIGURED = "not_configured"
    """The knowledge base has none."""
    NO_RESULTS = "no_results"
    TIMEOUT = "timeout"
    """It did not answer in the time that a search has for it."""
    UNAVAILABLE = "unavailable"
    """It is missing, asleep, overloaded, or the way to it is cut."""
    REFUSED = "refused"
    """It does not take this query, or is no model for ranking."""
    BAD_ANSWER = "bad_answer"
    """It answered with something that is not one score from 0 to 1 for each passage."""


class SearchResponse(LenientSnakeModel):
    """Answer of a search, best first."""

    results: tuple[SearchHit, ...]
    took_ms: float
    reranked: bool = False
    """Whether a reranker ordered the results; then `score` is its own, 0 for what it was not given."""
    rerank_reason: str | None = None
    """Where it did not: one of `NotReranked`, or what a newer release says."""


class QuarantinedSegment(LenientModel):
    """One withheld segment, as `GET /v1/kbs/{kb}/quarantine` lists it (newest first)."""

    document: str
    version: int
    segment: int
    reason: str
    title: str
    source: str
    kind: Kind
    time: datetime | None = None
    excerpt: str = ""
    """At most 200 characters, filtered by the privacy policy: for the owner's eye, never for a prompt."""


class QuarantineList(LenientModel):
    """Answer of `GET /v1/kbs/{kb}/quarantine?after=<cursor>&limit=`."""

    items: tuple[QuarantinedSegment, ...]
    next: str | None = None


class ReleaseRequest(StrictModel):
    """Body of `POST /v1/kbs/{kb}/documents/{id}/release`. It is audited and holds for later versions' same text."""

    actor: str = Field(min_length=1, max_length=128)
    """Public id of the API key that asks; the gateway fills it in."""
    reason: str = Field(min_length=1, max_length=500)
    segments: tuple[int, ...] | None = None
    """None: all withheld segments of the document's present version."""


class ReleaseAnswer(LenientModel):
    """What was released."""

    released: int


class RevealRequest(StrictModel):
    """Body of `POST /v1/kbs/{kb}/documents/{id}/reveal`: the text as it came, audited before it is given."""

    actor: str = Field(min_length=1, max_length=128)
    reason: str = Field(min_length=1, max_length=500)
    version: int | None = None
    original: bool = False
    """Give a one-time permission for `/original?reveal=<ticket>` instead of the text."""


class RevealAnswer(LenientModel):
    """The unfiltered document (as NormalDocument JSON), or a ticket for its original that holds for a minute."""

    document: dict[str, object] | None = None
    ticket: str | None = None


class AuditEntry(LenientModel):
    """One act that shows or changes what is withheld. Never holds content."""

    time: datetime
    actor: str
    act: Literal["reveal", "reveal-original", "release", "erase-source"]
    document: str
    version: int
    reason: str


class AuditList(LenientModel):
    """Answer of `GET /v1/kbs/{kb}/audit?after=<cursor>&limit=`, newest first."""

    items: tuple[AuditEntry, ...]
    next: str | None = None
