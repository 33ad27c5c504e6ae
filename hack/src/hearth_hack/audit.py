"""The API server's audit log: what service accounts asked for, one JSON line per event, without any body.

Tests read it to know which rights are used (`tests/support/audit.py`). Its size is bounded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

_MEGABYTES = 50
_OLD_FILES = 4

# A watch answers for hours: its ResponseStarted is what tells of it in time.
POLICY: dict[str, Any] = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]},
        {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
        {"level": "None"},
    ],
}


def audit_flags(*, config: Path, log: Path) -> tuple[str, ...]:
    """Return the API server's flags; the policy is written into the folder `config`."""
    config.mkdir(parents=True, exist_ok=True)
    policy = config / "audit-policy.yaml"
    policy.write_text(yaml.safe_dump(POLICY, sort_keys=False))
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return (
        f"--audit-policy-file={policy}",
        f"--audit-log-path={log}",
        f"--audit-log-maxsize={_MEGABYTES}",
        f"--audit-log-maxbackup={_OLD_FILES}",
        "--audit-log-compress",
    )
