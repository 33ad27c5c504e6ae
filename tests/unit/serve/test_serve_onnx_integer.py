"""A model that stores its weights in 8 bits computes in 8 bits too, where the processor does that exactly."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from hearth_serve.engines import onnx_integer
from hearth_serve.engines.onnx_integer import computes_in_8_bits, cpu_flags, integer_model

ROWS, WIDTH, OUT = 7, 32, 16


def write_model(path: Path, *, scale: np.ndarray, narrow: bool = True) -> Path:
    """A product with a weight that is widened first, as exporters of small files write it."""
    random = np.random.default_rng(3)
    # Half the range: a processor that adds pairs in 16 bits does not overflow, so the test is about the rewriting.
    weight = random.integers(-63, 64, size=(WIDTH, OUT)).astype(np.int8 if narrow else np.int32)
    nodes = [
        helper.make_node("Cast", ["w8"], ["w"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["w", "scale"], ["weight"]),
        helper.make_node("MatMul", ["x", "weight"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [ROWS, WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [ROWS, OUT])],
        [numpy_helper.from_array(weight, "w8"), numpy_helper.from_array(scale.astype(np.float32), "scale")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_integer, "cpu_flags", lambda: frozenset({"avx512_vnni"}))


def run(model: bytes | str) -> np.ndarray:
    x = np.random.default_rng(4).normal(size=(ROWS, WIDTH)).astype(np.float32)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


@pytest.mark.parametrize("scale", [np.array(0.01), np.linspace(0.001, 0.02, OUT)], ids=["one", "by-column"])
def test_products_are_taken_over(tmp_path: Path, scale: np.ndarray) -> None:
    path = write_model(tmp_path / "m.onnx", scale=scale)
    model = integer_model(path)
    assert model is not None
    assert "DynamicQuantizeMatMul" in {node.op_type for node in onnx.load_from_string(model).graph.node}
    one, other = run(str(path)), run(model)
    assert float(np.linalg.norm(one - other) / np.linalg.norm(one)) < 0.02


def test_what_is_no_such_product_stays_as_it_is(tmp_path: Path) -> None:
    assert integer_model(write_model(tmp_path / "wide.onnx", scale=np.array(0.01), narrow=False)) is None
    by_row = np.full((WIDTH, 1), 0.01)
    assert integer_model(write_model(tmp_path / "rows.onnx", scale=by_row)) is None
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x08\xffnot a model")
    assert integer_model(broken) is None


def test_a_processor_that_overflows_keeps_32_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_model(tmp_path / "m.onnx", scale=np.array(0.01))
    monkeypatch.setattr(onnx_integer, "cpu_flags", lambda: frozenset({"avx2", "avx512f"}))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert integer_model(path) is None
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert integer_model(path) is not None


def test_flags_of_a_processor(tmp_path: Path) -> None:
    told = tmp_path / "cpuinfo"
    told.write_text("processor\t: 0\nflags\t\t: fpu avx2 avx_vnni\n\nprocessor\t: 1\nflags\t\t: fpu\n")
    assert cpu_flags(told) == {"fpu", "avx2", "avx_vnni"}
    assert cpu_flags(tmp_path / "none") == frozenset()
    assert computes_in_8_bits("x86_64", cpu_flags(told))
    assert not computes_in_8_bits("x86_64", frozenset())
