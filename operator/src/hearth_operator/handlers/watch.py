"""kopf's watches, turned into keys. Nothing is decided here, and kopf writes nothing.

kopf runs in a thread and loop of its own; what it sees is handed to the operator's loop.
"""

import asyncio
import contextvars
from collections.abc import Mapping
from typing import Any, cast

import kopf

from hearth_operator import names
from hearth_operator.clients.kubernetes import RESOURCES
from hearth_operator.reconcile.context import ENDPOINT, RELEASE, Context
from hearth_operator.reconcile.queue import Key

CHILDREN = ("Deployment", "CronJob", "Job", "Pod", "Secret")
# An API server that was away is asked again within 5 s of its return, however long it was. One that answers with
# errors, or refuses, for longer than a minute ends the process: the next one waits for the kinds to be served.
_BACKOFFS = (1.0, 2.0, 3.0, *(5.0,) * 12)


class KopfEvents:
    """Posts Events through kopf, which knows how only inside one of its handlers' contexts."""

    def __init__(self) -> None:
        self._context: contextvars.Context | None = None

    def capture(self) -> None:
        """Remember the context of the handler that runs now."""
        if self._context is None:
            self._context = contextvars.copy_context()

    def emit(self, obj: dict[str, Any], *, warning: bool, reason: str, message: str) -> None:
        """Tell of one transition."""
        if self._context is not None:
            type_ = "Warning" if warning else "Normal"
            self._context.run(kopf.event, cast("kopf.Body", obj), type=type_, reason=reason, message=message)


class Watcher:
    """Knows which change concerns which keys."""

    def __init__(self, ctx: Context, events: KopfEvents, *, loop: asyncio.AbstractEventLoop) -> None:
        self._ctx = ctx
        self._events = events
        self._loop = loop
        self._seen: dict[Key, object] = {}

    def register(self, registry: kopf.OperatorRegistry) -> None:
        """Add one handler per watched kind."""
        for kind in names.KINDS:
            place = RESOURCES[kind]
            kopf.on.event(place.group, place.version, place.plural, registry=registry, id=f"own-{place.plural}")(
                self._own
            )
        for kind in CHILDREN:
            place = RESOURCES[kind]
            kopf.on.event(
                place.group,
                place.version,
                place.plural,
                registry=registry,
                id=f"child-{place.plural}",
                labels={"app.kubernetes.io/managed-by": "hearth-operator"},
            )(self._child)

    async def _own(self, event: Mapping[str, Any], **_: Any) -> None:
        self._events.capture()
        self._loop.call_soon_threadsafe(self.see_own, event["type"], event["object"])

    async def _child(self, event: Mapping[str, Any], **_: Any) -> None:
        self._events.capture()
        self._loop.call_soon_threadsafe(self.see_child, event["object"])

    def see_own(self, type_: str | None, obj: Mapping[str, Any]) -> None:
        """One of our resources is there, changed, or is gone."""
        key = Key(str(obj["kind"]), str(obj["metadata"]["name"]))
        known = self._ctx.world.known.setdefault(key.kind, set())
        if type_ == "DELETED":
            known.discard(key.name)
            self._seen.pop(key, None)
            self._ctx.wake(key, urgent=True)
            self._wake_dependents(key.kind)
            return
        known.add(key.name)
        wish = _wish(obj)
        if self._seen.get(key) != wish:
            self._seen[key] = wish
            self._ctx.wake(key, urgent=True)
            self._wake_dependents(key.kind)
        elif key.kind == names.MODEL:
            self._ctx.wake_all(names.KNOWLEDGE_BASE)
        elif key.kind == names.KNOWLEDGE_BASE:
            self._ctx.wake_all(names.SOURCE)

    def _wake_dependents(self, kind: str) -> None:
        ctx = self._ctx
        if kind in {names.NODE, names.MODEL}:
            ctx.glance.forget()
            ctx.world.make_dirty()
            for url in ctx.world.endpoints:
                ctx.wake(Key(ENDPOINT, url))
            ctx.wake_all(names.MODEL)
            ctx.wake_all(names.NODE)
        if kind == names.NODE:
            ctx.wake(Key(RELEASE, ""))
        if kind == names.MODEL:
            ctx.wake_all(names.KNOWLEDGE_BASE)
        if kind == names.KNOWLEDGE_BASE:
            ctx.wake_all(names.SOURCE)

    def see_child(self, obj: Mapping[str, Any]) -> None:
        """An object that the operator made changed, or is gone."""
        labels = obj["metadata"].get("labels") or {}
        kind, name = labels.get(names.LABEL_KIND), labels.get(names.LABEL_NAME)
        if kind in names.KINDS and name:
            self._ctx.wake(Key(kind, name))
        elif obj.get("kind") == "Secret":
            self._ctx.wake(Key(RELEASE, ""))


def _wish(obj: Mapping[str, Any]) -> object:
    """Return what of a resource somebody else decides: a change of only the status is our own writing."""
    meta = obj["metadata"]
    return (
        meta.get("uid"),
        meta.get("generation"),
        meta.get("deletionTimestamp"),
        tuple(sorted((meta.get("labels") or {}).items())),
        *((meta.get("annotations") or {}).get(asked) for asked in (names.ANNOTATION_RUN_NOW, names.ANNOTATION_RESTART)),
        tuple(meta.get("finalizers") or ()),
    )


def kopf_settings() -> kopf.OperatorSettings:
    """Return settings under which kopf only watches and posts Events."""
    settings = kopf.OperatorSettings()
    settings.persistence.finalizer = f"{names.GROUP}/kopf"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=names.GROUP)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=names.GROUP)
    settings.posting.loggers = False
    settings.scanning.disabled = True  # one look at start; watching CustomResourceDefinitions needs a cluster role
    settings.peering.standalone = True
    settings.watching.server_timeout = 600
    settings.watching.client_timeout = 660
    settings.watching.connect_timeout = 30
    settings.networking.request_timeout = 60
    settings.networking.error_backoffs = _BACKOFFS
    # A worker of kopf stays with its object for seconds after the last event: with a limit, other objects wait unseen.
    settings.queueing.worker_limit = None
    return settings
