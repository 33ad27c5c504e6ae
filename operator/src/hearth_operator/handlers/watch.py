"""kopf's watches, turned into keys. Nothing is decided here, and kopf writes nothing.

kopf runs in a thread and loop of its own; what it sees is handed to the operator's loop.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

import kopf

from hearth_api.parse import ParseError, parse_observed
from hearth_operator import names
from hearth_operator.clients.kubernetes import RESOURCES
from hearth_operator.reconcile.context import RELEASE, Context
from hearth_operator.reconcile.observe import note_change
from hearth_operator.reconcile.queue import Key

CHILDREN = ("Deployment", "CronJob", "Job", "Pod", "Secret")
_ANNOTATIONS = (names.ANNOTATION_RUN_NOW, names.ANNOTATION_RESTART, names.ANNOTATION_TAKE_OVER, names.ANNOTATION_WAKE)
_USES = {
    names.KNOWLEDGE_BASE: (("embedding", "model"), ("rerank", "model")),
    names.SOURCE: (("knowledgeBaseRef", "name"),),
}
"""Where in its spec a resource names those that it needs."""
# An API server that was away is asked again within 5 s of its return, however long it was. One that answers with
# errors, or refuses, for longer than a minute ends the process: the next one waits for the kinds to be served.
_BACKOFFS = (1.0, 2.0, 3.0, *(5.0,) * 12)


class Watcher:
    """Knows which change concerns which keys."""

    def __init__(self, ctx: Context, *, loop: asyncio.AbstractEventLoop) -> None:
        self._ctx = ctx
        self._loop = loop
        self._seen: dict[Key, _Wish] = {}

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
        self._loop.call_soon_threadsafe(self.see_own, event["type"], event["object"])

    async def _child(self, event: Mapping[str, Any], **_: Any) -> None:
        self._loop.call_soon_threadsafe(self.see_child, event["object"])

    def see_own(self, type_: str | None, obj: Mapping[str, Any]) -> None:
        """One of our resources is there, changed, or is gone."""
        key = Key(str(obj["kind"]), str(obj["metadata"]["name"]))
        known = self._ctx.world.known.setdefault(key.kind, set())
        if type_ == "DELETED":
            known.discard(key.name)
            self._seen.pop(key, None)
            self._ctx.world.uses.pop(key, None)
            self._ctx.wake(key, urgent=True)
            self._wake_others(key, None)
            return
        known.add(key.name)
        wish, before = _wish(obj), self._seen.get(key)
        if before == wish:
            return  # only the status changed: who wrote it woke whom that concerns
        self._seen[key] = wish
        self._note_use(key, obj)
        self._ctx.wake(key, urgent=True)
        if before is None or before.asked != wish.asked:
            self._wake_others(key, obj)

    def _note_use(self, key: Key, obj: Mapping[str, Any]) -> None:
        """Remember which models a knowledge base names, and which knowledge base a source."""
        spec = obj.get("spec")
        sections = spec if isinstance(spec, Mapping) else {}
        found = frozenset(
            name
            for section, field in _USES.get(key.kind, ())
            if isinstance(named := sections.get(section), Mapping) and isinstance(name := named.get(field), str)
        )
        self._ctx.world.uses.pop(key, None)
        if found:
            self._ctx.world.uses[key] = found

    def _wake_others(self, key: Key, obj: Mapping[str, Any] | None) -> None:
        """Wake whom a change of one resource concerns. `obj` is None where it is gone."""
        ctx = self._ctx
        if key.kind in {names.NODE, names.MODEL}:
            try:
                note_change(ctx, key.kind, key.name, parse_observed(dict(obj)) if obj is not None else None)
            except ParseError:
                ctx.glance.forget()  # the next who asks lists, and finds what cannot be read
            ctx.wake_fleet()
        if key.kind == names.NODE:
            ctx.wake(Key(RELEASE, ""))
        ctx.wake_users(key.kind, key.name)

    def see_child(self, obj: Mapping[str, Any]) -> None:
        """An object that the operator made changed, or is gone."""
        labels = obj["metadata"].get("labels") or {}
        kind, name = labels.get(names.LABEL_KIND), labels.get(names.LABEL_NAME)
        if kind in names.KINDS and name:
            self._ctx.wake(Key(kind, name))
        elif obj.get("kind") == "Secret":
            self._ctx.wake(Key(RELEASE, ""))


class _Wish(NamedTuple):
    """What of a resource somebody else decides: a change of only the status is our own writing."""

    asked: tuple[object, ...]
    finalizers: tuple[str, ...]
    """They concern nobody but the resource itself."""


def _wish(obj: Mapping[str, Any]) -> _Wish:
    meta = obj["metadata"]
    annotations = meta.get("annotations") or {}
    asked = (
        meta.get("uid"),
        meta.get("generation"),
        meta.get("deletionTimestamp"),
        tuple(sorted((meta.get("labels") or {}).items())),
        *(annotations.get(name) for name in _ANNOTATIONS),
    )
    return _Wish(asked=asked, finalizers=tuple(meta.get("finalizers") or ()))


def kopf_settings() -> kopf.OperatorSettings:
    """Return settings under which kopf only watches."""
    settings = kopf.OperatorSettings()
    settings.persistence.finalizer = f"{names.GROUP}/kopf"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=names.GROUP)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=names.GROUP)
    settings.posting.enabled = False
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
