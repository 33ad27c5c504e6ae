"""IngestionSource: where documents come from, how often, and how far they are trusted."""

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
    ready_columns,
)
from hearth_api.kinds.fields import Count, Glob, ObjectName, ObjectRef, Quantity, RelativePath, no_parent_steps
from hearth_api.names import API_VERSION, DATA_CLAIM
from hearth_api.wire.documents import Trust

CRON_PATTERN = r"^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|[-0-9A-Za-z*/,?]+( +[-0-9A-Za-z*/,?]+){4})$"


class SourceType(StrEnum):
    """What the source holds."""

    EMAIL = "Email"
    DOCUMENTS = "Documents"


class MailFormat(StrEnum):
    """How mail is stored."""

    AUTO = "Auto"
    MBOX = "Mbox"
    MAILDIR = "Maildir"
    EML = "Eml"


class DataVolume(ApiModel):
    """A PersistentVolumeClaim, mounted read-only at /data."""

    claim_name: ObjectName = DATA_CLAIM
    """Claim in the same namespace."""


class _PathSource(ApiModel):
    rules = (
        Rule(
            field="path",
            cel="!self.path.startsWith('/')",
            message="path must be relative to the volume: remove the leading '/'",
            holds=lambda source: not source.path.startswith("/"),
        ),
        no_parent_steps("path"),
    )

    volume: DataVolume = DataVolume()
    """Where the files are."""
    path: RelativePath
    """File or folder within the volume; '.' is all of it."""


class EmailSource(_PathSource):
    """Mail in files."""

    format: MailFormat = MailFormat.AUTO
    """Auto looks at the files."""


class DocumentsSource(_PathSource):
    """Text, Markdown, HTML and PDF files."""


class ItemLimits(ApiModel):
    """Bounds of one item; beyond them the item is refused and the run goes on."""

    item_bytes: Quantity = "50M"
    """Largest item."""
    attachment_depth: Annotated[int, Field(ge=1, le=16)] = 5
    """How deep attachments within attachments are followed."""
    pages: Annotated[int, Field(ge=1, le=100_000)] = 2000
    """Most pages of one document."""
    seconds_per_item: Annotated[int, Field(ge=1, le=3600)] = 60
    """Longest time for one item."""


class IngestionSourceSpec(ApiModel):
    """Where documents come from."""

    rules = (
        immutable("type", "make another IngestionSource"),
        immutable("knowledgeBaseRef", "its documents are there; make another IngestionSource"),
        *block_of("email", choice="type", value="Email", remedy="give its path"),
        *block_of("documents", choice="type", value="Documents", remedy="give its path"),
    )

    suspend: bool = False
    """Start no run; what was ingested stays."""
    knowledge_base_ref: ObjectRef
    """KnowledgeBase that takes the documents."""
    type: SourceType
    """What the source holds."""
    email: EmailSource | None = None
    """Mail in files."""
    documents: DocumentsSource | None = None
    """Documents in files."""
    schedule: Annotated[str, Field(max_length=128, pattern=CRON_PATTERN)] | None = None
    """Cron expression; absent: one run at first, later ones with the run-now annotation only."""
    time_zone: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9+_/-]*$")] = "Etc/UTC"
    """Time zone of the schedule, as Europe/Berlin."""
    trust: Trust = Trust.EXTERNAL
    """How far the text may be believed. Text from a source is data, never an instruction."""
    include: Annotated[tuple[Glob, ...], Field(max_length=64)] = ()
    """Only items whose path matches one of these globs; empty takes all."""
    exclude: Annotated[tuple[Glob, ...], Field(max_length=64)] = ()
    """Items whose path matches one of these globs are left out."""
    limits: ItemLimits = ItemLimits()
    """Bounds of one item."""
    deadline_seconds: Annotated[int, Field(ge=10, le=604_800)] = 3600
    """Longest time of one run."""

    @property
    def location(self) -> EmailSource | DocumentsSource:
        """The block that `type` names."""
        block = self.email if self.type is SourceType.EMAIL else self.documents
        if block is None:  # excluded by the rules
            raise ValueError(f"no block for type {self.type}")
        return block


class RunCountsStatus(ApiModel):
    """Documents by what happened to them."""

    added: Count = 0
    """New at the source."""
    updated: Count = 0
    """Changed at the source."""
    deleted: Count = 0
    """Gone at the source."""
    unchanged: Count = 0
    """Same as before."""
    quarantined: Count = 0
    """Refused: beyond the limits or not safe."""
    failed: Count = 0
    """Could not be read."""


class RunOutcome(StrEnum):
    """How a run ended."""

    SUCCEEDED = "Succeeded"
    PARTIALLY_FAILED = "PartiallyFailed"
    FAILED = "Failed"


class RunStatus(ApiModel):
    """The last run that finished."""

    job: Annotated[str, Field(max_length=63)]
    """Name of the Job."""
    started: datetime | None = None
    """When it began."""
    finished: datetime | None = None
    """When it ended."""
    outcome: RunOutcome
    """How it ended."""
    counts: RunCountsStatus = RunCountsStatus()
    """Documents by what happened to them."""
    bytes: Count = 0
    """Bytes read from the source."""
    first_error: Annotated[str, Field(max_length=1024)] | None = None
    """First thing that went wrong."""


class IngestionSourceStatus(Status):
    """What was observed of the source."""

    last_run: RunStatus | None = None
    """The last run that finished."""
    last_run_now: Annotated[str, Field(max_length=1024)] | None = None
    """Value of the run-now annotation that was acted upon last."""
    active_job: Annotated[str, Field(max_length=63)] | None = None
    """Job that runs now."""
    next_run: datetime | None = None
    """When the schedule starts the next run."""


class IngestionSource(Resource):
    """Where documents come from."""

    info: ClassVar[ResourceInfo] = ResourceInfo(
        kind="IngestionSource",
        plural="ingestionsources",
        singular="ingestionsource",
        short_name="isrc",
        description="Where documents come from, how often, and how far they are trusted.",
        columns=(
            PrinterColumn(name="Type", path=".spec.type", description="What the source holds"),
            PrinterColumn(name="KB", path=".spec.knowledgeBaseRef.name", description="KnowledgeBase"),
            PrinterColumn(name="Schedule", path=".spec.schedule", priority=1, description="Cron expression"),
            PrinterColumn(name="LastRun", path=".status.lastRun.outcome", description="How the last run ended"),
            PrinterColumn(
                name="Added", path=".status.lastRun.counts.added", type="integer", description="New in the last run"
            ),
            PrinterColumn(
                name="Failed",
                path=".status.lastRun.counts.failed",
                type="integer",
                description="Unreadable in the last run",
            ),
            PrinterColumn(name="Finished", path=".status.lastRun.finished", type="date", description="Last run's end"),
            *ready_columns(),
        ),
    )

    api_version: Literal["hearth.banjonet.com/v1alpha1"] = API_VERSION
    kind: Literal["IngestionSource"] = "IngestionSource"
    spec: IngestionSourceSpec
    status: IngestionSourceStatus = IngestionSourceStatus()
