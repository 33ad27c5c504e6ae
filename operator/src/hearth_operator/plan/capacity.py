"""Where each variant goes, and whether it fits: decided before Ray is asked."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from hearth_api.kinds import InferenceNode, ModelDeployment
from hearth_api.reasons import Reason
from hearth_operator import names
from hearth_operator.plan.fit.alternatives import Advice
from hearth_operator.plan.fit.estimate import show
from hearth_operator.plan.fit.need import Need
from hearth_operator.plan.request import Held, Request, carried_out, held_room, read_requests, seniority
from hearth_operator.plan.room import Room, allocatable, empty_room

__all__ = ["Placement", "Plan", "allocatable", "place", "planned_memory", "seniority", "show"]

_LONGEST_SUM = 2400
"""With what would fit it stays below the 4096 characters of a message in the catalog."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where one variant goes. `node` is None, or `fits` False, with reason and message."""

    model: str
    variant: str
    node: str | None = None
    fits: bool = False
    need: Need | None = None
    replicas: int = 1
    reserved: int | None = None
    """Room that it has on the node after this plan, also where it does not fit any more: nothing is sent away."""
    reason: Reason = Reason.FITS
    say: Callable[[], str] = field(default=str, compare=False, repr=False)

    @property
    def message(self) -> str:
        """The numbers in words: put together only for who reads them."""
        return self.say()

    @property
    def app(self) -> str:
        """Name of the Serve application."""
        return names.app_name(self.model, self.variant)

    @property
    def memory(self) -> int | None:
        """What is planned for it, all replicas together."""
        return self.need.total * self.replicas if self.need is not None and self.need.total is not None else None


class Plan(dict[str, Placement]):
    """Placements by application name. What would fit instead is worked out only for who asks."""

    advice: Advice

    def explain(self, app: str) -> str:
        """Return a placement's message; where memory is short, with what would fit."""
        placement = self[app]
        if placement.reason is not Reason.INSUFFICIENT_MEMORY:
            return placement.message
        return placement.message[:_LONGEST_SUM] + self.advice.sentence(
            app, fitting={a for a, p in self.items() if p.fits}
        )


def place(
    models: Iterable[ModelDeployment], nodes: Mapping[str, InferenceNode], *, ready: frozenset[str] | set[str]
) -> Plan:
    """Return the placement of every variant by application name.

    Who has room keeps it. The others come by priority, then by age, and never take the room of one that has it.
    `ready` are nodes that may take a model now; they matter only where a selector leaves a choice.
    """
    requests = read_requests(models, nodes, ready=ready)
    held = {r.app: room for r in requests if (room := held_room(r, nodes)) is not None}
    turn = _settle(requests, nodes, held)
    plan = Plan(sorted((r.app, turn.result(r)) for r in requests))
    after = {
        app: Held(node=p.node, memory=p.reserved)
        for app, p in plan.items()
        if p.node is not None and p.reserved is not None
    }

    # Advice is about the fleet once this plan was carried out: a next plan that changes nothing says the same.
    settled = [carried_out(r, plan[r.app].node, ready=ready) for r in requests]

    def fits_without(app: str, gone: frozenset[str]) -> bool:
        left = [r for r in settled if r.app not in gone]
        return _settle(left, nodes, {a: room for a, room in after.items() if a not in gone}).places(app)

    plan.advice = Advice({r.app: r for r in settled}, turn.rooms, fits_without=fits_without)
    return plan


def _settle(requests: list[Request], nodes: Mapping[str, InferenceNode], held: Mapping[str, Held]) -> "_Turn":
    """Repeat the round while somebody moved: that leaves room behind for who was before it in line."""
    turn = _Turn(requests, nodes, held)
    for _ in requests:
        if not turn.moved:
            break
        held = {**held, **turn.moved}
        turn = _Turn(requests, nodes, held)
    return turn


