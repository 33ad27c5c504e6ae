"""Which reasons each condition can carry. `crds/README.md` lists them; the operator's tests add no other."""

from collections.abc import Mapping

from hearth_api.conditions import ConditionType
from hearth_api.reasons import Reason

_FIT = (
    Reason.FITS,
    Reason.SIZE_UNKNOWN,
    Reason.INSUFFICIENT_MEMORY,
    Reason.NO_CAPACITY,
    Reason.NODE_NOT_FOUND,
    Reason.NOT_OBSERVED,
)

REASONS_OF: Mapping[ConditionType, tuple[Reason, ...]] = {
    ConditionType.REACHABLE: (
        Reason.REACHABLE,
        Reason.NODE_STARTING,
        Reason.NODE_OFFLINE,
        Reason.POD_FAILED,
        Reason.AUTHENTICATION_FAILED,
        Reason.SECRET_NOT_FOUND,
        Reason.UNEXPECTED_ANSWER,
        Reason.RAY_NODE_NOT_FOUND,
        Reason.RAY_NODES_MISSING,
        Reason.NOT_OBSERVED,
    ),
    ConditionType.RAY_VERSION_SUPPORTED: (
        Reason.VERSION_SUPPORTED,
        Reason.VERSION_DIFFERS,
        Reason.VERSION_UNSUPPORTED,
        Reason.NOT_OBSERVED,
    ),
    ConditionType.ACCEPTED: (Reason.ACCEPTED, Reason.ALIAS_TAKEN, Reason.INVALID_SPEC),
    ConditionType.FITS: _FIT,
    ConditionType.WEIGHTS_READY: (
        Reason.WEIGHTS_FOUND,
        Reason.WEIGHTS_MISSING,
        Reason.DIGEST_MISMATCH,
        Reason.DOWNLOADING,
        Reason.WEIGHTS_GATED,
        Reason.NOT_A_MODEL,
        Reason.STORE_TOO_SMALL,
        Reason.DISK_FULL,
        Reason.DOWNLOAD_CUT,
        Reason.OFFLINE,
        Reason.INVALID_SPEC,
        Reason.DEPLOY_FAILED,
        Reason.NOT_OBSERVED,
    ),
    # Of a single variant that does not serve, Available repeats the reason.
    ConditionType.AVAILABLE: (
        Reason.SERVING,
        Reason.NO_VARIANT_AVAILABLE,
        Reason.LOADING,
        Reason.ROLLING_OUT,
        Reason.ROLLED_BACK,
        Reason.PROBE_FAILED,
        Reason.DEPLOY_FAILED,
        Reason.DEADLINE_EXCEEDED,
        Reason.WEIGHTS_MISSING,
        Reason.DIGEST_MISMATCH,
        Reason.DOWNLOADING,
        Reason.WEIGHTS_GATED,
        Reason.NOT_A_MODEL,
        Reason.STORE_TOO_SMALL,
        Reason.DISK_FULL,
        Reason.DOWNLOAD_CUT,
        Reason.OFFLINE,
        Reason.WRONG_NODE,
        Reason.CONFIG_DIFFERS,
        Reason.INVALID_SPEC,
        Reason.INTERNAL_ERROR,
        Reason.ALIAS_TAKEN,
        Reason.ENDPOINT_TAKEN,
        Reason.NODE_NOT_READY,
        Reason.NODE_OFFLINE,
        Reason.AUTHENTICATION_FAILED,
        Reason.UNEXPECTED_ANSWER,
        Reason.RECOVERING,
        Reason.SUSPENDED,
        *_FIT[2:],
    ),
    ConditionType.DEGRADED: (
        Reason.PREFERRED_SERVING,
        Reason.FALLBACK_SERVING,
        Reason.OLD_REVISION_SERVING,
        Reason.RAY_UNREACHABLE,
        Reason.REPLICAS_MISSING,
        Reason.ROLLED_BACK,
        Reason.NO_VARIANT_AVAILABLE,
    ),
    ConditionType.PROGRESSING: (
        Reason.ROLLING_OUT,
        Reason.ROLLED_OUT,
        Reason.ROLLED_BACK,
        Reason.DEADLINE_EXCEEDED,
    ),
    ConditionType.PROVISIONED: (
        Reason.PROVISIONED,
        Reason.EMBEDDING_MODEL_NOT_FOUND,
        Reason.EMBEDDING_MODEL_NOT_READY,
        Reason.NOT_AN_EMBEDDING_MODEL,
        Reason.STORE_NOT_READY,
        Reason.SECRET_NOT_FOUND,
        Reason.INVALID_SPEC,
        Reason.UNREACHABLE,
        Reason.NOT_OBSERVED,
    ),
    ConditionType.POPULATED: (
        Reason.POPULATED,
        Reason.EMPTY,
        Reason.INDEXING,
        Reason.INDEXING_FAILED,
        Reason.NOT_OBSERVED,
    ),
    ConditionType.CONSISTENT: (Reason.CONSISTENT, Reason.INCONSISTENT, Reason.INDEXING, Reason.NOT_OBSERVED),
    ConditionType.FRESH: (
        Reason.FRESH,
        Reason.STALE,
        Reason.RUN_ON_DEMAND,
        Reason.NEVER_RAN,
        Reason.SUSPENDED,
        Reason.NOT_OBSERVED,
    ),
    ConditionType.SCHEDULED: (
        Reason.SCHEDULED,
        Reason.RUN_ON_DEMAND,
        Reason.KNOWLEDGE_BASE_NOT_FOUND,
        Reason.KNOWLEDGE_BASE_NOT_READY,
        Reason.CLAIM_NOT_FOUND,
        Reason.SECRET_NOT_FOUND,
        Reason.INVALID_SPEC,
        Reason.SUSPENDED,
    ),
    ConditionType.SYNCED: (
        Reason.SYNCED,
        Reason.PARTIALLY_FAILED,
        Reason.RUNNING,
        Reason.NEVER_RAN,
        Reason.RUN_FAILED,
        Reason.REPORT_MISSING,
    ),
    # And whatever the conditions that it sums up carry.
    ConditionType.READY: (
        Reason.READY,
        Reason.SUSPENDED,
        Reason.ENDPOINT_TAKEN,
        Reason.ERASING,
        Reason.ERASE_BLOCKED,
        Reason.UNREACHABLE,
        Reason.INTERNAL_ERROR,
        Reason.SECRET_NOT_FOUND,
        Reason.NOT_OBSERVED,
    ),
}
"""All conditions of the four kinds, in the order of `ConditionType`, each with its good reasons first."""


def may_carry(type_: str, reason: str) -> bool:
    """Whether a condition of a type may have a reason. Ready repeats any other's."""
    if type_ == ConditionType.READY:
        return any(reason in reasons for reasons in REASONS_OF.values())
    return reason in REASONS_OF.get(ConditionType(type_), ())
