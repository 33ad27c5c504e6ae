"""What a model is started with, as far as it decides memory."""

from dataclasses import dataclass, replace

from hearth_api.kinds import InferenceNode
from hearth_api.kinds.model import Variant
from hearth_api.kinds.node import AcceleratorType
from hearth_api.wire.serve import CacheType, Engine, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Engine, context and where it computes."""

    engine: Engine
    task: Task = Task.CHAT
    context_tokens: int = 2048
    concurrency: int = 1
    cache_type: CacheType = CacheType.F16
    accelerator: AcceleratorType = AcceleratorType.CPU
    gpu_layers: int | None = None
    """Layers in the accelerator's own memory (CUDA, LlamaCpp); None: all."""
    tensor_parallel: int = 1
    """Cards that one replica is split over (VLLM)."""

    @property
    def on_cpu(self) -> bool:
        """Whether the processor computes."""
        return self.accelerator is AcceleratorType.CPU


def workload_of(variant: Variant, task: Task, node: InferenceNode) -> Workload:
    """Return what a variant would be on a node."""
    return Workload(
        engine=variant.engine,
        task=task,
        context_tokens=variant.context.max_tokens,
        concurrency=variant.context.concurrency,
        cache_type=variant.context.cache_type,
        accelerator=node.spec.accelerator.type,
        gpu_layers=variant.gpu_layers if variant.engine is Engine.LLAMA_CPP else None,
        tensor_parallel=variant.tensor_parallel,
    )


def with_context(
    work: Workload, *, tokens: int | None = None, concurrency: int | None = None, cache_type: CacheType | None = None
) -> Workload:
    """Return the same with another context."""
    return replace(
        work,
        context_tokens=tokens if tokens is not None else work.context_tokens,
        concurrency=concurrency if concurrency is not None else work.concurrency,
        cache_type=cache_type if cache_type is not None else work.cache_type,
    )
