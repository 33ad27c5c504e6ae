"""What would fit instead, each tried with the same arithmetic as the plan: never a promise that it does not keep.

Nothing is done by itself. Who is named as able to yield was not asked to.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from hearth_api.kinds.memory import MemorySource
from hearth_api.kinds.model import Variant
from hearth_api.wire.serve import CacheType, Engine
from hearth_operator.errors import InvalidSpecError
from hearth_operator.plan.fit.need import need_of
from hearth_operator.plan.request import Request
from hearth_operator.plan.room import Room, Tenant
from hearth_operator.plan.serve_document import resolve_source

_STEP = 256
_SMALLEST_CONTEXT = 512
_MOST_NODES = 3
_MOST_CHARACTERS = 1500


class Advice:
    """Looks for alternatives in a plan that is done."""

    def __init__(
        self,
        requests: Mapping[str, Request],
        rooms: Mapping[str, Room],
        *,
        fits_without: Callable[[str, frozenset[str]], bool],
    ) -> None:
        self._requests = requests
        self._rooms = rooms
        self._fits_without = fits_without

    def sentence(self, app: str, *, fitting: set[str]) -> str:
        """Return `. It would fit ...`, or that nothing was found."""
        found = list(self.alternatives(app, fitting=fitting))
        if not found:
            return ". Nothing smaller that fits was found"
        text = f". It would fit {found[0]}"
        for other in found[1:]:
            if len(text) + len(other) > _MOST_CHARACTERS:
                break
            text += f"; {other}"
        return text

    def alternatives(self, app: str, *, fitting: set[str]) -> Iterator[str]:
        """Yield what would fit, the least change first."""
        request = self._requests[app]
        for name in sorted(request.candidates):
            room = self._rooms[name]
            for changed in smaller(request, room):
                yield f"on {name} with {_changes(request.variant, changed)}"
        if request.variant.node.name is not None:
            yield from self._elsewhere(request)
        for sibling in request.model.spec.variants:
            other = next((r for r in self._requests.values() if _is(r, request, sibling)), None)
            if other is not None and other.app in fitting and other.app != app:
                yield f"as variant {sibling.name}, which has room"
        for name in sorted(request.candidates):
            yielding = who_would_yield(request, self._rooms[name])
            # Somebody else may be before it in line for that room.
            if yielding and self._fits_without(app, frozenset(t.app for t in yielding)):
                named = ", ".join(f"{t.app} (priority {t.priority})" for t in yielding)
                yield f"on {name} if {named} made room: suspend or move it"

    def _elsewhere(self, request: Request) -> Iterator[str]:
        found = 0
        for name, room in sorted(self._rooms.items()):
            if name in request.candidates or found == _MOST_NODES or room.node.spec.suspend:
                continue
            if room.node.spec.accelerator.type is not self._rooms[request.candidates[0]].node.spec.accelerator.type:
                continue
            try:
                resolve_source(request.variant, room.node)
            except InvalidSpecError:
                continue
            if room.lacks(request.takes(room.node)) is None:
                found += 1
                where = "" if request.variant.model.source.startswith("package://") else ", if its file is there"
                yield f"on InferenceNode {name}{where}"


def _is(candidate: Request, request: Request, variant: Variant) -> bool:
    same_model = candidate.model.metadata.name == request.model.metadata.name
    return same_model and candidate.variant.name == variant.name


def smaller(request: Request, room: Room) -> Iterator[Variant]:
    """Yield variants that fit: with fewer tokens, fewer at once, a quantized cache, or else all of that."""
    if request.need(room.node).source is MemorySource.DECLARED:
        return  # whoever set the figure has to change it
    variant, found = request.variant, False
    context = variant.context
    singles = [
        _largest_context(request, room, variant),
        _first(request, room, (_with(variant, concurrency=n) for n in range(context.concurrency - 1, 0, -1))),
        _first(request, room, _quantized(variant)),
    ]
    for changed in singles:
        if changed is not None:
            found = True
            yield changed
    if found:
        return
    least = _with(variant, concurrency=1)
    for changed in (least, *_quantized(least)):
        best = _largest_context(request, room, changed)
        if best is not None:
            yield best
            return


def _quantized(variant: Variant) -> Iterator[Variant]:
    if variant.engine is not Engine.LLAMA_CPP:
        return
    order = list(CacheType)
    for kind in order[order.index(variant.context.cache_type) + 1 :]:
        yield _with(variant, cache_type=kind)


def _largest_context(request: Request, room: Room, variant: Variant) -> Variant | None:
    """Return the variant with the largest context that fits, below the wanted one."""
    low, high = _SMALLEST_CONTEXT // _STEP, (variant.context.max_tokens - 1) // _STEP
    if high < low or not _fits(request, room, _with(variant, max_tokens=low * _STEP)):
        return None
    while low < high:
        middle = (low + high + 1) // 2
        if _fits(request, room, _with(variant, max_tokens=middle * _STEP)):
            low = middle
        else:
            high = middle - 1
    return _with(variant, max_tokens=low * _STEP)


def _first(request: Request, room: Room, variants: Iterable[Variant]) -> Variant | None:
    return next((v for v in variants if _fits(request, room, v)), None)


def _fits(request: Request, room: Room, variant: Variant) -> bool:
    need = need_of(variant, request.model.spec.task, room.node, before=request.before)
    if need.total is None:
        return False
    with room.without(request.app):
        return room.lacks(request.tenant(need.total * variant.replicas, variant=variant)) is None


def _with(variant: Variant, **changes: object) -> Variant:
    return variant.model_copy(update={"context": variant.context.model_copy(update=changes)})


def _changes(before: Variant, after: Variant) -> str:
    old, new = before.context, after.context
    parts = []
    if new.max_tokens != old.max_tokens:
        parts.append(f"context.maxTokens {new.max_tokens}")
    if new.concurrency != old.concurrency:
        parts.append(f"context.concurrency {new.concurrency}")
    if new.cache_type != old.cache_type:
        parts.append(f"context.cacheType {new.cache_type.value}")
    return " and ".join(parts)


def who_would_yield(request: Request, room: Room) -> tuple[Tenant, ...]:
    """Return those of lower priority whose room is enough: the lowest first, of equal ones the youngest."""
    tenant = request.takes(room.node)
    lower = [t for t in room.tenants.values() if t.priority < tenant.priority and t.app != tenant.app]
    with room.without(tenant.app):
        return _fewest(tenant, room, sorted(lower, key=lambda t: (t.priority, -t.rank)))


def _fewest(tenant: Tenant, room: Room, lower: list[Tenant]) -> tuple[Tenant, ...]:
    gone: list[Tenant] = []
    for candidate in lower:
        if room.lacks(tenant) is None:
            break
        room.remove(candidate.app)
        gone.append(candidate)
    enough = room.lacks(tenant) is None
    for candidate in tuple(gone) if enough else ():  # some may not have been in the way
        room.add(candidate)
        if room.lacks(tenant) is None:
            gone.remove(candidate)
        else:
            room.remove(candidate.app)
    for candidate in gone:
        room.add(candidate)
    return tuple(gone) if enough else ()
