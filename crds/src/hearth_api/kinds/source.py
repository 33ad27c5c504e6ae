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
    exactly_one_of,
    immutable,
    ready_columns,
)
from hearth_api.kinds.fields import (
    Count,
    Glob,
    HostName,
    LabelValue,
    ObjectName,
    ObjectRef,
    Port,
    Quantity,
    RelativePath,
    SecretRef,
    no_parent_steps,
)
from hearth_api.kinds.knowledge import DeletionPolicy
from hearth_api.names import API_VERSION, DATA_CLAIM
from hearth_api.wire.documents import Trust

CRON_PATTERN = r"^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|[-0-9A-Za-z*/,?]+( +[-0-9A-Za-z*/,?]+){4})$"


Counts = Annotated[dict[LabelValue, Count], Field(max_length=64)]


class SourceType(StrEnum):
    """What the source holds."""

    EMAIL = "Email"
    DOCUMENTS = "Documents"
    TEAMS = "Teams"
    CALENDAR = "Calendar"


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


def _relative_path(*, optional: bool = False) -> tuple[Rule, ...]:
    """Rules of a path within a volume."""
    given = "!has(self.path) || " if optional else ""
    return (
        Rule(
            field="path",
            cel=f"{given}!self.path.startsWith('/')",
            message="path must be relative to the volume: remove the leading '/'",
            holds=lambda source: source.path is None or not source.path.startswith("/"),
        ),
        no_parent_steps("path", optional=optional),
    )


class _PathSource(ApiModel):
    rules = _relative_path()

    volume: DataVolume = DataVolume()
    """Where the files are."""
    path: RelativePath
    """File or folder within the volume; '.' is all of it."""


class MailSecurity(StrEnum):
    """How the connection is protected. There is no unprotected one."""

    TLS = "TLS"
    STARTTLS = "StartTLS"


class Imap(ApiModel):
    """A mailbox account on an IMAP server. It is only read: no flag is set."""

    host: HostName
    """Name or address of the server; its certificate must carry it."""
    port: Port = 993
    """993 for TLS, usually 143 for StartTLS."""
    security: MailSecurity = MailSecurity.TLS
    """How the connection is protected."""
    secret_ref: SecretRef
    """Secret with username and password, and ca.crt where the server's certificate is the house's own."""
    include: Annotated[tuple[Glob, ...], Field(max_length=64)] = ()
    """Only mailboxes whose name matches one of these globs, as INBOX or Projects/*; empty takes all."""
    exclude: Annotated[tuple[Glob, ...], Field(max_length=64)] = ()
    """Mailboxes that are left out, as Trash."""


class EmailSource(ApiModel):
    """Mail in files, or in an account."""

    rules = (*_relative_path(optional=True), exactly_one_of("path", "imap"))

    volume: DataVolume = DataVolume()
    """Where the files are."""
    path: RelativePath | None = None
    """File or folder within the volume; '.' is all of it."""
    format: MailFormat = MailFormat.AUTO
    """Auto looks at the files."""
    imap: Imap | None = None
    """A live account."""


class DocumentsSource(_PathSource):
    """Text, Markdown, HTML, CSV, PDF, office documents (DOCX, PPTX, XLSX, ODF, RTF), and archives of these."""


class TeamsSource(_PathSource):
    """Teams exports: JSON of Microsoft Graph, or the Skype-shaped messages.json, also inside its tar."""


class CalDav(ApiModel):
    """A calendar account on a CalDAV server. It is only read."""

    rules = (
        Rule(
            field="url",
            cel="!self.url.matches('^https://[^/]*@')",
            message="url must not carry credentials: they would be readable in the resource",
            # After the host an '@' is usual: many servers name a home after its owner's address.
            holds=lambda caldav: "@" not in caldav.url.removeprefix("https://").split("/")[0],
        ),
    )

    url: Annotated[str, Field(max_length=512, pattern=r"^https://[^\s/]+(/\S*)?$")]
    """Of a server, a principal, a home or one calendar."""
    secret_ref: SecretRef
    """Secret with username and password, and ca.crt where the server's certificate is the house's own."""
    include: Annotated[tuple[Glob, ...], Field(max_length=64)] = ()
    """Only calendars whose name matches one of these globs; empty takes all."""
    exclude: Annotated[tuple[Glob, ...], Field(max_length=64)] = ()
    """Calendars that are left out."""


