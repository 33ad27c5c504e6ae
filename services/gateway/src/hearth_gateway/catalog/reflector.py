"""List and watch one collection, for ever. What was seen last stays known while the API server is away."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol

import structlog

from hearth_common.errors import HearthCommonError, KubeStatusError

log = structlog.get_logger()

GONE = 410
WATCH_SECONDS = 240
IDLE_SECONDS = 270.0
FIRST_DELAY = 0.2
LAST_DELAY = 5.0

Objects = Mapping[str, Mapping[str, Any]]


class ListWatch(Protocol):
    """The two calls a reflector needs; `KubeApi` has them."""

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        """GET a list."""
        ...

    def watch(self, path: str, params: Mapping[str, str], *, idle_seconds: float) -> AsyncIterator[dict[str, Any]]:
        """Yield watch events."""
        ...


class ExpiredError(Exception):
    """The resource version is too old to go on from: list again."""


class Reflector:
    """Mirrors a collection by name and calls `on_change` with all of it after each change."""

    def __init__(
        self,
        api: ListWatch,
        *,
        path: str,
        on_change: Callable[[Objects], None],
        field_selector: str | None = None,
        sleep: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        self._api = api
        self._path = path
        self._params = {} if field_selector is None else {"fieldSelector": field_selector}
        self._on_change = on_change
        self._sleep = sleep
        self._objects: dict[str, Mapping[str, Any]] = {}
        self._version: str | None = None
        self.synced = asyncio.Event()
        self.connected = False

    async def run(self) -> None:
        """Never returns, never raises but CancelledError."""
        delay = FIRST_DELAY
        while True:
            try:
                if self._version is None:
                    await self._list()
                await self._watch()
                delay = FIRST_DELAY
                await self._sleep(delay)  # a server that hangs up at once must not make this loop spin
            except ExpiredError:
                self._version = None
                delay = FIRST_DELAY
                await self._sleep(delay)
            except HearthCommonError as error:
                if self.connected or delay == FIRST_DELAY:
                    log.warning("catalog.disconnected", path=self._path, error=str(error), retry_s=delay)
                self.connected = False
                await self._sleep(delay)
                delay = min(LAST_DELAY, delay * 2)

    async def _list(self) -> None:
        answer = await self._api.get(self._path, self._params)
        items = [item for item in answer.get("items") or [] if isinstance(item, dict)]
        self._objects = {_name(item): item for item in items}
        self._version = str((answer.get("metadata") or {}).get("resourceVersion") or "")
        self._connected()
        self._on_change(self._objects)
        self.synced.set()

    async def _watch(self) -> None:
        params = {**self._params, "resourceVersion": self._version or "", "timeoutSeconds": str(WATCH_SECONDS)}
        try:
            async for event in self._api.watch(self._path, params, idle_seconds=IDLE_SECONDS):
                self._connected()
                self._take(event)
        except KubeStatusError as error:
            if error.status == GONE:
                raise ExpiredError from error
            raise
        self._connected()

    def _connected(self) -> None:
        if not self.connected:
            log.info("catalog.connected", path=self._path, objects=len(self._objects))
        self.connected = True

    def _take(self, event: Mapping[str, Any]) -> None:
        kind, item = event.get("type"), event.get("object")
        if not isinstance(item, dict):
            return
        if kind == "ERROR":
            # Mostly 410; whatever else it is, a fresh list is the way out.
            raise ExpiredError
        self._version = str((item.get("metadata") or {}).get("resourceVersion") or self._version)
        if kind == "BOOKMARK":
            return
        objects = dict(self._objects)
        if kind == "DELETED":
            objects.pop(_name(item), None)
        else:
            objects[_name(item)] = item
        self._objects = objects
        self._on_change(objects)


def _name(item: Mapping[str, Any]) -> str:
    return str((item.get("metadata") or {}).get("name") or "")
