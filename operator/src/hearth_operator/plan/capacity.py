"""Where each variant goes, and whether it fits: decided before Ray is asked."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hearth_api.kinds import InferenceNode, ModelDeployment
from hearth_api.kinds.model import Variant
from hearth_api.quantities import format_bytes, to_bytes, to_millicores
from hearth_api.reasons import Reason
from hearth_operator import names

RAY_OVERHEAD_BYTES = 1280 * 1024**2
"""What Ray's own processes take of a managed pod (measured 1.15-1.3 GB)."""
_MEBI = 1024**2


@dataclass(frozen=True, slots=True)
class Capacity:
    """What models may use of a node. None: not limited by what is declared."""

    memory: int | None
    millicores: int | None
    gpus: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where one variant goes. `node` is None, or `fits` False, with reason and message."""

    model: str
    variant: str
    node: str | None = None
    fits: bool = False
    memory: int | None = None
    reason: Reason = Reason.FITS
    message: str = ""

    @property
    def app(self) -> str:
        """Name of the Serve application."""
        return names.app_name(self.model, self.variant)


@dataclass(slots=True)
class _Load:
    memory: int = 0
    millicores: int = 0
    gpus: int = 0
    parts: tuple[str, ...] = ()


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
    return Capacity(memory=memory, millicores=millicores, gpus=None if managed is None else managed.gpus)


def place(
    models: Iterable[ModelDeployment], nodes: Mapping[str, InferenceNode], *, ready: frozenset[str] | set[str]
) -> dict[str, Placement]:
    """Return the placement of every variant by application name.

    Older resources are placed first, so that a new one never takes the room of one that serves. `ready` are nodes
    that may take a model now; they matter only where a selector leaves a choice.
    """
    loads: dict[str, _Load] = {name: _Load() for name in nodes}
    result: dict[str, Placement] = {}
    for model in sorted(models, key=seniority):
        if model.spec.suspend:
            continue
        for variant in model.spec.variants:
            placement = _place_one(model, variant, nodes, loads, ready=ready)
            result[placement.app] = placement
    return result


def seniority(model: ModelDeployment) -> tuple[str, str]:
    """Sort key: older first, then by name."""
    created = model.metadata.creation_timestamp
    return (created.isoformat() if created is not None else "9999", model.metadata.name)


def _place_one(
    model: ModelDeployment,
    variant: Variant,
    nodes: Mapping[str, InferenceNode],
    loads: dict[str, _Load],
    *,
    ready: frozenset[str] | set[str],
) -> Placement:
    name = model.metadata.name
    candidates = _candidates(model, variant, nodes, ready=ready)
    if not candidates:
        wanted = variant.node.name or ",".join(f"{k}={v}" for k, v in sorted((variant.node.selector or {}).items()))
        how = "is called" if variant.node.name else "has the labels"
        message = f"variant {variant.name}: no InferenceNode {how} {wanted}"
        return Placement(model=name, variant=variant.name, reason=Reason.NODE_NOT_FOUND, message=message)
    refusals = []
    for node in candidates:
        refusal = _refusal(name, variant, nodes[node], loads[node])
        if refusal is None:
            return _take(name, variant, nodes[node], loads[node])
        refusals.append(refusal)
    return Placement(
        model=name,
        variant=variant.name,
        node=candidates[0] if variant.node.name else None,
        memory=variant.resources.memory_bytes,
        reason=Reason.NO_CAPACITY,
        message="; ".join(refusals),
    )


def _candidates(
    model: ModelDeployment,
    variant: Variant,
    nodes: Mapping[str, InferenceNode],
    *,
    ready: frozenset[str] | set[str],
) -> list[str]:
    if variant.node.name is not None:
        return [variant.node.name] if variant.node.name in nodes else []
    selector = variant.node.selector or {}
    matching = [n for n, node in sorted(nodes.items()) if selector.items() <= node.metadata.labels.items()]
    current = next((v.node for v in model.status.variants if v.name == variant.name), None)
    # A variant stays where it is as long as that node is ready: moving reloads its weights.
    return sorted(matching, key=lambda n: (n not in ready, n != current, n))


def _refusal(model: str, variant: Variant, node: InferenceNode, load: _Load) -> str | None:
    room = allocatable(node)
    app = names.app_name(model, variant.name)
    need = variant.resources.memory_bytes or 0
    where = node.metadata.name
    if room.memory is not None and load.memory + need > room.memory:
        planned = ", ".join(load.parts) or "nothing"
        return (
            f"{app} needs {show(need)} of memory, {where} has {show(room.memory)} for models "
            f"({show(to_bytes(node.spec.reserve.memory))} kept in reserve) and already holds {planned}: "
            f"{show(load.memory + need)} in sum, {show(max(0, room.memory - load.memory))} would fit"
        )
    cores = to_millicores(variant.resources.cpu)
    if room.millicores is not None and load.millicores + cores > room.millicores:
        return (
            f"{app} needs {cores / 1000:g} cores, {where} has {room.millicores / 1000:g} "
            f"and {load.millicores / 1000:g} are planned"
        )
    if room.gpus is not None and load.gpus + variant.resources.gpus > room.gpus:
        return f"{app} needs {variant.resources.gpus} GPUs, {where} has {room.gpus} and {load.gpus} are planned"
    return None


def _take(model: str, variant: Variant, node: InferenceNode, load: _Load) -> Placement:
    app = names.app_name(model, variant.name)
    need = variant.resources.memory_bytes
    load.memory += need or 0
    load.millicores += to_millicores(variant.resources.cpu)
    load.gpus += variant.resources.gpus
    load.parts = (*load.parts, f"{app} {show(need)}" if need is not None else f"{app} (not declared)")
    room = allocatable(node).memory
    of = f" of {show(room)}" if room is not None else ""
    message = f"{app}: {show(load.memory)}{of} planned on {node.metadata.name}"
    reason = Reason.FITS
    if need is None:
        reason = Reason.SIZE_UNKNOWN
        message = f"{app}: resources.memory is not set, so it counts as nothing on {node.metadata.name}"
    return Placement(
        model=model,
        variant=variant.name,
        node=node.metadata.name,
        fits=True,
        memory=need,
        reason=reason,
        message=message,
    )


def planned_memory(placements: Iterable[Placement], node: str) -> int:
    """Return the bytes that are planned on a node."""
    return sum(p.memory or 0 for p in placements if p.fits and p.node == node)


def show(count: int) -> str:
    """Return bytes for a person: whole mebibytes, as a quantity."""
    return format_bytes(-(-count // _MEBI) * _MEBI) if count else "0"
