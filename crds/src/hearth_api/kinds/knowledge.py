"""KnowledgeBase: documents with versions, an index over them, and the keys that encrypt them."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from hearth_api.kinds.base import (
    ApiModel,
    PrinterColumn,
    Resource,
    ResourceInfo,
    Rule,
    Status,
    block_of,
    immutable,
    map_by,
    ready_columns,
)
from hearth_api.kinds.fields import Count, DnsLabel, FindingType, ObjectName, Quantity, SecretRef
from hearth_api.names import API_VERSION, SECRET_KEK
from hearth_api.wire.knowledge import MAX_CANDIDATES, PrivacyPolicy, SecretsPolicy


class StoreMode(StrEnum):
    """Where vectors live."""

    EMBEDDED = "Embedded"
    MANAGED = "Managed"
    EXTERNAL = "External"


class DeletionPolicy(StrEnum):
    """What becomes of the documents when the resource is deleted."""

    RETAIN = "Retain"
    DELETE = "Delete"


class Embedding(ApiModel):
    """The model that turns text into vectors."""

    model: DnsLabel
    """ModelDeployment with task Embed. Another one means that everything is indexed again."""


class Rerank(ApiModel):
    """The model that puts what a search found into its final order."""

    model: DnsLabel
    """ModelDeployment with task Rerank. While it does not answer, searches keep the order that they have without it."""
    candidates: Annotated[int, Field(ge=2, le=MAX_CANDIDATES)] = 50
    """How many of the best passages it reads for each search."""


class Chunking(ApiModel):
    """How documents are cut into passages."""

    rules = (
        Rule(
            field="overlapTokens",
            cel="self.overlapTokens < self.targetTokens",
            message="overlapTokens must be less than targetTokens",
            holds=lambda chunking: chunking.overlap_tokens < chunking.target_tokens,
        ),
    )

    target_tokens: Annotated[int, Field(ge=32, le=4096)] = 160
    """Size of a passage in words and punctuation marks."""
    overlap_tokens: Annotated[int, Field(ge=0, le=512)] = 20
    """How much of a passage the next one repeats."""


class ExternalStore(ApiModel):
    """A Milvus that somebody else runs."""

    rules = (
        Rule(
            field="uri",
            cel="!self.uri.contains('@')",
            message="uri must not carry credentials: they would be readable in the resource",
            holds=lambda store: "@" not in store.uri,
        ),
    )

    uri: Annotated[str, Field(max_length=512, pattern=r"^https?://[^\s/]+(/\S*)?$")]
    """Address of Milvus, as http://milvus:19530."""
    secret_ref: SecretRef | None = None
    """Secret with username and password, where Milvus asks for them."""


class StoreStorage(ApiModel):
    """The claim that keeps Milvus' files. It stays when the knowledge base goes."""

    size: Quantity = "10Gi"
    """Size of the claim."""
    storage_class_name: ObjectName | None = None
    """Storage class; absent takes the cluster's default."""


class StoreResources(ApiModel):
    """What Milvus gets; the memory is its limit too."""

    cpu: Quantity = "500m"
    """Cores, as `2` or `500m`."""
    memory: Quantity = "4Gi"
    """Bytes, as `4Gi`. The index of about a million passages fits into 4Gi."""


class ManagedStore(ApiModel):
    """A Milvus that the operator runs for this knowledge base alone, with authentication on."""

    storage: StoreStorage = StoreStorage()
    """Its files."""
    resources: StoreResources = StoreResources()
    """Its processor and memory."""


class Store(ApiModel):
    """Where vectors live."""

    rules = (
        *block_of("external", choice="mode", value="External", remedy="give its uri"),
        block_of("managed", choice="mode", value="Managed", remedy="")[1],
    )

    mode: StoreMode = StoreMode.EMBEDDED
    """Embedded: milvus-lite beside the knowledge service. Managed: a Milvus that the operator runs. External: one at a
    URI."""
    external: ExternalStore | None = None
    """Where an external store is."""
    managed: ManagedStore | None = None
    """What a managed store gets."""


class Encryption(ApiModel):
    """Which keys encrypt documents at rest."""

    key_secret_ref: SecretRef = SecretRef(name=SECRET_KEK)
    """Secret with the key-encryption keys by version (v1, v2, ...)."""


class Privacy(ApiModel):
    """What becomes of personal data and credentials in what is indexed, put into prompts and shown."""

    policy: PrivacyPolicy = PrivacyPolicy.OFF
    """Off: as it came. Mask: replaced by its type. Pseudonymise: persons get names that stay the same, the rest is
    masked."""
    secrets: SecretsPolicy = SecretsPolicy.MASK
    """Passwords, keys and tokens, whatever the policy is: Mask or Keep."""
    keep: Annotated[tuple[FindingType, ...], Field(max_length=32)] = ()
    """Types that the policy leaves as they are, as phone or email."""
    at_source: bool = False
    """Mask in the ingestion pod already: what was masked is stored nowhere, and originals are not kept."""


