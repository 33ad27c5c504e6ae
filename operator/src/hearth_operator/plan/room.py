"""What a node has for models, what is planned there, and what is short."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from heapq import nsmallest

from hearth_api.kinds import InferenceNode
from hearth_api.quantities import to_bytes, to_millicores
from hearth_api.reasons import Reason
from hearth_operator.plan.fit.estimate import show

RAY_OVERHEAD_BYTES = 1280 * 1024**2
"""What Ray's own processes take of a managed pod (measured 1.15-1.3 GB)."""
DOWNLOADS_BYTES = 160 * 1024**2
"""What the process takes that brings weights into a managed pod."""
_MOST_NAMED = 8


@dataclass(frozen=True, slots=True)
class Capacity:
    """What models may use of a node. None: not limited by what is declared."""

    memory: int | None
    """Bytes on each machine of the node."""
    millicores: int | None
    gpus: int | None
    machines: int = 1
    """Ray nodes that count as this node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """What one application takes. `memory` None is not known and counts as nothing."""

    app: str
    memory: int | None
    """Bytes of all its pieces together."""
    pieces: int = 1
    """Replicas: each is on one machine as a whole, unless it is split."""
    split: int = 1
    """Parts that one replica may be cut into where it is larger than a machine (tensor parallelism)."""
    millicores: int = 0
    gpus: int = 0
    priority: int = 0
    rank: int = 0
    """Position by age: the oldest is 0."""
    brings: bool = False
    """Its weights come from outside."""


@dataclass(slots=True)
class Room:
    """A node with its tenants."""

    node: InferenceNode
    capacity: Capacity
    reserve: int
    tenants: dict[str, Tenant] = field(default_factory=dict)
    memory: int = 0
    millicores: int = 0
    gpus: int = 0
    bringing: int = 0
    """Tenants whose weights come from outside."""

    def add(self, tenant: Tenant) -> None:
        """Count a tenant, instead of what the same application took before."""
        self.remove(tenant.app)
        self.tenants[tenant.app] = tenant
        self._count(tenant, 1)

    def remove(self, app: str) -> Tenant | None:
        """Forget a tenant; return it."""
        tenant = self.tenants.pop(app, None)
        if tenant is not None:
            self._count(tenant, -1)
        return tenant

    @contextmanager
    def without(self, app: str) -> Iterator[None]:
        """Leave a tenant out for a moment."""
        tenant = self.remove(app)
        try:
            yield
        finally:
            if tenant is not None:
                self.add(tenant)

    def _count(self, tenant: Tenant, sign: int) -> None:
        self.memory += sign * (tenant.memory or 0)
        self.millicores += sign * tenant.millicores
        self.gpus += sign * tenant.gpus
        self.bringing += sign * tenant.brings

    def downloads(self, tenant: Tenant | None = None) -> int:
        """Return what a managed pod's downloads take of it: one process, however many models need it."""
        brings = self.bringing or (tenant is not None and tenant.brings)
        return DOWNLOADS_BYTES if brings and self.node.spec.managed is not None else 0

    def lacks(self, tenant: Tenant) -> Reason | None:
        """Return what is short for a tenant that is not here."""
        room = self.capacity
        if tenant.memory is not None and room.memory is not None and self._most(tenant) > room.memory:
            return Reason.INSUFFICIENT_MEMORY
        if room.millicores is not None and self.millicores + tenant.millicores > room.millicores:
            return Reason.NO_CAPACITY
        if room.gpus is not None and self.gpus + tenant.gpus > room.gpus:
            return Reason.NO_CAPACITY
        return None

    def _most(self, tenant: Tenant) -> int:
        """Return the bytes on the fullest machine once the tenant is here too."""
        if self.capacity.machines == 1:
            return self.memory + (tenant.memory or 0) + self.downloads(tenant)
        return max(self._loads(*self.tenants.values(), tenant))

    def _loads(self, *tenants: Tenant) -> list[int]:
        """Return the bytes on each machine: the largest pieces first, each on the emptiest one, as Serve spreads."""
        pieces = sorted((self._pieces(t) for t in tenants), key=lambda p: (-p[0], p[2]))
        loads = [0] * self.capacity.machines
        for size, count, _ in pieces:
            # One application's pieces are spread evenly (max_replicas_per_node).
            share = count // len(loads) * size
            loads = [load + share for load in loads]
            for machine in nsmallest(count % len(loads), range(len(loads)), key=lambda n: (loads[n], n)):
                loads[machine] += size
        return loads

    def _pieces(self, tenant: Tenant) -> tuple[int, int, str]:
        """Return the size of a tenant's pieces, how many there are, and whose they are."""
        size = -(-(tenant.memory or 0) // tenant.pieces)
        if tenant.split > 1 and self.capacity.memory is not None and size > self.capacity.memory:
            return -(-size // tenant.split), tenant.pieces * tenant.split, tenant.app
        return size, tenant.pieces, tenant.app

    def shortage(self, tenant: Tenant, *, words: str) -> str | None:
        """Return the same in words, with the numbers. `words` say where the need comes from."""
        reason = self.lacks(tenant)
        if reason is None:
            return None
        where, room = self.node.metadata.name, self.capacity
        if reason is Reason.INSUFFICIENT_MEMORY:
            return self._sum(tenant, words=words)
        if room.millicores is not None and self.millicores + tenant.millicores > room.millicores:
            return (
                f"{tenant.app} needs {tenant.millicores / 1000:g} cores, {where} has {room.millicores / 1000:g} "
                f"and {self.millicores / 1000:g} are planned"
            )
        return f"{tenant.app} needs {tenant.gpus} GPUs, {where} has {room.gpus} and {self.gpus} are planned"

    def _sum(self, tenant: Tenant, *, words: str) -> str:
        need, room = tenant.memory or 0, self.capacity.memory or 0
        each = f" in {tenant.pieces} replicas" if tenant.pieces > 1 else ""
        where = f"for models ({show(self.reserve)} kept in reserve)"
        if self.capacity.machines > 1:
            free = max(0, room - min(self._loads(*self.tenants.values())))
            end = f"{show(self._most(tenant))} on the fullest, {show(free)} would fit on the emptiest"
            where = f"on each of {self.capacity.machines} Ray nodes {where}"
        else:
            downloads = self.downloads(tenant)
            taken = self.memory + downloads
            end = f"{show(taken + need)} in sum, {show(max(0, room - taken))} would fit"
            if downloads:
                end = f"{show(downloads)} are for downloads: {end}"
        return (
            f"{tenant.app} needs {show(need)} of memory{each} ({words}), {self.node.metadata.name} has {show(room)} "
            f"{where} and already holds {self._named()}: {end}"
        )

    def _named(self) -> str:
        largest = nsmallest(_MOST_NAMED, self.tenants.values(), key=lambda t: (-(t.memory or 0), t.app))
        named = [f"{t.app} {show(t.memory)}" if t.memory is not None else f"{t.app} (not known)" for t in largest]
        more = f" and {len(self.tenants) - _MOST_NAMED} more" if len(self.tenants) > _MOST_NAMED else ""
        return (", ".join(named) + more) or "nothing"


def allocatable(node: InferenceNode) -> Capacity:
    """Return a node's room for models: its accelerator's memory, or its pod's less Ray's own, minus the reserve."""
    managed = node.spec.managed
    memory: int | None = None
    if node.spec.accelerator.memory is not None:
        memory = to_bytes(node.spec.accelerator.memory)
    elif managed is not None:
        memory = to_bytes(managed.resources.memory) - RAY_OVERHEAD_BYTES
    if memory is not None:
        memory = max(0, memory - to_bytes(node.spec.reserve.memory))
    millicores = None if managed is None else max(1000, -(-to_millicores(managed.resources.cpu) // 1000) * 1000)
    external = node.spec.external
    return Capacity(
        memory=memory,
        millicores=millicores,
        gpus=None if managed is None else managed.gpus,
        machines=1 if external is None else external.ray_nodes,
    )


def empty_room(node: InferenceNode) -> Room:
    """Return a node without tenants."""
    return Room(node=node, capacity=allocatable(node), reserve=to_bytes(node.spec.reserve.memory))
