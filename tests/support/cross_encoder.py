"""A cross-encoder for tests: real ONNX, and small enough to know its scores by heart."""

from pathlib import Path

import numpy as np
import onnx


def cross_encoder(folder: Path, *, logits: int = 1) -> Path:
    """A real, tiny one: a document is worth the words that it has of the query. Two logits mean the same."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "blue", "green", "fish"]
    (folder / "vocab.txt").write_text("\n".join(words))
    int64, real = onnx.TensorProto.INT64, onnx.TensorProto.FLOAT
    tensor = onnx.helper.make_tensor_value_info
    nodes = [
        onnx.helper.make_node("Gather", ["identity", "input_ids"], ["bags"]),  # [1, tokens, words]
        onnx.helper.make_node("Cast", ["token_type_ids"], ["second"], to=real),
        onnx.helper.make_node("Sub", ["one", "second"], ["first"]),
        onnx.helper.make_node("Unsqueeze", ["first", "axis"], ["first3"]),
        onnx.helper.make_node("Unsqueeze", ["second", "axis"], ["second3"]),
        onnx.helper.make_node("Mul", ["bags", "first3"], ["query"]),
        onnx.helper.make_node("Mul", ["bags", "second3"], ["document"]),
        onnx.helper.make_node("ReduceSum", ["query", "tokens"], ["asked"], keepdims=0),
        onnx.helper.make_node("ReduceSum", ["document", "tokens"], ["told"], keepdims=0),
        onnx.helper.make_node("Mul", ["asked", "told"], ["common"]),
        onnx.helper.make_node("MatMul", ["common", "sum"], ["logits"]),
    ]
    special = np.diag([0.0] * 4 + [1.0] * 4).astype(np.float32)
    out = np.tile(np.linspace(0, 1, logits + 1)[1:].astype(np.float32), (8, 1)) if logits > 1 else np.ones((8, 1))
    if logits == 2:
        out[:, 0] = 0
    constants = {
        "identity": special, "one": np.float32(1), "axis": np.array([2]), "tokens": np.array([1]),
        "sum": out.astype(np.float32),
    }  # fmt: skip
    graph = onnx.helper.make_graph(
        nodes, "ranks",
        [tensor("input_ids", int64, [1, "n"]), tensor("token_type_ids", int64, [1, "n"])],
        [tensor("logits", real, [1, logits])],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, str(folder / "model.onnx"))
    return folder / "model.onnx"
