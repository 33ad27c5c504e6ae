"""The API server: reads, server-side apply, and the few writes that are not one.

404 is None, 409 is ConflictError, a body that the server refuses is InvalidSpecError, everything that says nothing
about the object is UnreachableError.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

import aiohttp
from kubernetes.aio import client as k8s
from kubernetes.aio import config as k8s_config

from hearth_operator import names
from hearth_operator.errors import ConflictError, InvalidSpecError, UnreachableError

Object = dict[str, Any]
API_SERVER_UNREACHABLE = "ApiServerUnreachable"
_TIMEOUT_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Resource:
    """Where objects of a kind live."""

    group: str
    version: str
    plural: str

    def path(self, namespace: str, name: str | None = None) -> str:
        """Return the URL path of one object or of the collection."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        path = f"{root}/namespaces/{quote(namespace)}/{self.plural}"
        return f"{path}/{quote(name)}" if name is not None else path


RESOURCES: dict[str, Resource] = {
    names.NODE: Resource(names.GROUP, names.VERSION, "inferencenodes"),
    names.MODEL: Resource(names.GROUP, names.VERSION, "modeldeployments"),
    names.KNOWLEDGE_BASE: Resource(names.GROUP, names.VERSION, "knowledgebases"),
    names.SOURCE: Resource(names.GROUP, names.VERSION, "ingestionsources"),
    "Secret": Resource("", "v1", "secrets"),
    "ConfigMap": Resource("", "v1", "configmaps"),
    "Service": Resource("", "v1", "services"),
    "ServiceAccount": Resource("", "v1", "serviceaccounts"),
    "PersistentVolumeClaim": Resource("", "v1", "persistentvolumeclaims"),
    "Event": Resource("", "v1", "events"),
    "Pod": Resource("", "v1", "pods"),
    "Deployment": Resource("apps", "v1", "deployments"),
    "CronJob": Resource("batch", "v1", "cronjobs"),
    "Job": Resource("batch", "v1", "jobs"),
    "Role": Resource("rbac.authorization.k8s.io", "v1", "roles"),
    "RoleBinding": Resource("rbac.authorization.k8s.io", "v1", "rolebindings"),
}


class KubernetesApi(Protocol):
    """What the reconcilers need of the API server. All names are in the operator's namespace."""

    async def get(self, kind: str, name: str) -> Object | None:
        """Return the object, or None."""

    async def list_all(self, kind: str, *, labels: Mapping[str, str] | None = None) -> list[Object]:
        """Return all objects of a kind, sorted by name."""

    async def apply(self, manifest: Object) -> Object:
        """Apply server-side as `hearth-operator`; return the object as it is now."""

    async def apply_status(self, kind: str, name: str, status: Object) -> Object | None:
        """Replace what we own of the status; None when the object is gone."""

    async def create(self, manifest: Object) -> bool:
        """Create; False when the name is taken already."""

    async def set_finalizers(self, obj: Object, finalizers: list[str]) -> None:
        """Replace the finalizers, unless somebody wrote in between (ConflictError)."""

    async def patch_entries(self, kind: str, name: str, data: Mapping[str, str | None]) -> None:
        """Set entries of a Secret's or ConfigMap's data, or remove those that are None; the others stay."""


