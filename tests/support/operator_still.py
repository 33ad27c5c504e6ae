"""An API server of one process, for passes without a network: objects in memory, every write counted."""

import copy
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from hearth_operator import names
from hearth_operator.clients.kubernetes import API_SERVER_UNREACHABLE
from hearth_operator.errors import InvalidSpecError, OperatorError, UnreachableError
from hearth_operator.reconcile.context import Context
from hearth_operator.reconcile.world import World
from hearth_operator.settings import Settings

NOW = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)


class StillKube:
    """Keeps objects by kind and name; `writes` lists what was written, `posted` the Events."""

    def __init__(self, objects: Iterable[dict[str, Any]] = ()) -> None:
        self.objects = {(o["kind"], o["metadata"]["name"]): copy.deepcopy(o) for o in objects}
        self.writes: list[tuple[str, str, str]] = []
        self.posted: list[dict[str, Any]] = []
        self.error: OperatorError | None = None
        self.refuses_status = self.refuses_events = False

    async def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return a copy, or raise `error`."""
        if self.error is not None:
            raise self.error
        return copy.deepcopy(self.objects.get((kind, name)))

    async def list_all(self, kind: str, labels: dict[str, str] | None = None) -> list[dict[str, Any]]:
        """Return copies of a kind's objects."""
        found = [o for (k, _), o in sorted(self.objects.items()) if k == kind]
        wanted = (labels or {}).items()
        return [copy.deepcopy(o) for o in found if wanted <= (o["metadata"].get("labels") or {}).items()]

    async def apply(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Put an object."""
        key = (manifest["kind"], manifest["metadata"]["name"])
        self.writes.append(("apply", *key))
        self.objects[key] = copy.deepcopy(manifest)
        return manifest

    async def apply_status(self, kind: str, name: str, status: dict[str, Any]) -> dict[str, Any] | None:
        """Replace a status."""
        if self.refuses_status:
            raise UnreachableError(API_SERVER_UNREACHABLE, "killed")
        self.writes.append(("status", kind, name))
        self.objects[(kind, name)]["status"] = copy.deepcopy(status)
        entry = {"manager": names.FIELD_MANAGER, "subresource": "status", "time": f"write {len(self.writes)}"}
        self.objects[(kind, name)]["metadata"]["managedFields"] = [entry]
        return copy.deepcopy(self.objects[(kind, name)])

    async def create(self, manifest: dict[str, Any]) -> bool:
        """Create once."""
        key = (manifest["kind"], manifest["metadata"]["name"])
        if key in self.objects:
            return False
        if manifest["kind"] == "Event":
            if self.refuses_events:
                raise InvalidSpecError("Refused", "403 exceeded quota")
            self.posted.append(manifest)
            self.objects[key] = manifest
            return True
        self.writes.append(("create", *key))
        self.objects[key] = copy.deepcopy(manifest)
        return True

    async def patch_entries(self, kind: str, name: str, data: dict[str, str | None]) -> None:
        """Set entries, or remove them."""
        self.writes.append(("patch", kind, name))
        entries = self.objects[(kind, name)].setdefault("data", {})
        entries |= {key: value for key, value in data.items() if value is not None}
        for key in [key for key, value in data.items() if value is None]:
            entries.pop(key, None)

    async def set_finalizers(self, obj: dict[str, Any], finalizers: list[str]) -> None:
        """Replace finalizers."""
        key = (obj["kind"], obj["metadata"]["name"])
        self.writes.append(("finalizers", *key))
        self.objects[key]["metadata"]["finalizers"] = list(finalizers)


def still_context(kube: Any, *, clock: Callable[[], float], **more: Any) -> Context:
    """Return a context around `kube`; what is not given must not be asked."""
    return Context(
        settings=more.pop("settings", None) or Settings(namespace="n", control_image="c", serve_image="s"),
        kube=kube,
        ray=more.pop("ray", None),
        model=more.pop("model", None),
        knowledge=more.pop("knowledge", None),
        now=lambda: NOW,
        clock=clock,
        random_bytes=bytes,
        world=more.pop("world", None) or World(),
        wake=more.pop("wake", lambda key, *, delay=0.0: None),
        **more,
    )
