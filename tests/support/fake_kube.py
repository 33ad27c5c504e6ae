"""The API server in memory, as far as the writer to Ray needs it."""

import copy
from collections.abc import Mapping
from typing import Any

from hearth_api.kinds.base import Resource
from hearth_operator.errors import InvalidSpecError, UnreachableError


def as_stored(resource: Resource) -> dict[str, Any]:
    """Return a resource as the API server gives it."""
    found: dict[str, Any] = resource.model_dump(mode="json", by_alias=True, exclude_none=True)
    found["metadata"].setdefault("resourceVersion", "1")
    return found


class FakeKube:
    """KubernetesApi over a dictionary. `down` makes every call fail; `writes` lists what was written."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.down = False
        self.writes: list[tuple[str, str, str]] = []
        self.refuses: set[str] = set()
        """Kinds that may not be written: a quota."""
        self.hidden: set[str] = set()
        """Names that lists leave out although the objects exist."""

    def put(self, *resources: Resource) -> None:
        """Somebody applies resources."""
        for resource in resources:
            found = as_stored(resource)
            self.objects[found["kind"], found["metadata"]["name"]] = found

    def drop(self, kind: str, name: str) -> None:
        """Somebody deletes one."""
        del self.objects[kind, name]

    def _reach(self) -> None:
        if self.down:
            raise UnreachableError("ApiServerUnreachable", "away")

    async def get(self, kind: str, name: str) -> dict[str, Any] | None:
        self._reach()
        return copy.deepcopy(self.objects.get((kind, name)))

    async def list_all(self, kind: str, *, labels: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
        self._reach()
        found = [o for (k, n), o in sorted(self.objects.items()) if k == kind and n not in self.hidden]
        return copy.deepcopy(found)

    async def create(self, manifest: dict[str, Any]) -> bool:
        self._reach()
        if manifest["kind"] in self.refuses:
            raise InvalidSpecError("Refused", "403 exceeded quota")
        key = (manifest["kind"], manifest["metadata"]["name"])
        if key in self.objects:
            return False
        self.objects[key] = copy.deepcopy(manifest)
        self.writes.append(("create", *key))
        return True

    async def patch_entries(self, kind: str, name: str, data: Mapping[str, str]) -> None:
        self._reach()
        if (kind, name) not in self.objects:
            raise InvalidSpecError("Refused", f"{kind} {name}: 404")
        self.objects[kind, name].setdefault("data", {}).update(data)
        self.writes.append(("patch", kind, name))


class FakeRay:
    """RayApi that keeps what is put, as Ray does, with knobs for what happens then."""

    def __init__(self) -> None:
        from hearth_operator.facts import RayNode

        self.version_text = "2.60.0"
        self.raylets = (RayNode("n1", alive=True, labels={"hearth-node": "home"}, cpus=4.0, memory=0),)
        self.apps: dict[str, dict[str, Any]] = {}
        self.puts: list[dict[str, Any]] = []
        self.failing: dict[str, str] = {}
        """Value of args.model.source -> message of its DEPLOY_FAILED."""
        self.stuck: set[str] = set()
        """Sources that stay DEPLOYING."""
        self.refusing: set[str] = set()
        """Sources with which a document is answered 400, unless it was taken before."""
        self.old: dict[str, str] = {}
        """Application -> source of the replica that still runs while the new one does not."""
        self.node_ids: tuple[str, ...] = ("n1",)
        self.pids: dict[str, int] = {}
        self.error: Exception | None = None
        self.forgets: tuple[str, ...] = ()
        """Actor options that an old Ray does not know and drops."""
        self._pid = 0
        self._taken: set[str] = set()
        """Sources that it took once: Ray does not change its mind."""

    async def version(self) -> str:
        return self.version_text

    async def nodes(self) -> Any:
        return self.raylets

    async def applications(self, *, timeout: float) -> Any:
        from hearth_operator.facts import RayApp

        if self.error is not None:
            raise self.error
        found = {}
        for name, config in self.apps.items():
            source = config["args"]["model"]["source"] if "model" in config.get("args", {}) else ""
            status, message = "RUNNING", ""
            if source in self.failing:
                status, message = "DEPLOY_FAILED", self.failing[source]
            elif source in self.stuck:
                status = "DEPLOYING"
            runs = status == "RUNNING" or name in self.old
            found[name] = RayApp(
                name=name,
                status=status,
                message=message,
                replicas=(f"{name}#{self.pids[name]}",) if runs else (),
                node_ids=self.node_ids if runs else (),
                config=copy.deepcopy(config),
            )
        return found

    async def put_applications(self, document: dict[str, Any], *, first: bool = False) -> None:
        from hearth_operator.clients.http import HttpStatusError

        self.puts.append(copy.deepcopy(document))
        new = {app["name"]: app for app in document["applications"]}
        for app in new.values():
            if app.get("args", {}).get("model", {}).get("source") in self.refusing - self._taken:
                raise HttpStatusError(method="PUT", url="http://ray", status=400, text="1 validation error")
        self._taken |= {a["args"]["model"]["source"] for a in new.values() if "model" in a.get("args", {})}
        for name, config in new.items():
            self._roll(name, self.apps.get(name), config)
        for name in self.apps.keys() - new.keys():
            self.old.pop(name, None)
        self.apps = copy.deepcopy(new)
        for app in self.apps.values():
            for option in self.forgets:
                app["deployments"][0]["ray_actor_options"].pop(option, None)

    def _roll(self, name: str, before: dict[str, Any] | None, config: dict[str, Any]) -> None:
        source = config.get("args", {}).get("model", {}).get("source", "")
        if before is not None and before.get("args") == config.get("args"):
            return
        surges = config["deployments"][0].get("max_surge_percent", 0) > 0 if config.get("deployments") else False
        if name in self.old and self.old[name] == source:
            self.old.pop(name)  # the old replica is the wanted one again: nothing restarts
            return
        if surges and before is not None and (source in self.failing or source in self.stuck):
            self.old.setdefault(name, before["args"]["model"]["source"])
            return
        self.old.pop(name, None)
        self._pid += 1
        self.pids[name] = self._pid
