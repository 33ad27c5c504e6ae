"""Every reason a condition, a variant or a run can carry, with one sentence each.

`crds/README.md` lists them; a test compares the two.
"""

from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    """One word for a machine, one sentence (`meaning`) for a person."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Self:
        """Make a member from its value and its sentence."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    @classmethod
    def lookup(cls, value: str) -> "Reason | None":
        """Return the member with a value, or None where a newer release wrote one that this one does not know."""
        return next((reason for reason in cls if reason.value == value), None)

    # All kinds
    READY = "Ready", "Everything that the resource asks for was observed to work."
    NOT_OBSERVED = "NotObserved", "The operator has not looked at it yet."
    SUSPENDED = "Suspended", "spec.suspend is true: nothing runs until it is false again."
    INVALID_SPEC = "InvalidSpec", "The spec cannot be carried out; nothing is tried until it changes."
    INTERNAL_ERROR = "InternalError", "Something failed that has no reason of its own; the message has its first line."
    UNREACHABLE = "Unreachable", "The other side did not answer, so nothing is known about it."
    SECRET_NOT_FOUND = "SecretNotFound", "A Secret that the spec names, or one of its keys, does not exist."

    UNEXPECTED_ANSWER = "UnexpectedAnswer", "The other side answered with something that is not its API."

    # InferenceNode
    REACHABLE = "Reachable", "Ray's dashboard answered and accepted the node's token."
    NODE_STARTING = "NodeStarting", "The managed node's pod is there but Ray does not answer yet."
    NODE_OFFLINE = "NodeOffline", "The machine does not answer: it sleeps, is off, or its pod is gone."
    POD_FAILED = "PodFailed", "The managed node's pod cannot run; the message has the container's state."
    AUTHENTICATION_FAILED = "AuthenticationFailed", "The machine answered but refused the token."
    RAY_NODE_NOT_FOUND = "RayNodeNotFound", "Ray answered but none of its nodes is alive and carries the labels."
    HOSTING = "Hosting", "Nothing that spec.availability names calls for the machine: models may run there."
    OWNER_ACTIVE = "OwnerActive", "Somebody uses the machine: its models go elsewhere and come back later."
    GPU_IN_USE = "GpuInUse", "Another program holds a card's memory: the models leave it."
    MEMORY_SHORT = "MemoryShort", "The machine is short of main memory: its models leave it."
    ON_BATTERY = "OnBattery", "The machine runs on its battery: its models leave it."
    OWNER_HOURS = "OwnerHours", "It is a time that spec.availability.hours gives to the owner."
    MACHINE_SILENT = "MachineSilent", "The machine does not tell what spec.availability asks for; the message says why."
    RAY_NODES_MISSING = "RayNodesMissing", "Ray answers, but fewer of its nodes are alive than spec.external.rayNodes."
    ENDPOINT_TAKEN = "EndpointTaken", "Another Hearth writes to the same Ray; this one writes nothing there."
    VERSION_SUPPORTED = "VersionSupported", "The node runs a Ray that Hearth can drive."
    VERSION_UNSUPPORTED = "VersionUnsupported", "The node's Ray is older than 2.54 or of another major version."
    VERSION_DIFFERS = "VersionDiffers", "The node's Ray works but is not the release that Hearth is tested with."

    # ModelDeployment
    ACCEPTED = "Accepted", "The spec is valid and every name in it belongs to this resource."
    ALIAS_TAKEN = "AliasTaken", "An older ModelDeployment already has this name or alias."
    NODE_NOT_FOUND = "NodeNotFound", "No InferenceNode has the name or matches the selector."
    NODE_NOT_READY = "NodeNotReady", "The InferenceNode exists but cannot take a model now."
    FITS = "Fits", "The models planned for the node fit into its memory."
    INSUFFICIENT_MEMORY = (
        "InsufficientMemory",
        "Weights, context, overhead and the other models exceed the node's memory; the message has the sum.",
    )
    NO_CAPACITY = "NoCapacity", "The node has too few cores or GPUs left; the message has the numbers."
    SIZE_UNKNOWN = "SizeUnknown", "Neither resources.memory nor a shape says a size: it counts as nothing until loaded."
    WEIGHTS_FOUND = "WeightsFound", "The model's files are on the node and have the wanted digest."
    WEIGHTS_MISSING = "WeightsMissing", "The node has no file at model.source."
    DIGEST_MISMATCH = "DigestMismatch", "The file at model.source has another SHA-256 than model.sha256."
    DOWNLOADING = "Downloading", "The machine brings the files at model.source; the message says how far it is."
    WEIGHTS_GATED = (
        "WeightsGated",
        "The server wants an account; the message says where its token goes.",
    )
    NOT_A_MODEL = "NotAModel", "What came from model.source is no model: a web page, a pointer, another format."
    STORE_TOO_SMALL = "StoreTooSmall", "The files are larger than all that the machine's store may hold."
    DISK_FULL = "DiskFull", "The machine's disk or quota has no room for the files; the message has the numbers."
    DOWNLOAD_CUT = "DownloadCut", "The download stopped again and again; it goes on by itself from where it was."
    OFFLINE = "Offline", "The machine is set to be offline and its store does not have the files."
    LOADING = "Loading", "Ray Serve started the application and the model loads."
    SERVING = "Serving", "A live replica answered a probe."
    RECOVERING = "Recovering", "It answers again; another variant serves until it has done so for long enough."
    RAY_UNREACHABLE = "RayUnreachable", "Ray does not answer, but the variant's own routes do: it serves unwatched."
    DEPLOY_FAILED = "DeployFailed", "Ray Serve reports that the application failed; the message has its first line."
    PROBE_FAILED = "ProbeFailed", "Ray calls the application healthy but it computed nothing."
    NO_VARIANT_AVAILABLE = "NoVariantAvailable", "None of the variants serves."
    PREFERRED_SERVING = "PreferredServing", "The first variant serves its newest revision."
    FALLBACK_SERVING = "FallbackServing", "A variant serves, but not the first one."
    REPLICAS_MISSING = "ReplicasMissing", "The first variant serves with fewer replicas than it asks for."
    OLD_REVISION_SERVING = "OldRevisionServing", "The former revision serves while the newest is not available."
    ROLLED_BACK = "RolledBack", "The newest revision failed, and the last one that served was put back or kept."
    WRONG_NODE = "WrongNode", "A replica runs on another machine than the one that its application is pinned to."
    CONFIG_DIFFERS = "ConfigDiffers", "Ray keeps the application otherwise than it was put."
    ROLLING_OUT = "RollingOut", "A change of the spec is on its way to Ray."
    ROLLED_OUT = "RolledOut", "The newest spec is what Ray serves."
    DEADLINE_EXCEEDED = "DeadlineExceeded", "It did not finish within the deadline of the spec."

    # KnowledgeBase
    EMBEDDING_MODEL_NOT_FOUND = "EmbeddingModelNotFound", "No ModelDeployment has the name in embedding.model."
    EMBEDDING_MODEL_NOT_READY = "EmbeddingModelNotReady", "The embedding model has not said its dimensions yet."
    NOT_AN_EMBEDDING_MODEL = "NotAnEmbeddingModel", "embedding.model names a ModelDeployment whose task is not Embed."
    RERANKING = "Reranking", "The reranking model is Available: it orders what searches find."
    RERANK_MODEL_NOT_FOUND = (
        "RerankModelNotFound",
        "No ModelDeployment has the name in rerank.model: searches answer without it.",
    )
    RERANK_MODEL_NOT_READY = (
        "RerankModelNotReady",
        "The reranking model is not Available now: searches answer without it.",
    )
    NOT_A_RERANK_MODEL = (
        "NotARerankModel",
        "rerank.model names a ModelDeployment whose task is not Rerank: searches answer without it.",
    )
    PROVISIONED = "Provisioned", "The knowledge service accepted the configuration and the collection is loaded."
    POPULATED = "Populated", "Documents are indexed and nothing waits."
    STORE_NOT_READY = "StoreNotReady", "The Milvus that the operator runs for the knowledge base does not answer yet."
    EMPTY = "Empty", "No source has handed over a document yet."
    INDEXING = "Indexing", "Documents wait to be indexed; they can be searched as they are done."
    INDEXING_FAILED = "IndexingFailed", "Some documents could not be indexed; the message has the last error."
    CONSISTENT = "Consistent", "The vector store holds exactly the chunks that the manifest lists."
    INCONSISTENT = "Inconsistent", "The vector store and the manifest differ; the difference is repaired."

    # IngestionSource
    KNOWLEDGE_BASE_NOT_FOUND = "KnowledgeBaseNotFound", "No KnowledgeBase has the name in knowledgeBaseRef."
    KNOWLEDGE_BASE_NOT_READY = "KnowledgeBaseNotReady", "The KnowledgeBase is not provisioned yet."
    CLAIM_NOT_FOUND = "ClaimNotFound", "No PersistentVolumeClaim has the name in volume.claimName."
    SCHEDULED = "Scheduled", "The CronJob is in place."
    RUN_ON_DEMAND = "RunOnDemand", "There is no schedule: runs start with the run-now annotation only."
    NEVER_RAN = "NeverRan", "No run has finished yet."
    RUNNING = "Running", "A run is going on."
    SYNCED = "Synced", "The last run finished and every item was taken."
    PARTIALLY_FAILED = "PartiallyFailed", "The last run finished but could not take every item; status has the counts."
    RUN_FAILED = "RunFailed", "The last run failed; status has its first error."
    REPORT_MISSING = "ReportMissing", "The last run's pod ended without a report."
    FRESH = "Fresh", "The last run that was due succeeded."
    STALE = "Stale", "A run was due and none has succeeded since; the message has both times."
    ERASING = "Erasing", "The resource is being deleted, and its documents are erased first."
    ERASE_BLOCKED = "EraseBlocked", "The documents cannot be erased yet, so the deletion waits; the message says why."


PASSING: frozenset[Reason] = frozenset(
    {
        Reason.DOWNLOADING,
        Reason.EMBEDDING_MODEL_NOT_READY,
        Reason.EMPTY,
        Reason.ERASING,
        Reason.GPU_IN_USE,
        Reason.INDEXING,
        Reason.KNOWLEDGE_BASE_NOT_READY,
        Reason.LOADING,
        Reason.MEMORY_SHORT,
        Reason.NEVER_RAN,
        Reason.NODE_NOT_READY,
        Reason.NODE_STARTING,
        Reason.NOT_OBSERVED,
        Reason.ON_BATTERY,
        Reason.OWNER_ACTIVE,
        Reason.OWNER_HOURS,
        Reason.RECOVERING,
        Reason.RERANK_MODEL_NOT_READY,
        Reason.ROLLING_OUT,
        Reason.RUNNING,
        Reason.STORE_NOT_READY,
    }
)
"""Reasons that pass by themselves: no warning, and Progressing in Argo CD. Whatever is not here needs somebody."""
