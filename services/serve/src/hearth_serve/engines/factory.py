"""From arguments to a loaded engine."""

from hearth_api.wire.serve import Engine as EngineName
from hearth_api.wire.serve import ServeArgs, Task
from hearth_serve.engines.protocol import Engine
from hearth_serve.errors import StartError
from hearth_serve.machine import available_cores, choose_threads


def load_engine(args: ServeArgs) -> Engine:
    """Load the model; takes seconds to minutes. Raises StartError with one sentence."""
    threads = choose_threads(wanted=args.threads, cores=available_cores(), num_cpus=args.num_cpus)
    if args.engine is EngineName.LLAMA_CPP:
        if args.task is Task.RERANK:
            raise StartError("Engine LlamaCpp serves tasks Chat and Embed only: use OnnxRuntime or Transformers.")
        from hearth_serve.engines.llamacpp import LlamaCppEngine

        return LlamaCppEngine.load(args, threads=threads)
    if args.engine is EngineName.ONNX_RUNTIME:
        if args.task is Task.CHAT:
            raise StartError("Engine OnnxRuntime serves tasks Embed and Rerank only.")
        from hearth_serve.engines.onnx import OnnxEngine

        return OnnxEngine.load(args, threads=threads)
    if args.engine is EngineName.MLX:
        from hearth_serve.engines.mlx import MlxEngine

        return MlxEngine.load(args)
    if args.engine is EngineName.VLLM:
        from hearth_serve.engines.vllm import VllmEngine

        return VllmEngine.load(args)
    from hearth_serve.engines.pytorch import TransformersEngine

    return TransformersEngine.load(args, threads=threads)
