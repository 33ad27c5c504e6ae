"""Where the gateway learns what exists: the cluster, or memory in tests."""

import asyncio
import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import structlog

from hearth_api.names import API_VERSION
from hearth_api.wire.keys import ApiKeyRecord
from hearth_common.errors import KubeStatusError, KubeUnreachableError
from hearth_common.kube import KubeApi
from hearth_gateway.catalog.model import Catalog, fold
from hearth_gateway.catalog.reflector import Objects, Reflector
from hearth_gateway.errors import UnavailableError

log = structlog.get_logger()

KINDS_PATH = f"/apis/{API_VERSION}/namespaces"


class CatalogSource(Protocol):
    """Everything the gateway knows of the cluster."""

    @property
    def catalog(self) -> Catalog:
        """The last known catalog."""
        ...

    @property
    def keys(self) -> Mapping[str, ApiKeyRecord]:
        """API keys by public id."""
        ...

    @property
    def synced(self) -> bool:
        """Whether everything was seen at least once."""
        ...

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Call `callback` after each change of the catalog."""
        ...

    async def secret(self, name: str) -> Mapping[str, bytes]:
        """Read a node's Secret. UnavailableError where it cannot be read."""
        ...


class MemoryCatalog:
    """A catalog that tests and benchmarks set."""

    def __init__(self, catalog: Catalog | None = None, *, keys: Mapping[str, ApiKeyRecord] | None = None) -> None:
        self.catalog = catalog or Catalog()
        self.keys: Mapping[str, ApiKeyRecord] = keys or {}
        self.secrets: dict[str, dict[str, bytes]] = {}
        self.secret_reads = 0
        self.synced = True
        self._callbacks: list[Callable[[], None]] = []

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Remember the callback."""
        self._callbacks.append(callback)

    def set_catalog(self, catalog: Catalog) -> None:
        """Replace the catalog and tell subscribers."""
        self.catalog = catalog
        for callback in self._callbacks:
            callback()

    async def secret(self, name: str) -> Mapping[str, bytes]:
        """Return a Secret that the test put there."""
        self.secret_reads += 1
        if name not in self.secrets:
            raise UnavailableError(f"The Secret {name} does not exist.", retry_after=5)
        return self.secrets[name]


class KubeCatalog:
    """Watches the four kinds and the Secret of API keys of one namespace.

    Requests need models, knowledge bases and keys. Nodes and sources are told of in the status: nothing waits.
    """

    def __init__(self, api: KubeApi, *, namespace: str, keys_secret: str) -> None:
        self._api = api
        self._secrets = f"/api/v1/namespaces/{namespace}/secrets"
        self._keys_secret = keys_secret
        self._deployments: Objects = {}
        self._bases: Objects = {}
        self._nodes: Objects = {}
        self._sources: Objects = {}
        self._callbacks: list[Callable[[], None]] = []
        self.catalog = Catalog()
        self.keys: Mapping[str, ApiKeyRecord] = {}
        kinds = f"{KINDS_PATH}/{namespace}"
        self._beside = (
            Reflector(api, path=f"{kinds}/inferencenodes", on_change=self._take_nodes),
            Reflector(api, path=f"{kinds}/ingestionsources", on_change=self._take_sources),
        )
        self._reflectors = (
            Reflector(api, path=f"{kinds}/modeldeployments", on_change=self._take_deployments),
            Reflector(api, path=f"{kinds}/knowledgebases", on_change=self._take_bases),
            Reflector(
                api,
                path=self._secrets,
                on_change=self._take_keys,
                # The Role names this one Secret; the API server admits list and watch only with this selector.
                field_selector=f"metadata.name={keys_secret}",
            ),
        )

    @property
    def synced(self) -> bool:
        """Whether all that requests need was listed once."""
        return all(reflector.synced.is_set() for reflector in self._reflectors)

    @property
    def connected(self) -> bool:
        """Whether all that requests need is watched now."""
        return all(reflector.connected for reflector in self._reflectors)

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Call `callback` after each change of the catalog."""
        self._callbacks.append(callback)

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            for reflector in (*self._reflectors, *self._beside):
                group.create_task(reflector.run())

    async def secret(self, name: str) -> Mapping[str, bytes]:
        """GET one Secret."""
        try:
            found = await self._api.get(f"{self._secrets}/{name}")
        except (KubeStatusError, KubeUnreachableError) as error:
            log.warning("secret.unreadable", name=name, error=str(error))
            raise UnavailableError(f"The Secret {name} of the model's node cannot be read.", retry_after=5) from error
        return decode_secret(found)

    def _take_deployments(self, objects: Objects) -> None:
        self._deployments = objects
        self._fold()

    def _take_bases(self, objects: Objects) -> None:
        self._bases = objects
        self._fold()

    def _take_nodes(self, objects: Objects) -> None:
        self._nodes = objects
        self._fold()

    def _take_sources(self, objects: Objects) -> None:
        self._sources = objects
        self._fold()

    def _fold(self) -> None:
        self.catalog = fold(
            self._deployments.values(),
            self._bases.values(),
            nodes=self._nodes.values(),
            sources=self._sources.values(),
        )
        for callback in self._callbacks:
            callback()

    def _take_keys(self, objects: Objects) -> None:
        self.keys = read_keys(decode_secret(objects.get(self._keys_secret, {})))


def decode_secret(secret: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the entries of a Secret; an entry that is not base64 is left out."""
    entries: dict[str, bytes] = {}
    for name, value in (secret.get("data") or {}).items():
        try:
            entries[name] = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError, TypeError):
            log.warning("secret.entry_broken", entry=name)
    return entries


def read_keys(entries: Mapping[str, bytes]) -> dict[str, ApiKeyRecord]:
    """Parse key records. A broken one is reported by its public id and grants nothing."""
    keys: dict[str, ApiKeyRecord] = {}
    for name, value in entries.items():
        try:
            record = ApiKeyRecord.model_validate_json(value)
        except ValueError:
            log.warning("keys.record_broken", id=name)
            continue
        if record.id == name:
            keys[name] = record
        else:
            log.warning("keys.record_broken", id=name)
    return keys
