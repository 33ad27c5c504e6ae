"""Revisions of one Serve application: who wrote it, whether it is the wanted one, which one to put, and how.

A revision is an application without what says nothing about the model: the owner's mark and the surge.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hearth_api.reasons import Reason
from hearth_operator import names
from hearth_operator.facts import RayApp, RayNode
from hearth_operator.plan.difference import covers

Application = dict[str, Any]
OWNER = "owner"
SURGE = "max_surge_percent"
_RELOADING = ("import_path", "args", "runtime_env")
_PLACING = (
    *("max_replicas_per_node", "placement_group_bundles", "placement_group_strategy"),
    "placement_group_bundle_label_selector",
)
"""Where replicas go: Ray starts them anew when one of these changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is kept of an application beyond a restart of the operator."""

    good: Application | None = None
    """The last revision that served."""
    bad: str | None = None
    """Fingerprint of the revision that failed after `good` had served: it is not tried again."""
    reason: str = ""
    message: str = ""

    def to_text(self) -> str:
        """Return JSON for a ConfigMap."""
        kept = {"good": self.good, "bad": self.bad, "reason": self.reason, "message": self.message}
        return json.dumps({k: v for k, v in kept.items() if v}, sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> "Record":
        """Return the record; an empty one where the text is not one (somebody may have edited it)."""
        try:
            data = json.loads(text)
        except ValueError:
            return cls()
        if not isinstance(data, dict):
            return cls()
        good, bad = data.get("good"), data.get("bad")
        if not (isinstance(good, dict) and isinstance(good.get("args"), dict) and isinstance(good.get("name"), str)):
            return cls()
        return cls(
            good=plain(good),
            bad=bad if isinstance(bad, str) else None,
            reason=str(data.get("reason", "")),
            message=str(data.get("message", "")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Setback:
    """Why the wanted revision is not put."""

    fingerprint: str
    reason: Reason
    message: str
    outcome: str = "the last good one was put back"


def plain(application: Mapping[str, Any]) -> Application:
    """Return the revision: the application without the owner's mark and the surge."""
    deployments = []
    for deployment in application.get("deployments") or ():
        kept = {key: value for key, value in deployment.items() if key != SURGE}
        if isinstance(kept.get("user_config"), dict):
            kept["user_config"] = {k: v for k, v in kept["user_config"].items() if k != OWNER}
        deployments.append(kept)
    return {**application, "deployments": deployments}


def dress(application: Application, *, owner: str, surge: bool | None) -> Application:
    """Return the application as it is put. `surge`: the new replica starts beside the old one; None: not said."""
    deployments = []
    for deployment in application["deployments"]:
        user_config = {**(deployment.get("user_config") or {})}
        dressed = {**deployment, "user_config": {**user_config, OWNER: owner} if owner else user_config}
        if surge is not None:
            dressed[SURGE] = 100 if surge else 0
        deployments.append(dressed)
    return {**application, "deployments": deployments}


def fingerprint(application: Mapping[str, Any]) -> str:
    """Return what tells a revision from every other. A restart that somebody asks for is part of `args`."""
    text = json.dumps(plain(application), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _first(application: Mapping[str, Any] | None) -> dict[str, Any]:
    deployments = (application or {}).get("deployments")
    first = deployments[0] if isinstance(deployments, Sequence) and deployments else None
    return first if isinstance(first, dict) else {}


def replicas_of(application: Mapping[str, Any] | None) -> int:
    """Return how many replicas an application asks for."""
    count = _first(application).get("num_replicas")
    return count if isinstance(count, int) and count > 0 else 1


def surge_of(application: Mapping[str, Any] | None) -> bool:
    """Whether Ray was told to start a new replica beside the old one."""
    return bool(_first(application).get(SURGE))


def owner_of(application: Mapping[str, Any] | None) -> str:
    """Return who wrote one of our applications; empty: it carries no mark."""
    return str((_first(application).get("user_config") or {}).get(OWNER) or "")


def carries(live: Mapping[str, Any] | None, wanted: Application) -> bool:
    """Whether what Ray echoes is the wanted revision. Ray leaves `args` and `user_config` as they were put, so there
    a field that is gone is a difference; elsewhere it adds defaults.
    """
    if live is None:
        return False
    there, revision = plain(live), plain(wanted)
    return there == revision or (
        covers(there, revision)
        and (there.get("args") or {}) == revision["args"]
        and (_first(there).get("user_config") or {}) == (_first(revision).get("user_config") or {})
    )


def reloads(live: Mapping[str, Any] | None, wanted: Application) -> bool:
    """Whether Ray starts the replica anew for the change: `user_config`, limits and routes are applied in place."""
    if live is None:
        return True
    if any((live.get(key) or {}) != (wanted.get(key) or {}) for key in _RELOADING):
        return True
    before, after = _first(live), _first(wanted)
    if any((before.get(key) or None) != (after.get(key) or None) for key in _PLACING):
        return True
    return not covers(before.get("ray_actor_options"), after.get("ray_actor_options"))


def echo_problem(live: Mapping[str, Any] | None, put: Application) -> str | None:
    """Return what Ray kept otherwise than it was put, of what decides where and what runs; None: nothing."""
    if live is None:
        return None
    if (live.get("args") or {}) != put["args"] or live.get("import_path") != put["import_path"]:
        return "Ray keeps other arguments of the application than it was given"
    wanted = _first(put).get("ray_actor_options") or {}
    there = _first(live).get("ray_actor_options") or {}
    differing = sorted(key for key, value in wanted.items() if not covers(there.get(key), value))
    return f"Ray did not keep {', '.join(differing)} of the application" if differing else None


def misplaced(app: RayApp, raylets: Sequence[RayNode]) -> str | None:
    """Return on which wrong raylet a replica runs, in a sentence; None: all are where the application is pinned.

    A raylet that was not seen yet is no wrong one.
    """
    pin = (_first(app.config).get("ray_actor_options") or {}).get("label_selector") or {}
    known = {raylet.node_id: raylet for raylet in raylets}
    for node_id in app.node_ids:
        raylet = known.get(node_id)
        if raylet is None or pin.items() <= dict(raylet.labels).items():
            continue
        wanted = ",".join(f"{k}={v}" for k, v in sorted(pin.items()))
        labels = ",".join(f"{k}={v}" for k, v in sorted(raylet.labels.items()) if not k.startswith("ray.io/"))
        return f"{app.name} is pinned to {wanted}, and a replica runs on a raylet with the labels {labels or 'none'}"
    return None


def foreign_writer(apps: Mapping[str, RayApp], *, ours: frozenset[str]) -> str | None:
    """Return the mark of another operator that writes to the same Ray; None: there is none."""
    for _, app in sorted(apps.items()):
        if (app.config or {}).get("import_path") != names.IMPORT_PATH or app.status == "DELETING":
            continue
        owner = owner_of(app.config)
        if owner and owner not in ours:
            return owner
    return None
