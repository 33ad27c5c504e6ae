"""Secrets that the operator makes once. None has an owner: they outlive the resource they serve."""

import base64
import json
from collections.abc import Mapping

from hearth_api.wire.keys import ApiKeyRecord
from hearth_operator import names
from hearth_operator.manifests.base import Manifest, metadata


def build_secret(
    name: str,
    entries: Mapping[str, str | bytes],
    *,
    namespace: str,
    component: str,
    labels: dict[str, str] | None = None,
) -> Manifest:
    """Return an Opaque Secret; text and bytes are encoded alike."""
    data = {
        key: base64.b64encode(value.encode() if isinstance(value, str) else value).decode()
        for key, value in sorted(entries.items())
    }
    own = labels or {
        "app.kubernetes.io/name": "hearth",
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/managed-by": "hearth-operator",
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(name, namespace=namespace, labels=own),
        "type": "Opaque",
        "data": data,
    }


def secret_entries(secret: Manifest | None) -> dict[str, bytes]:
    """Return the decoded entries of a Secret; an absent Secret has none."""
    data = (secret or {}).get("data") or {}
    return {key: base64.b64decode(value) for key, value in data.items()}


def secret_text(secret: Manifest | None, key: str) -> str | None:
    """Return one entry as text without surrounding space, or None."""
    value = secret_entries(secret).get(key)
    return value.decode(errors="replace").strip() if value is not None else None


def has_admin(secret: Manifest | None) -> bool:
    """Say whether any key record may administer. Entries that cannot be read count as none."""
    for value in secret_entries(secret).values():
        try:
            record = json.loads(value)
        except ValueError:
            continue
        if isinstance(record, dict) and "admin" in (record.get("scopes") or ()):
            return True
    return False


def key_entry(record: ApiKeyRecord) -> str:
    """Return a key record as the Secret holds it."""
    return json.dumps(record.to_json_object(), sort_keys=True)


def node_labels(node: str) -> dict[str, str]:
    """Return the labels of a node's Secrets."""
    return names.labels(names.NODE, node, component="node")
