"""Exactly the rights that the operator uses, as data: the chart's Role is compared with it.

Everything is namespaced. The operator makes a Role for the gateway, and Kubernetes lets nobody grant
what he does not hold: `get` on Secrets here covers that.
"""

from dataclasses import dataclass

from hearth_operator import names


@dataclass(frozen=True, slots=True)
class Rule:
    """Verbs on one resource. `why` is one sentence for the reader."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    why: str


_HELD = ("modeldeployments", "knowledgebases", "ingestionsources")
_OWN = ("inferencenodes", *_HELD)

RULES: tuple[Rule, ...] = (
    Rule(names.GROUP, "inferencenodes", ("get", "list", "watch"), "reads specs"),
    *(Rule(names.GROUP, r, ("get", "list", "patch", "watch"), "reads specs; patches finalizers") for r in _HELD),
    *(Rule(names.GROUP, f"{r}/status", ("patch",), "reports what was observed") for r in _OWN),
    Rule("", "secrets", ("create", "get", "list", "patch", "watch"), "makes keys and tokens once; grants the gateway"),
    Rule("", "configmaps", ("create", "get", "patch"), "run.json of a source; its own state"),
    Rule("", "services", ("create", "get", "patch"), "address of a managed node"),
    Rule("", "serviceaccounts", ("create", "get", "patch"), "one account per source"),
    Rule("", "persistentvolumeclaims", ("create", "get", "patch"), "Ray's store of a managed node"),
    Rule("", "pods", ("list", "watch"), "reads the termination message of a run"),
    Rule("", "events", ("create",), "tells transitions"),
    Rule("apps", "deployments", ("create", "get", "list", "patch", "watch"), "Ray of a managed node"),
    Rule("batch", "cronjobs", ("create", "get", "list", "patch", "watch"), "schedule of a source"),
    Rule("batch", "jobs", ("create", "list", "patch", "watch"), "runs of a source; ends them with it"),
    Rule("rbac.authorization.k8s.io", "roles", ("create", "get", "patch"), "the gateway's rights on serve Secrets"),
    Rule("rbac.authorization.k8s.io", "rolebindings", ("create", "get", "patch"), "the same"),
)


def role_rules() -> list[dict[str, list[str]]]:
    """Return the rules in the shape of a Role's `rules`, one per resource."""
    return [{"apiGroups": [r.group], "resources": [r.resource], "verbs": list(r.verbs)} for r in RULES]
