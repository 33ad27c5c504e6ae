"""What lets the gateway read the Serve Secrets of today's nodes, and no others."""

from collections.abc import Iterable

from hearth_operator import names
from hearth_operator.manifests.base import Manifest, metadata

_LABELS = {
    "app.kubernetes.io/name": "hearth",
    "app.kubernetes.io/component": "gateway",
    "app.kubernetes.io/managed-by": "hearth-operator",
}
_RBAC = "rbac.authorization.k8s.io"


def build_gateway_access(secrets: Iterable[str], *, namespace: str) -> tuple[Manifest, Manifest]:
    """Return Role and RoleBinding. A rule without resourceNames would mean every Secret: no nodes, no rule."""
    wanted = sorted(set(secrets))
    rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": wanted, "verbs": ["get"]}
    role: Manifest = {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "Role",
        "metadata": metadata(names.GATEWAY_ROLE, namespace=namespace, labels=_LABELS),
        "rules": [rule] if wanted else [],
    }
    binding: Manifest = {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": metadata(names.GATEWAY_ROLE, namespace=namespace, labels=_LABELS),
        "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": names.GATEWAY_ROLE},
        "subjects": [{"kind": "ServiceAccount", "name": names.GATEWAY_ACCOUNT, "namespace": namespace}],
    }
    return role, binding