class KnowledgeBaseSpec(ApiModel):
    """Documents and an index over them."""

    rules = (
        immutable("store", "make another KnowledgeBase and point its sources there"),
        immutable("encryption", "the stored documents' keys are wrapped with it; make another KnowledgeBase"),
    )

    suspend: bool = False
    """Stop indexing; what is indexed stays searchable."""
    embedding: Embedding
    """The model that turns text into vectors."""
    rerank: Rerank | None = None
    """The model that puts what a search found into its final order; absent: none does."""
    chunking: Chunking = Chunking()
    """How documents are cut into passages. A change means that everything is indexed again."""
    store: Store = Store()
    """Where vectors live."""
    privacy: Privacy = Privacy()
    """What becomes of personal data and credentials. A change means that everything is indexed again."""
    encryption: Encryption = Encryption()
    """Which keys encrypt documents at rest."""
    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN
    """Retain keeps the documents when the resource is deleted; Delete erases them."""


class EmbeddingStatus(ApiModel):
    """The model that the index was made with."""

    model: Annotated[str, Field(max_length=63)]
    """ModelDeployment."""
    digest: Annotated[str, Field(max_length=128)]
    """SHA-256 of its weights."""
    dimensions: Annotated[int, Field(ge=1)]
    """Length of a vector."""


class SourceFreshness(ApiModel):
    """What one source handed over."""

    source: Annotated[str, Field(min_length=1, max_length=63)]
    """IngestionSource."""
    documents: Count
    """Documents that are current."""
    last_write: datetime | None = None
    """When the source last changed something."""
    last_success: datetime | None = None
    """When a run of the source last finished that was not failed."""
    fresh: bool | None = None
    """Whether the run that was due last succeeded; absent where nothing is scheduled or known."""


class IndexBuildStatus(EmbeddingStatus):
    """An index that is built beside the one that answers."""

    collection: Annotated[str, Field(max_length=255)]
    """Its collection in the vector store."""
    started: datetime | None = None
    """When it was begun."""
    done: Count
    """Documents that it holds."""
    total: Count
    """Documents that it is to hold before it answers."""


class IndexStatus(EmbeddingStatus):
    """Where the index that answers comes from."""

    collection: Annotated[str, Field(max_length=255)]
    """Its collection in the vector store; the alias of the knowledge base points there."""
    built: datetime | None = None
    """Since when it answers."""
    building: IndexBuildStatus | None = None
    """The next index, until it takes over."""


class KnowledgeBaseStatus(Status):
    """What was observed of the knowledge base."""

    collection: Annotated[str, Field(max_length=255)] | None = None
    """Collection or alias in the vector store."""
    documents: Count | None = None
    """Documents that are current."""
    chunks: Count | None = None
    """Passages in the index."""
    pending: Count | None = None
    """Documents that wait to be indexed."""
    quarantined: Count | None = None
    """Passages that are withheld because they may be instructions to the model."""
    embedding: EmbeddingStatus | None = None
    """The model that the index was made with."""
    index: IndexStatus | None = None
    """Where the index comes from, and which one follows."""
    sources: Annotated[tuple[SourceFreshness, ...], Field(max_length=256, json_schema_extra=map_by("source"))] = ()
    """Freshness per source."""


class KnowledgeBase(Resource):
    """Documents and an index over them."""

    info: ClassVar[ResourceInfo] = ResourceInfo(
        kind="KnowledgeBase",
        plural="knowledgebases",
        singular="knowledgebase",
        short_name="kb",
        description="Documents with versions, an index over them, and the keys that encrypt them.",
        columns=(
            PrinterColumn(name="Embedding", path=".spec.embedding.model", description="Embedding model"),
            PrinterColumn(name="Documents", path=".status.documents", type="integer", description="Current documents"),
            PrinterColumn(name="Chunks", path=".status.chunks", type="integer", description="Passages in the index"),
            PrinterColumn(name="Pending", path=".status.pending", type="integer", description="Documents that wait"),
            PrinterColumn(name="Rerank", path=".spec.rerank.model", priority=1, description="Reranking model"),
            PrinterColumn(name="Store", path=".spec.store.mode", priority=1, description="Where vectors live"),
            *ready_columns(),
        ),
    )

    api_version: Literal["hearth.banjonet.com/v1alpha1"] = API_VERSION
    kind: Literal["KnowledgeBase"] = "KnowledgeBase"
    spec: KnowledgeBaseSpec
    status: KnowledgeBaseStatus = KnowledgeBaseStatus()
