"""Least privilege: what the stories before made our accounts ask of the API server, beside the rights that they hold.

After a whole run every right was used, but for those that `RARE` and `MADE_ONCE` excuse. Of a run of some stories
only this is asked: nothing was denied, and nothing went through that no role of ours allows.
"""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hearth_hack.paths import default_paths
from hearth_operator import names
from support.audit import Call, Right, compare, read_audit
from support.cluster import NAMESPACE, Cluster

STORIES = Path(__file__).parents[1]
COLLECTED = datetime.now(UTC)
RBAC = "rbac.authorization.k8s.io"
RARE: Mapping[str, Mapping[Right, str]] = {
    "hearth-operator": {
        Right(names.GROUP, "ingestionsources", "patch"): "the finalizer of a source with deletionPolicy Delete",
        Right("batch", "jobs", "patch"): "such a source is deleted while it runs",
        Right("", "secrets", "patch"): "credentials of a Managed or External store; an admin's key that was taken away",
    },
}
_OBJECTS = (("", "services"), ("", "persistentvolumeclaims"), ("apps", "deployments"), (RBAC, "roles"),
            (RBAC, "rolebindings"))  # fmt: skip
MADE_ONCE: Mapping[Right, str] = {
    **{
        Right(g, r, v): "made by an earlier start, whose data was kept"
        for g, r in _OBJECTS
        for v in ("create", "patch")
    },
    Right("", "secrets", "create"): "made by an earlier start, whose data was kept",
}


def objects(cluster: Cluster, kind: str) -> list[dict[str, Any]]:
    return json.loads(cluster.kubectl("get", kind, "-o", "json").stdout)["items"]


def held_by_account(cluster: Cluster) -> dict[str, list[tuple[dict[str, Any], dict[str, Any]]]]:
    """Return for each of our accounts the (binding, role) pairs that it holds, cluster-wide ones too."""
    roles = {(r["kind"], r["metadata"]["name"]): r for r in objects(cluster, "roles,clusterroles")}
    found: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {
        a["metadata"]["name"]: [] for a in objects(cluster, "serviceaccounts") if a["metadata"]["name"] != "default"
    }
    for binding in objects(cluster, "rolebindings,clusterrolebindings"):
        for subject in binding.get("subjects") or ():
            if subject["kind"] == "ServiceAccount" and subject.get("namespace", NAMESPACE) == NAMESPACE:
                role = roles[binding["roleRef"]["kind"], binding["roleRef"]["name"]]
                found.setdefault(subject["name"], []).append((binding, role))
    return found


def written(obj: dict[str, Any]) -> datetime:
    """Return when an object was changed last."""
    meta = obj["metadata"]
    times = [meta["creationTimestamp"], *(f["time"] for f in meta.get("managedFields") or () if "time" in f)]
    return max(datetime.fromisoformat(t) for t in times)


def rights_since(cluster: Cluster, held: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]]) -> datetime:
    """Return since when the release's rights are as they are; a node that comes changes only the operator's Role."""
    raw = {
        (o["kind"], o["metadata"]["name"]): o
        for o in json.loads(
            cluster.kubectl(
                *("get", "roles,clusterroles,rolebindings,clusterrolebindings", "-o", "json", "--show-managed-fields")
            ).stdout
        )["items"]
    }
    pairs = [raw[o["kind"], o["metadata"]["name"]] for pair in held.values() for found in pair for o in found]
    return max(written(o) for o in pairs if o["metadata"]["name"] != names.GATEWAY_ROLE)


def seen_calls(since: datetime) -> list[Call]:
    log = default_paths(environ=os.environ).audit_log
    try:
        calls = read_audit(log, namespace=NAMESPACE)
    except FileNotFoundError:
        pytest.fail(
            f"{log} is missing: this cluster was started before it kept one: ./hack/down && ./hack/up", pytrace=False
        )
    return [call for call in calls if call.at >= since]


def former_rights(calls: list[Call]) -> set[Right]:
    """Return what the gateway may read of nodes that came and left meanwhile: the operator reported on them."""
    reported = {
        right for call in calls if call.account == "hearth-operator" and not call.denied for right in call.rights
    }
    nodes = {r.name for r in reported if (r.resource, r.verb) == ("inferencenodes/status", "patch")}
    return {Right("", "secrets", "get", names.serve_secret_name(node)) for node in nodes}


def is_whole(request: pytest.FixtureRequest, since: datetime) -> bool:
    """Whether all other stories ran before and passed, under the rights of now."""
    ran = {item.path.parent for item in request.session.items}
    stories = {file.parent for file in STORIES.glob("*/test_*.py")} - {STORIES / "zz_release"}
    return stories <= ran and not request.session.testsfailed and since <= COLLECTED


def test_rights_equal_use(cluster: Cluster, request: pytest.FixtureRequest) -> None:
    held = held_by_account(cluster)
    since = rights_since(cluster, held)
    calls = seen_calls(since)
    assert calls, "the audit log holds no call of ours"
    whole = is_whole(request, since)
    (nodes_binding,) = (o for o in objects(cluster, "rolebindings") if o["metadata"]["name"] == names.GATEWAY_ROLE)
    kept = written(nodes_binding) + timedelta(seconds=1) < calls[0].at  # the API counts whole seconds
    said: list[str] = []
    for account, found in sorted(held.items()):
        rules = [rule for _, role in found for rule in role.get("rules") or ()]
        rare = {**RARE.get(account, {}), **(MADE_ONCE if kept and account == "hearth-operator" else {})}
        former = former_rights(calls) if account == names.GATEWAY_ACCOUNT else ()
        said += compare(account, rules, calls, whole=whole, rare=rare, former=former)
    said += [f"no account of the release: {call}" for call in calls if call.account not in held][:5]
    print(
        f"{len(calls)} calls since {since:%H:%M:%S} by {len({c.account for c in calls})} accounts; whole run: {whole}"
    )
    assert not said, f"whole run: {whole}, kept data: {kept}\n" + "\n".join(said)


def test_no_role_of_ours_reads_secrets_of_the_whole_cluster(cluster: Cluster) -> None:
    for account, found in held_by_account(cluster).items():
        for binding, role in found:
            resources = {resource for rule in role.get("rules") or () for resource in rule.get("resources") or ()}
            if binding["kind"] == "ClusterRoleBinding":
                assert resources == {"tokenreviews"}, f"{account}: {role['metadata']['name']} gives {resources}"
            assert "*" not in resources, f"{account}: {role['metadata']['name']}"
            named = [rule for rule in role.get("rules") or () if "secrets" in (rule.get("resources") or ())]
            if account != "hearth-operator":
                assert all(rule.get("resourceNames") for rule in named), f"{account} reads every Secret"
