"""What stands between a resource and Ready, in the resource's own words."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hearth_hack.kube import Kube, Object
from hearth_hack.steps import Say


class NotReadyError(RuntimeError):
    """The time was over; the message lists what is missing."""


@dataclass(frozen=True, slots=True)
class Target:
    """One object that must become Ready."""

    kind: str
    name: str
    path: str


def condition(found: Object, kind: str) -> Object | None:
    """Return the condition of a kind."""
    for each in found.get("status", {}).get("conditions", []):
        if each.get("type") == kind:
            result: Object = each
            return result
    return None


def describe(found: Object | None) -> str | None:
    """None when the object is Ready for its newest generation, else why not."""
    if found is None:
        return "does not exist"
    ready = condition(found, "Ready")
    if ready is None:
        return "nothing has reported on it yet"
    if ready.get("observedGeneration", 0) < found["metadata"].get("generation", 0):
        return "its newest change was not looked at yet"
    if ready.get("status") != "True":
        return f"{ready.get('reason', ready.get('status'))}: {ready.get('message', '')}".strip(": ")
    return None


def ready_pods(pods: Sequence[Object]) -> Counter[str]:
    """Ready pods by the name in their labels."""
    found: Counter[str] = Counter()
    for pod in pods:
        ready = condition(pod, "Ready")
        if ready is not None and ready["status"] == "True" and "deletionTimestamp" not in pod["metadata"]:
            found[pod["metadata"].get("labels", {}).get("app.kubernetes.io/name", "")] += 1
    return found


def describe_deployment(found: Object | None, *, ready: int) -> str | None:
    """None when all replicas of the newest template are available.

    After a restart of the cluster the status is that of before for some seconds: `ready` pods are counted as well.
    """
    if found is None:
        return "does not exist"
    status, wanted = found.get("status", {}), found["spec"].get("replicas", 1)
    if status.get("observedGeneration", 0) < found["metadata"]["generation"]:
        return "its newest change was not looked at yet"
    if status.get("updatedReplicas", 0) < wanted or status.get("availableReplicas", 0) < wanted:
        return f"{status.get('availableReplicas', 0)} of {wanted} pods are available"
    if ready < wanted:
        return f"{ready} of {wanted} pods are ready"
    if status.get("replicas", 0) > wanted:
        return "an old pod is going away"
    return None


def wait_for(missing: Callable[[], Sequence[str]], *, seconds: float, say: Say) -> None:
    """Polls until nothing is missing, showing the first thing that is. Raises NotReadyError."""
    deadline = time.monotonic() + seconds
    while found := missing():
        say(found[0] if len(found) == 1 else f"{found[0]} (and {len(found) - 1} more)")
        if time.monotonic() > deadline:
            raise NotReadyError(f"not Ready after {seconds:.0f} s: {'; '.join(found)}")
        time.sleep(0.5)


def missing_targets(kube: Kube, targets: Sequence[Target]) -> list[str]:
    """Return one line per target that is not Ready."""
    reasons = [(target, describe(kube.get(target.path))) for target in targets]
    return [f"{target.kind}/{target.name}: {reason}" for target, reason in reasons if reason is not None]


def pod_troubles(kube: Kube, namespace: str) -> list[str]:
    """Containers that wait for something that will not come by itself, in the kubelet's words."""
    troubles = []
    for pod in kube.items(f"/api/v1/namespaces/{namespace}/pods"):
        for each in pod.get("status", {}).get("containerStatuses", []):
            waiting = each.get("state", {}).get("waiting")
            if waiting and waiting.get("reason") not in ("ContainerCreating", "PodInitializing"):
                troubles.append(
                    f"pod {pod['metadata']['name']}: {waiting.get('reason')} {waiting.get('message', '')}"[:200]
                )
    return troubles


def missing_deployments(kube: Kube, *, namespace: str, names: Sequence[str]) -> list[str]:
    """Return one line per Deployment that is not available, and what its pods complain of."""
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    ready = ready_pods(kube.items(f"/api/v1/namespaces/{namespace}/pods"))
    reasons = [(name, describe_deployment(kube.get(f"{path}/{name}"), ready=ready[name])) for name in names]
    missing = [f"Deployment/{name}: {reason}" for name, reason in reasons if reason is not None]
    return [*missing, *pod_troubles(kube, namespace)] if missing else []