class KubernetesClient:
    """KubernetesApi over HTTP."""

    def __init__(self, api: k8s.ApiClient, *, namespace: str) -> None:
        self._api = api
        self._namespace = namespace

    async def get(self, kind: str, name: str) -> Object | None:
        """Return the object, or None."""
        return await self._request("GET", RESOURCES[kind].path(self._namespace, name), missing_ok=True)

    async def list_all(self, kind: str, *, labels: Mapping[str, str] | None = None) -> list[Object]:
        """Return all objects of a kind, sorted by name."""
        query = [("labelSelector", ",".join(f"{k}={v}" for k, v in labels.items()))] if labels else []
        answer = await self._request("GET", RESOURCES[kind].path(self._namespace), query=query)
        place = RESOURCES[kind]
        version = f"{place.group}/{place.version}" if place.group else place.version
        # Items of a list do not say what they are.
        items = [{**item, "apiVersion": version, "kind": kind} for item in (answer or {}).get("items") or []]
        return sorted(items, key=lambda item: str(item["metadata"]["name"]))

    async def apply(self, manifest: Object) -> Object:
        """Apply server-side as `hearth-operator`; return the object as it is now."""
        path = RESOURCES[manifest["kind"]].path(self._namespace, manifest["metadata"]["name"])
        answer = await self._request(
            "PATCH", path, body=manifest, content_type="application/apply-patch+yaml", query=_APPLY
        )
        return answer or {}

    async def apply_status(self, kind: str, name: str, status: Object) -> Object | None:
        """Replace what we own of the status; None when the object is gone."""
        path = f"{RESOURCES[kind].path(self._namespace, name)}/status"
        body = {"apiVersion": names.API_VERSION, "kind": kind, "metadata": {"name": name}, "status": status}
        return await self._request(
            "PATCH", path, body=body, content_type="application/apply-patch+yaml", query=_APPLY, missing_ok=True
        )

    async def create(self, manifest: Object) -> bool:
        """Create; False when the name is taken already."""
        query = [("fieldManager", names.FIELD_MANAGER)]
        try:
            await self._request("POST", RESOURCES[manifest["kind"]].path(self._namespace), body=manifest, query=query)
        except ConflictError:
            return False
        return True

    async def set_finalizers(self, obj: Object, finalizers: list[str]) -> None:
        """Replace the finalizers, unless somebody wrote in between (ConflictError)."""
        meta = obj["metadata"]
        body = {"metadata": {"finalizers": finalizers, "resourceVersion": meta["resourceVersion"]}}
        await self._request(
            "PATCH",
            RESOURCES[obj["kind"]].path(self._namespace, meta["name"]),
            body=body,
            content_type="application/merge-patch+json",
            query=[("fieldManager", names.FIELD_MANAGER)],
            missing_ok=True,
        )

    async def patch_entries(self, kind: str, name: str, data: Mapping[str, str | None]) -> None:
        """Set entries of a Secret's or ConfigMap's data, or remove those that are None; the others stay."""
        await self._request(
            "PATCH",
            RESOURCES[kind].path(self._namespace, name),
            body={"data": dict(data)},
            content_type="application/merge-patch+json",
            query=[("fieldManager", names.FIELD_MANAGER)],
        )

    async def _request(
        self,
        method: str,
        path: str,
        *,
        body: Object | None = None,
        content_type: str = "application/json",
        query: list[tuple[str, str]] | None = None,
        missing_ok: bool = False,
    ) -> Object | None:
        headers = {"Accept": "application/json", "Content-Type": content_type}
        try:
            request = await self._api.param_serialize(
                method, path, query_params=query or [], header_params=headers, body=body, auth_settings=["BearerToken"]
            )
            answer = await self._api.call_api(*request, _request_timeout=_TIMEOUT_SECONDS)
            raw = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(API_SERVER_UNREACHABLE, f"{type(error).__name__}: {error}") from error
        if 200 <= answer.status < 300:
            result: Object = json.loads(raw)
            return result
        if answer.status == 404 and missing_ok and _names_an_object(raw):
            return None
        raise _refusal(method, path, answer.status, raw)


_APPLY = [("fieldManager", names.FIELD_MANAGER), ("force", "true")]


def _names_an_object(raw: bytes) -> bool:
    """Whether a 404 is of an object: a server that does not serve the kind (yet) does not say that it is gone."""
    try:
        return bool((json.loads(raw).get("details") or {}).get("name"))
    except (ValueError, AttributeError):
        return False


def _refusal(method: str, path: str, status: int, raw: bytes) -> Exception:
    try:
        message = str(json.loads(raw).get("message", ""))
    except (ValueError, AttributeError):
        message = raw[:300].decode(errors="replace")
    text = f"{method} {path}: {status} {message}"
    if status == 409:
        return ConflictError("Conflict", text)
    # A right that lacks is nothing about the object; a server that has just started does not know the roles yet.
    if status == 403 and 'User "' in message and '" cannot ' in message:
        return UnreachableError("Refused", text)
    if status == 404 and not _names_an_object(raw):
        return UnreachableError(API_SERVER_UNREACHABLE, text)
    # 500 "failed to create typed patch object" is an undeclared field: asking again does not help.
    if status in {400, 403, 404, 422} or "typed patch object" in message:
        return InvalidSpecError("Refused", text)
    return UnreachableError(API_SERVER_UNREACHABLE, text)


async def connect(*, namespace: str, kubeconfig: str | None) -> tuple[KubernetesClient, k8s.ApiClient]:
    """Return a client from a kubeconfig file, or from the pod's own account; close the second when done."""
    configuration = k8s.Configuration()
    if kubeconfig:
        await k8s_config.load_kube_config(config_file=kubeconfig, client_configuration=configuration)
    else:
        k8s_config.load_incluster_config(client_configuration=configuration)
    api = k8s.ApiClient(configuration)
    return KubernetesClient(api, namespace=namespace), api
