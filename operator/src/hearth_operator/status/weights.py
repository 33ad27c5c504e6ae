"""What a download is doing, as a variant's state."""

from hearth_api.kinds.model import VariantState
from hearth_api.reasons import Reason
from hearth_api.wire.weights import WeightsCode, WeightsState
from hearth_operator.facts import WeightsFacts

_REASONS = {
    WeightsCode.SOURCE_INVALID: Reason.INVALID_SPEC,
    WeightsCode.SOURCE_NOT_FOUND: Reason.WEIGHTS_MISSING,
    WeightsCode.GATED: Reason.WEIGHTS_GATED,
    WeightsCode.DIGEST_MISMATCH: Reason.DIGEST_MISMATCH,
    WeightsCode.NOT_A_MODEL: Reason.NOT_A_MODEL,
    WeightsCode.TOO_LARGE: Reason.STORE_TOO_SMALL,
    WeightsCode.DISK_FULL: Reason.DISK_FULL,
    WeightsCode.DOWNLOAD_CUT: Reason.DOWNLOAD_CUT,
    WeightsCode.OFFLINE: Reason.OFFLINE,
}
_STEP = 5
"""Percent that are told: a status that changes each second costs more than it says."""


def judge_download(weights: WeightsFacts, *, node: str) -> tuple[VariantState, Reason, str]:
    """Return state, reason and message of a variant whose weights are not there."""
    told = weights.told
    if weights.trouble is not None:
        return VariantState.FAILED, Reason.DEPLOY_FAILED, f"{node} cannot download: {weights.trouble}"
    if told is None or told.state is WeightsState.WAITING:
        return VariantState.LOADING, Reason.DOWNLOADING, f"{node} is about to bring {weights.source}"
    if told.state is WeightsState.FAILED and told.code is not None:
        return VariantState.FAILED, _REASONS[told.code], told.message or told.code.value
    if not told.total:
        return VariantState.LOADING, Reason.DOWNLOADING, f"{node} brings {weights.source}"
    percent = told.done * 100 // told.total // _STEP * _STEP
    size = f"{told.total / 1e9:.1f} GB" if told.total >= 10**9 else f"{told.total / 1e6:.1f} MB"
    return VariantState.LOADING, Reason.DOWNLOADING, f"{node} brings {weights.source}: {percent} % of {size} came"