class _Turn:
    """One round over all requests."""

    def __init__(self, requests: list[Request], nodes: Mapping[str, InferenceNode], held: Mapping[str, Held]) -> None:
        self.rooms: dict[str, Room] = {name: empty_room(node) for name, node in nodes.items()}
        self.moved: dict[str, Held] = {}
        self._nodes = nodes
        self._held = held
        self._placed: dict[str, str] = {}
        waiting = [r for r in requests if not self._stays(r)]
        for request in waiting:
            self._hold(request)
        for request in sorted(waiting, key=lambda r: r.turn):
            self._choose(request)

    def _stays(self, request: Request) -> bool:
        """Keep one where it is if it asks for no more than it has and its node still has that much."""
        held = self._held.get(request.app)
        if held is None or held.node != request.candidates[0]:
            return False
        tenant = request.takes(self._nodes[held.node])
        room = self.rooms[held.node]
        if (tenant.memory or 0) > held.memory or room.lacks(tenant) is not None:
            return False
        room.add(tenant)
        self._placed[request.app] = held.node
        return True

    def _hold(self, request: Request) -> None:
        held = self._held.get(request.app)
        if held is not None:
            self.rooms[held.node].add(request.tenant(held.memory))

    def _choose(self, request: Request) -> None:
        held = self._held.get(request.app)
        for name in request.candidates:
            room = self.rooms[name]
            tenant = request.takes(room.node)
            own = room.remove(request.app)
            if room.lacks(tenant) is None:
                if held is not None and held.node != name:
                    self.rooms[held.node].remove(request.app)
                    self.moved[request.app] = Held(node=name, memory=tenant.memory or 0)
                room.add(tenant)
                self._placed[request.app] = name
                return
            if own is not None:
                room.add(own)

    def places(self, app: str) -> bool:
        """Whether an application has found room."""
        return app in self._placed

    def result(self, request: Request) -> Placement:
        """Return the placement of a request after the round."""
        model, variant = request.model.metadata.name, request.variant.name
        if not request.candidates:
            return _nowhere(request)
        held = self._held.get(request.app)
        name = self._placed.get(request.app)
        if name is not None:
            return _fitting(request, self.rooms[name])
        stays = held.node if held is not None else request.variant.node.name
        listed = sorted(request.candidates)
        need = request.need(self._nodes[stays or listed[0]])
        rooms = [self.rooms[candidate] for candidate in listed]
        short = any(_lack(request, room) is Reason.INSUFFICIENT_MEMORY for room in rooms)
        return Placement(
            model=model,
            variant=variant,
            node=stays,
            need=need,
            replicas=request.variant.replicas,
            reserved=held.memory if held is not None else None,
            reason=Reason.INSUFFICIENT_MEMORY if short else Reason.NO_CAPACITY,
            say=lambda: "; ".join(_refusal(request, room) for room in rooms[:4]),
        )


def _nowhere(request: Request) -> Placement:
    node = request.variant.node
    wanted = node.name or ",".join(f"{k}={v}" for k, v in sorted((node.selector or {}).items()))
    how = "is called" if node.name else "has the labels"
    return Placement(
        model=request.model.metadata.name,
        variant=request.variant.name,
        reason=Reason.NODE_NOT_FOUND,
        say=lambda: f"variant {request.variant.name}: no InferenceNode {how} {wanted}",
    )


def _fitting(request: Request, room: Room) -> Placement:
    need = request.need(room.node)
    return Placement(
        model=request.model.metadata.name,
        variant=request.variant.name,
        node=room.node.metadata.name,
        fits=True,
        need=need,
        replicas=request.variant.replicas,
        reserved=request.takes(room.node).memory or 0,
        reason=Reason.FITS if need.total is not None else Reason.SIZE_UNKNOWN,
        say=lambda: _fit(request, room),
    )


def _fit(request: Request, room: Room) -> str:
    need, where = request.need(room.node), room.node.metadata.name
    if need.total is None:
        return f"{request.app}: its memory is {need.words}, so it counts as nothing on {where}"
    of = f" of {show(room.capacity.memory)}" if room.capacity.memory is not None else ""
    if room.capacity.machines > 1:
        where = f"{where}, {room.capacity.machines} Ray nodes"
        of = f"{of} each" if of else ""
    times = f"{request.variant.replicas} x " if request.variant.replicas > 1 else ""
    return f"{request.app}: {times}{show(need.total)}{of} on {where} ({need.words})"


def _lack(request: Request, room: Room) -> Reason | None:
    """Return what is short, counting all that the round placed. What it holds itself is not in its own way."""
    with room.without(request.app):
        return room.lacks(request.takes(room.node))


def _refusal(request: Request, room: Room) -> str:
    need = request.need(room.node)
    with room.without(request.app):
        found = room.shortage(request.takes(room.node), words=need.words)
    return found or f"{request.app} had no room on {room.node.metadata.name}"


def planned_memory(placements: Iterable[Placement], node: str) -> int:
    """Return the bytes that are kept for models on a node."""
    return sum(p.reserved or 0 for p in placements if p.node == node)
