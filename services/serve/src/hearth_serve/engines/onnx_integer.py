"""Let an encoder whose weights are stored in 8 bits also compute in 8 bits.

Such files widen their weights first (`Cast`, `Mul` by a scale) and multiply in 32 bits: small on disk, no faster. Here
each of those products becomes one `DynamicQuantizeMatMul` of onnxruntime, which quantizes the activations of a run by
their own range: a run must hold one text, or its vector would depend on its neighbours. All else in the file stays.
Measured with MiniLM: twice the passages of a CPU-second, 99 % of the ranking quality (`hack/bench/serve`).
"""

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_DOMAIN = "com.microsoft"
_MOST_BYTES = 2**30
"""Above, a model does not fit into one protobuf message; encoders of text are far below."""
_CPU_INFO = Path("/proc/cpuinfo")


def computes_in_8_bits(machine: str, flags: frozenset[str]) -> bool:
    """Whether 8-bit products are exact here: x86 without VNNI adds pairs of them in 16 bits, which overflows."""
    return machine.lower() in {"arm64", "aarch64"} or bool(flags & {"avx512_vnni", "avx_vnni"})


def cpu_flags(cpu_info: Path = _CPU_INFO) -> frozenset[str]:
    """Return the processor's flags as Linux tells them; none elsewhere."""
    try:
        lines = cpu_info.read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.split(":", 1)[1] for line in lines if line.startswith("flags")), "").split())


def integer_model(path: Path) -> bytes | None:
    """Return the rewritten model; None where there is nothing to rewrite: the file is loaded as it is.

    A file that cannot be read is None too: whoever loads it says what is wrong with it.
    """
    if path.stat().st_size > _MOST_BYTES or not computes_in_8_bits(platform.machine(), cpu_flags()):
        return None
    import onnx

    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception:  # noqa: BLE001 (protobuf's errors share no base; onnxruntime says the same better)
        return None
    if any(tensor.external_data for tensor in model.graph.initializer) or not _rewrite(model.graph):
        return None
    if all(known.domain != _DOMAIN for known in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(_DOMAIN, 1))
    return bytes(model.SerializeToString())


def _rewrite(graph: Any) -> bool:
    """Rewrite the products in place; return whether there was one."""
    import onnx

    stored = {tensor.name: tensor for tensor in graph.initializer}
    made_by = {output: node for node in graph.node for output in node.output}
    nodes: list[Any] = []
    for node in graph.node:
        weight = _narrow_weight(made_by.get(node.input[1]), made_by, stored) if node.op_type == "MatMul" else None
        if weight is None:
            nodes.append(node)
            continue
        narrow, scale = weight
        flat = f"{scale}/flat"
        if flat not in stored:
            values = onnx.numpy_helper.to_array(stored[scale])
            stored[flat] = onnx.numpy_helper.from_array(
                values.reshape(-1) if values.size > 1 else values.reshape(()), flat
            )
            graph.initializer.append(stored[flat])
        inputs = [node.input[0], narrow, flat]
        nodes.append(onnx.helper.make_node("DynamicQuantizeMatMul", inputs, list(node.output), domain=_DOMAIN))
    if len(nodes) == len(graph.node) and all(a is b for a, b in zip(nodes, graph.node, strict=True)):
        return False
    nodes = _without_guards(nodes, made_by)
    del graph.node[:]
    graph.node.extend(nodes)
    return True


def _narrow_weight(
    widened: Any | None, made_by: Mapping[str, Any], stored: Mapping[str, Any]
) -> tuple[str, str] | None:
    """Return the names of a weight in int8 and of its scale, by column or one for all; None: it is no such weight."""
    import onnx

    if widened is None or widened.op_type != "Mul":
        return None
    cast, scale = made_by.get(widened.input[0]), stored.get(widened.input[1])
    if cast is None or cast.op_type != "Cast" or scale is None or scale.data_type != onnx.TensorProto.FLOAT:
        return None
    narrow = stored.get(cast.input[0])
    if narrow is None or narrow.data_type != onnx.TensorProto.INT8 or len(narrow.dims) != 2:
        return None
    count = 1
    for length in scale.dims:
        count *= length
    by_column = count == narrow.dims[1] and (not scale.dims or scale.dims[-1] == count)
    return (narrow.name, scale.name) if count == 1 or by_column else None


def _without_guards(nodes: list[Any], made_by: Mapping[str, Any]) -> list[Any]:
    """Leave out `Where(IsNaN(x), 0, x)` after a softmax: it is for rows without any token, which nobody sends here."""
    instead: dict[str, str] = {}
    gone: set[str] = set()
    for node in nodes:
        tested = made_by.get(node.input[0]) if node.op_type == "Where" else None
        if tested is None or tested.op_type != "IsNaN" or tested.input[0] != node.input[2]:
            continue
        softmax = made_by.get(tested.input[0])
        if softmax is not None and softmax.op_type == "Softmax":
            instead[node.output[0]] = node.input[2]
            gone |= {node.output[0], tested.output[0]}
    kept = [node for node in nodes if not gone & set(node.output)]
    for node in kept:
        for position, name in enumerate(node.input):
            if name in instead:
                node.input[position] = instead[name]
    return kept
