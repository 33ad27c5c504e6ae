"""kstatus (sigs.k8s.io/cli-utils) for a custom resource, from its rules: what Flux and others wait for."""

from collections.abc import Mapping
from typing import Any


def kstatus(obj: Mapping[str, Any]) -> str:
    """Return Terminating, InProgress, Failed or Current: the first rule that decides.

    Deletion; a generation that was not observed; Reconciling and Stalled; Ready, of which Unknown counts as False. What
    has none of them is taken for current, which is why a new resource must say that nothing was observed.
    """
    metadata, status = obj.get("metadata") or {}, obj.get("status") or {}
    if metadata.get("deletionTimestamp"):
        return "Terminating"
    observed, generation = status.get("observedGeneration"), metadata.get("generation")
    if observed is not None and generation is not None and observed != generation:
        return "InProgress"
    conditions = {c.get("type"): c.get("status") for c in status.get("conditions") or ()}
    if conditions.get("Reconciling") == "True":
        return "InProgress"
    if conditions.get("Stalled") == "True":
        return "Failed"
    if "Ready" in conditions:
        return "Current" if conditions["Ready"] == "True" else "InProgress"
    return "Current"
