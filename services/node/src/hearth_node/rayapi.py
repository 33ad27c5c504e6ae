"""What of Ray's API the front lets through: the calls of the operator, and no other.

Whoever may PUT an application runs its import path, so only this release's path is taken and no runtime environment.
Where Serve listens is this machine's affair: whatever a document says, it is the loopback, behind the front.
"""

import json
from typing import Any

from hearth_node.errors import RefusedError

APPLICATIONS = "/api/serve/applications/"
_IMPORT_PATH = "hearth_serve.app:build"
_OFFERED = frozenset({("GET", "/api/version"), ("GET", "/api/v0/nodes"), ("GET", APPLICATIONS), ("PUT", APPLICATIONS)})


def check_call(method: str, path: str) -> None:
    """Raise RefusedError for every call but the operator's."""
    if (method, path) not in _OFFERED:
        raise RefusedError(403, f"{method} of this path is not offered off this machine.", code="not_offered")


def confine(document: bytes, *, serve_port: int) -> bytes:
    """Return a Serve document with Serve on the loopback. Raises RefusedError for code that is not Hearth's."""
    try:
        parsed: Any = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, "The document is not JSON.", code="invalid_document") from error
    applications = parsed.get("applications") if isinstance(parsed, dict) else None
    if not isinstance(applications, list) or not all(isinstance(app, dict) for app in applications):
        raise RefusedError(400, "The document has no list of applications.", code="invalid_document")
    for app in applications:
        _check_application(app)
    parsed["http_options"] = {"host": "127.0.0.1", "port": serve_port}
    parsed.pop("grpc_options", None)
    return json.dumps(parsed).encode()


def _check_application(app: dict[str, Any]) -> None:
    name = str(app.get("name"))[:100]
    if app.get("import_path") != _IMPORT_PATH:
        raise RefusedError(
            403, f"Application {name}: only {_IMPORT_PATH} runs on this machine.", code="foreign_application"
        )
    deployments = app.get("deployments") or []
    parts = [app, *(d for d in deployments if isinstance(d, dict))] if isinstance(deployments, list) else [app]
    for part in parts:
        actor = part.get("ray_actor_options")
        if part.get("runtime_env") or (isinstance(actor, dict) and actor.get("runtime_env")):
            raise RefusedError(
                403, f"Application {name}: a runtime_env is not taken on this machine.", code="foreign_application"
            )