class CalendarWindow(ApiModel):
    """Which occurrences of recurring events become passages, counted from the day of the run."""

    past_days: Annotated[int, Field(ge=0, le=3660)] = 365
    """Days before today."""
    future_days: Annotated[int, Field(ge=0, le=3660)] = 365
    """Days after today."""


class CalendarSource(ApiModel):
    """ICS files, or calendars in an account. Floating times are read in the source's timeZone."""

    rules = (*_relative_path(optional=True), exactly_one_of("path", "caldav"))

    volume: DataVolume = DataVolume()
    """Where the files are."""
    path: RelativePath | None = None
    """File or folder within the volume; '.' is all of it."""
    caldav: CalDav | None = None
    """A live account."""
    window: CalendarWindow = CalendarWindow()
    """Which occurrences of recurring events become passages."""


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
    entries: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Most entries of one archive, its nested archives included."""
    expanded_bytes: Quantity = "256M"
    """Most bytes that one item may unpack to."""
    ratio: Annotated[int, Field(ge=2, le=100_000)] = 200
    """Most times that an archive's entry may grow when it is unpacked."""


class IngestionSourceSpec(ApiModel):
    """Where documents come from."""

    rules = (
        immutable("type", "make another IngestionSource"),
        immutable("knowledgeBaseRef", "its documents are there; make another IngestionSource"),
        *block_of("email", choice="type", value="Email", remedy="give its path"),
        *block_of("documents", choice="type", value="Documents", remedy="give its path"),
        *block_of("teams", choice="type", value="Teams", remedy="give its path"),
        *block_of("calendar", choice="type", value="Calendar", remedy="give its path or caldav"),
    )

    suspend: bool = False
    """Start no run; what was ingested stays."""
    knowledge_base_ref: ObjectRef
    """KnowledgeBase that takes the documents."""
    type: SourceType
    """What the source holds."""
    email: EmailSource | None = None
    """Mail in files, or in an account."""
    documents: DocumentsSource | None = None
    """Documents in files."""
    teams: TeamsSource | None = None
    """Teams exports."""
    calendar: CalendarSource | None = None
    """Calendars in files, or in an account."""
    schedule: Annotated[str, Field(max_length=128, pattern=CRON_PATTERN)] | None = None
    """Cron expression; absent: one run at first, later ones with the run-now annotation only."""
    time_zone: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9+_/-]*$")] = "Etc/UTC"
    """Time zone of the schedule, of a calendar's floating times and of its days, as Europe/Berlin."""
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
    starting_deadline_seconds: Annotated[int, Field(ge=10, le=604_800)] = 300
    """How late a scheduled run may begin, as after the cluster was away; later it is left out."""
    successful_runs_history_limit: Annotated[int, Field(ge=1, le=100)] = 3
    """How many Jobs of scheduled runs that succeeded are kept."""
    failed_runs_history_limit: Annotated[int, Field(ge=1, le=100)] = 3
    """How many Jobs of scheduled runs that failed are kept."""
    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN
    """Retain keeps the source's documents when the resource is deleted; Delete erases them first."""

    @property
    def location(self) -> EmailSource | DocumentsSource | TeamsSource | CalendarSource:
        """The block that `type` names."""
        block = {
            SourceType.EMAIL: self.email,
            SourceType.DOCUMENTS: self.documents,
            SourceType.TEAMS: self.teams,
            SourceType.CALENDAR: self.calendar,
        }[self.type]
        if block is None:  # excluded by the rules
            raise ValueError(f"no block for type {self.type}")
        return block

    @property
    def account(self) -> Imap | CalDav | None:
        """The account that is read over the network, or None where files are read."""
        if self.email is not None and self.email.imap is not None:
            return self.email.imap
        return self.calendar.caldav if self.calendar is not None else None


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
    privacy: Counts | None = None
    """The privacy report: findings by type in what the run added or updated."""
    withheld: Counts | None = None
    """Passages and parts that were quarantined or stripped, by reason."""
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
    """When the schedule starts the next run; absent without a schedule and while suspended."""
    last_success: datetime | None = None
    """When a run last finished that was not failed."""


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
            PrinterColumn(
                name="NextRun", path=".status.nextRun", priority=1, description="When the schedule runs next"
            ),
            *ready_columns(),
        ),
    )

    api_version: Literal["hearth.banjonet.com/v1alpha1"] = API_VERSION
    kind: Literal["IngestionSource"] = "IngestionSource"
    spec: IngestionSourceSpec
    status: IngestionSourceStatus = IngestionSourceStatus()
