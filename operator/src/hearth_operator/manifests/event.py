"""An Event of one transition, under a name that follows from it: told again, it is the same Event."""

import json
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

from hearth_api.conditions import Condition
from hearth_operator import names
from hearth_operator.manifests.base import Manifest

_LONGEST_NAME = 200
_MOST_CHARACTERS = 1000


def event_name(raw: Mapping[str, Any], condition: Condition) -> str:
    """Name the transition of an observed object to `condition`.

    What its status says and the moment of writing it tell a transition from the same one at another time; a change of
    the spec does not move them.
    """
    meta = raw["metadata"]
    written = [
        str(entry.get("time"))
        for entry in meta.get("managedFields") or ()
        if entry.get("manager") == names.FIELD_MANAGER and entry.get("subresource") == "status"
    ]
    before = json.dumps(raw.get("status"), sort_keys=True)
    said = (meta.get("uid"), condition.type, condition.status.value, condition.reason, before, *written)
    digest = sha256("\n".join(map(str, said)).encode()).hexdigest()
    return f"{meta['name'][:_LONGEST_NAME].rstrip('.-')}.{digest[:16]}"


def build_event(
    raw: Mapping[str, Any],
    condition: Condition,
    *,
    name: str,
    namespace: str,
    warning: bool,
    now: datetime,
    instance: str,
) -> Manifest:
    """Return the Event that tells of a condition. `instance` is the process that tells it."""
    meta, moment = raw["metadata"], now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": {
            "apiVersion": names.API_VERSION,
            "kind": raw["kind"],
            "namespace": namespace,
            "name": meta["name"],
            "uid": meta.get("uid"),
            "resourceVersion": meta.get("resourceVersion"),
        },
        "type": "Warning" if warning else "Normal",
        "reason": condition.reason,
        "message": f"{condition.type}: {condition.message}"[:_MOST_CHARACTERS],
        "action": condition.type,
        "reportingComponent": names.FIELD_MANAGER,
        "reportingInstance": instance[:128],
        "source": {"component": names.FIELD_MANAGER},
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
    }
