"""What one variant asks for: its candidates, what it needs on each, and the room that it holds already."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from hearth_api.kinds import InferenceNode, ModelDeployment
from hearth_api.kinds.model import Variant, VariantState, VariantStatus
from hearth_api.kinds.node import AcceleratorType
from hearth_api.quantities import to_bytes, to_millicores
from hearth_api.wire.serve import Engine
from hearth_operator import names
from hearth_operator.plan.fit.need import Need, need_of, status_of
from hearth_operator.plan.room import Tenant
from hearth_operator.plan.weights import is_remote

_RUNS = frozenset({VariantState.AVAILABLE, VariantState.LOADING, VariantState.UNREACHABLE, VariantState.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Room that a variant has: nobody is placed into it."""

    node: str
    memory: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One variant that wants a place."""

    model: ModelDeployment
    variant: Variant
    app: str
    rank: int
    candidates: tuple[str, ...]
    """Nodes, most wanted first."""
    before: VariantStatus | None
    _needs: dict[str, Need] = field(default_factory=dict, compare=False, repr=False)

    def need(self, node: InferenceNode) -> Need:
        """Return what it needs on a node."""
        name = node.metadata.name
        if name not in self._needs:
            self._needs[name] = need_of(self.variant, self.model.spec.task, node, before=self.before)
        return self._needs[name]

    def takes(self, node: InferenceNode) -> Tenant:
        """Return what all its replicas take of a node."""
        total = self.need(node).total
        return self.tenant(total * self.variant.replicas if total is not None else None)

    def tenant(self, memory: int | None, *, variant: Variant | None = None) -> Tenant:
        """Return what it takes with so much memory, all replicas together."""
        variant = variant or self.variant
        return Tenant(
            app=self.app,
            memory=memory,
            pieces=variant.replicas,
            split=variant.tensor_parallel,
            millicores=to_millicores(variant.resources.cpu) * variant.replicas,
            gpus=variant.resources.gpus * variant.replicas,
            priority=self.model.spec.priority,
            rank=self.rank,
            brings=is_remote(variant.model.source),
        )

    @property
    def turn(self) -> tuple[int, int]:
        """Sort key among those that wait: higher priority first, then older."""
        return (-self.model.spec.priority, self.rank)


def seniority(model: ModelDeployment) -> tuple[str, str]:
    """Sort key: older first, then by name."""
    created = model.metadata.creation_timestamp
    return (created.isoformat() if created is not None else "9999", model.metadata.name)


def read_requests(
    models: Iterable[ModelDeployment], nodes: Mapping[str, InferenceNode], *, ready: frozenset[str] | set[str]
) -> list[Request]:
    """Return the requests of all models that are not suspended, oldest first."""
    requests: list[Request] = []
    for model in sorted(models, key=seniority):
        if model.spec.suspend:
            continue
        for variant in model.spec.variants:
            before = status_of(model, variant.name)
            current = before.node if before is not None else None
            requests.append(
                Request(
                    model=model,
                    variant=variant,
                    app=names.app_name(model.metadata.name, variant.name),
                    rank=len(requests),
                    candidates=_candidates(variant, nodes, current=current, ready=ready),
                    before=before,
                )
            )
    return requests


def _candidates(
    variant: Variant, nodes: Mapping[str, InferenceNode], *, current: str | None, ready: frozenset[str] | set[str]
) -> tuple[str, ...]:
    if variant.node.name is not None:
        return (variant.node.name,) if variant.node.name in nodes else ()
    selector = variant.node.selector or {}
    matching = [
        name
        for name, node in sorted(nodes.items())
        if selector.items() <= node.metadata.labels.items()
        and (variant.engine is not Engine.VLLM or node.spec.accelerator.type is AcceleratorType.CUDA)
    ]
    return _in_order(matching, current=current, ready=ready)


def _in_order(candidates: Iterable[str], *, current: str | None, ready: frozenset[str] | set[str]) -> tuple[str, ...]:
    """Sort nodes: a variant stays where it is as long as that node is ready, for moving reloads its weights."""
    return tuple(sorted(candidates, key=lambda n: (n not in ready, n != current, n)))


def carried_out(request: Request, node: str | None, *, ready: frozenset[str] | set[str]) -> Request:
    """Return a request as it reads once the plan that puts it on `node` was carried out."""
    return replace(request, candidates=_in_order(request.candidates, current=node, ready=ready))


def held_room(request: Request, nodes: Mapping[str, InferenceNode]) -> Held | None:
    """Return the room that a variant has by its status, if it still may be there."""
    before = request.before
    if before is None or before.node is None or before.node not in request.candidates:
        return None
    memory = before.memory
    if memory is not None and memory.reserved is not None:
        size = to_bytes(memory.reserved)
    elif before.state in _RUNS:  # written by a release that did not say what it had reserved
        size = to_bytes(memory.estimate) if memory is not None and memory.estimate is not None else 0
    else:
        return None
    need = request.need(nodes[before.node])
    # What more replicas need than before is asked for anew.
    runs = (need.total or 0) * min(request.variant.replicas, before.replicas or 1) if need.runs else 0
    return Held(node=before.node, memory=max(size, runs))
