"""Headers of model files: what they say, and files that lie."""

import io
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hearth_api.wire.serve import WeightsShape
from hearth_serve.describe import print_shape
from hearth_serve.shapes import ShapeError, describe, read_shape
from hearth_serve.shapes.known import known_shape

LLAMA = {
    "general.architecture": "llama",
    "general.file_type": 15,
    "llama.block_count": 32,
    "llama.embedding_length": 4096,
    "llama.attention.head_count": 32,
    "llama.attention.head_count_kv": 8,
    "tokenizer.ggml.tokens": ["a", "b", "c"],
    "tokenizer.ggml.scores": [0.5, 1.5],
}
TENSORS = {"token_embd.weight": (4096, 3), "blk.0.attn_q.weight": (4096, 4096), "output.weight": (4096, 3)}


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value(value: Any) -> bytes:
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    kind = (
        8 if isinstance(value[0], str) else 7 if isinstance(value[0], bool) else 6 if isinstance(value[0], float) else 4
    )
    head = struct.pack("<IIQ", 9, kind, len(value))
    if kind == 8:
        return head + b"".join(_text(item) for item in value)
    return head + b"".join(struct.pack({4: "<I", 6: "<f", 7: "<?"}[kind], item) for item in value)


def gguf(values: dict[str, Any], tensors: dict[str, tuple[int, ...]], *, version: int = 3) -> bytes:
    data = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(values))
    for key, value in values.items():
        data += _text(key) + _value(value)
    for name, sizes in tensors.items():
        data += _text(name) + struct.pack("<I", len(sizes)) + b"".join(struct.pack("<Q", n) for n in sizes)
        data += struct.pack("<IQ", 0, 0)
    return data


def written(folder: Path, data: bytes, name: str = "model.gguf") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def shape_of(folder: Path, values: dict[str, Any], tensors: dict[str, tuple[int, ...]] = TENSORS) -> WeightsShape:
    return describe(written(folder, gguf(values, tensors)))


def test_a_gguf_header_says_what_decides_memory(tmp_path) -> None:
    data = gguf(LLAMA, TENSORS)
    found = describe(written(tmp_path, data + bytes(1000)))
    assert found.to_json_object() == {
        "architecture": "llama",
        "weights": len(data) + 1000,
        "parameters": 4096 * (4096 + 6),
        "quantization": "Q4_K_M",
        "layers": 32,
        "hiddenSize": 4096,
        "vocabulary": 3,
        "tiedEmbeddings": False,
        "kvHeads": 8,
        "headDim": 128,
    }


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param(
            {"general.architecture": "gemma3", "gemma3.block_count": 62, "gemma3.attention.sliding_window": 1024},
            {"sliding_window": 1024, "global_layers": 10, "cache_layers": None},
            id="windows by the architecture",
        ),
        pytest.param(
            {
                "general.architecture": "new", "new.block_count": 4, "new.attention.sliding_window": 512,
                "new.attention.sliding_window_pattern": [True, True, True, False],
            },
            {"global_layers": 1},
            id="windows by a list",
        ),
        pytest.param(
            {
                "general.architecture": "new", "new.block_count": 8, "new.attention.sliding_window": 512,
                "new.attention.sliding_window_pattern": 4,
            },
            {"global_layers": 2},
            id="windows by a period",
        ),
        pytest.param(
            {"general.architecture": "unheard", "unheard.block_count": 4, "unheard.attention.sliding_window": 512},
            {"sliding_window": 512, "global_layers": None},
            id="windows of an unknown pattern count as none",
        ),
        pytest.param(
            {
                "general.architecture": "deepseek2", "deepseek2.block_count": 61,
                "deepseek2.attention.kv_lora_rank": 512, "deepseek2.rope.dimension_count": 64,
                "deepseek2.attention.key_length_mla": 192, "deepseek2.attention.head_count": 128,
                "deepseek2.attention.head_count_kv": 1, "deepseek2.attention.key_length": 576,
                "deepseek2.attention.value_length": 512,
            },
            {"kv_lora_rank": 512, "rope_dim": 64},
            id="latent attention",
        ),
        pytest.param(
            {
                "general.architecture": "deepseek2", "deepseek2.block_count": 61,
                "deepseek2.attention.kv_lora_rank": 512, "deepseek2.attention.head_count": 128,
                "deepseek2.attention.head_count_kv": 128, "deepseek2.attention.key_length": 192,
                "deepseek2.attention.value_length": 128,
            },
            {"kv_lora_rank": None, "kv_heads": 128, "head_dim": 160},
            id="an older conversion keeps whole heads",
        ),
        pytest.param(
            {
                "general.architecture": "jamba", "jamba.block_count": 4, "jamba.attention.head_count": 32,
                "jamba.embedding_length": 4096, "jamba.attention.head_count_kv": [0, 0, 8, 0],
                "jamba.ssm.conv_kernel": 4, "jamba.ssm.inner_size": 8192, "jamba.ssm.state_size": 16,
            },
            {"cache_layers": 1, "kv_heads": 8, "recurrent_state": 3 * 4 * (3 * 8192 + 16 * 8192)},
            id="a hybrid keeps a state of fixed size",
        ),
        pytest.param(
            {"general.architecture": "qwen3next", "qwen3next.block_count": 48, "qwen3next.full_attention_interval": 4},
            {"cache_layers": 12},
            id="every fourth layer attends",
        ),
        pytest.param(
            {"general.architecture": "bert", "bert.block_count": 6, "bert.attention.causal": False},
            {"cache_layers": 0},
            id="an encoder keeps nothing",
        ),
        pytest.param(
            {"general.architecture": "mamba", "mamba.block_count": 4, "mamba.attention.head_count": 0},
            {"cache_layers": 0, "head_dim": None},
            id="no attention at all",
        ),
        pytest.param({}, {"architecture": None, "layers": None, "kv_heads": None}, id="nothing said"),
        pytest.param(
            {"general.architecture": 7, "general.file_type": "x", "llama.block_count": "many"},
            {"architecture": None, "quantization": None, "layers": None},
            id="values of other types than they must be",
        ),
    ],
)  # fmt: skip
def test_architectures(tmp_path, values, expected) -> None:
    found = shape_of(tmp_path, values)
    assert {name: getattr(found, name) for name in expected} == expected


def test_tied_embeddings_are_seen_by_the_missing_output(tmp_path) -> None:
    assert shape_of(tmp_path, LLAMA, {"token_embd.weight": (4096, 3)}).tied_embeddings is True


def test_parts_are_one_model(tmp_path) -> None:
    first = written(tmp_path, gguf(LLAMA, {"token_embd.weight": (10, 3)}), "m-00001-of-00002.gguf")
    second = written(tmp_path, gguf({"split.no": 1}, {"output.weight": (10, 3)}), "m-00002-of-00002.gguf")
    found = describe(first)
    assert (found.parameters, found.tied_embeddings) == (60, False)
    assert found.weights == first.stat().st_size + second.stat().st_size
    assert describe(tmp_path) == found
    second.unlink()
    with pytest.raises(ShapeError, match="does not exist"):
        describe(first)


def _pair(kind: int, rest: bytes) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + _text("k") + struct.pack("<I", kind) + rest


@pytest.mark.parametrize(
    ("data", "why"),
    [
        pytest.param(b"", "longer than the file", id="empty"),
        pytest.param(b"GGML" + bytes(100), "does not begin with GGUF", id="another format"),
        pytest.param(b"GGUF" + struct.pack(">I", 3) + bytes(100), "version 50331648", id="big-endian"),
        pytest.param(b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1", id="the first version"),
        pytest.param(b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0), "tensors", id="too many tensors"),
        pytest.param(b"GGUF" + struct.pack("<IQQ", 3, 0, 2**40), "values", id="too many values"),
        pytest.param(_pair(8, struct.pack("<Q", 2**62)), "characters", id="an endless text"),
        pytest.param(_pair(8, struct.pack("<Q", 10**6)), "longer than the file", id="a text beyond the end"),
        pytest.param(_pair(9, struct.pack("<IQ", 4, 2**60)), "items", id="an endless list"),
        pytest.param(_pair(9, struct.pack("<IQ", 9, 1)), "list of the type 9", id="lists of lists"),
        pytest.param(_pair(99, b""), "unknown type 99", id="an unknown type"),
        pytest.param(gguf({}, {"t": (2**50,)}), "numbers in a row", id="an endless row"),
        pytest.param(gguf({}, {"t": (1,) * 9}), "dimensions", id="too many dimensions"),
        pytest.param(gguf(LLAMA, TENSORS)[:-5], "longer than the file", id="cut off"),
    ],
)
def test_a_file_that_lies_is_one_sentence(tmp_path, data, why) -> None:
    path = written(tmp_path, data)
    with pytest.raises(ShapeError, match=why):
        describe(path)
    assert known_shape((path,)) is None


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_to_a_header_does_anything_but_refuse_it(tmp_path, data) -> None:
    whole = bytearray(gguf(LLAMA, TENSORS))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(4, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = written(tmp_path, bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    try:
        found = describe(path)
    except ShapeError:
        return
    assert isinstance(found, WeightsShape)


# Safetensors


def safetensors(folder: Path, header: Any, config: Any = None, name: str = "model.safetensors") -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = written(folder, struct.pack("<Q", len(raw)) + raw + bytes(64), name)
    if config is not None:
        (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return path


def tensor(kind: str, *shape: int) -> dict[str, Any]:
    return {"dtype": kind, "shape": list(shape), "data_offsets": [0, 0]}


CONFIG = {
    "model_type": "llama", "num_hidden_layers": 16, "hidden_size": 2048, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 128_256, "tie_word_embeddings": True,
}  # fmt: skip


def test_safetensors_and_their_config(tmp_path) -> None:
    header = {"__metadata__": {"format": "pt"}, "a": tensor("BF16", 10, 20), "b": tensor("F32", 3)}
    path = safetensors(tmp_path, header, CONFIG)
    found = describe(tmp_path)
    assert found.to_json_object() == {
        "architecture": "llama", "weights": path.stat().st_size, "parameters": 203, "quantization": "BF16",
        "layers": 16, "hiddenSize": 2048, "vocabulary": 128_256, "tiedEmbeddings": True, "kvHeads": 8, "headDim": 64,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param({"model_type": "xlm-roberta"}, {"cache_layers": 0}, id="an encoder"),
        pytest.param(
            {"sliding_window": 1024, "layer_types": ["sliding_attention"] * 15 + ["full_attention"]},
            {"sliding_window": 1024, "global_layers": 1},
            id="a list of layers",
        ),
        pytest.param(
            {"layer_types": ["linear_attention"] * 12 + ["full_attention"] * 4}, {"cache_layers": 4}, id="a hybrid"
        ),
        pytest.param({"sliding_window": 4096, "use_sliding_window": False}, {"sliding_window": None}, id="not in use"),
        pytest.param(
            {"kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128},
            {"kv_lora_rank": 512, "rope_dim": 64, "kv_heads": 32, "head_dim": 160},
            id="latent attention",
        ),
        pytest.param(
            {"num_hidden_layers": "16", "hidden_size": -1, "vocab_size": 1e9},
            {"layers": None, "hidden_size": None, "vocabulary": None},
            id="other types",
        ),
    ],
)
def test_configs(tmp_path, config, expected) -> None:
    safetensors(tmp_path, {"a": tensor("F16", 4)}, {**CONFIG, **config})
    found = describe(tmp_path)
    assert {name: getattr(found, name) for name in expected} == expected


def test_a_model_that_also_sees_has_its_numbers_one_level_down(tmp_path) -> None:
    safetensors(tmp_path, {"a": tensor("F16", 4)}, {"model_type": "gemma3", "text_config": CONFIG})
    assert describe(tmp_path).layers == 16


def test_packed_weights_do_not_tell_how_many_parameters_there_are(tmp_path) -> None:
    safetensors(tmp_path, {"a": tensor("I32", 1000), "b": tensor("F16", 4)}, CONFIG)
    found = describe(tmp_path)
    assert (found.parameters, found.quantization) == (None, None)


@pytest.mark.parametrize(
    ("header", "config", "why"),
    [
        pytest.param(b"[" * 200_000, None, "no JSON", id="deeply nested"),
        pytest.param(b"[]", None, "no object", id="a list"),
        pytest.param({"a": {"dtype": "F16", "shape": "x"}}, None, "tensor a has no shape", id="no shape"),
        pytest.param({"a": tensor("F16", -1)}, None, "tensor a has no shape", id="a negative size"),
        pytest.param({}, "{", "no JSON", id="a broken config"),
        pytest.param({}, "[]", "no object", id="a config that is a list"),
        pytest.param({}, " " * (4 * 1024**2 + 1), "larger than any", id="an endless config"),
    ],
)
def test_broken_folders_are_one_sentence(tmp_path, header, config, why) -> None:
    safetensors(tmp_path, header, config)
    with pytest.raises(ShapeError, match=why):
        describe(tmp_path)


def test_a_header_longer_than_the_file_is_refused(tmp_path) -> None:
    path = written(tmp_path, struct.pack("<Q", 90_000_000) + b"{}", "model.safetensors")
    with pytest.raises(ShapeError, match="longer than the file"):
        read_shape((path,))


# The command


def test_what_is_printed_can_be_pasted(tmp_path) -> None:
    out = io.StringIO()
    assert print_shape(written(tmp_path, gguf(LLAMA, TENSORS)), out=out, err=io.StringIO()) == 0
    assert out.getvalue().startswith("shape:\n  architecture: llama\n  weights: ")
    assert "  tiedEmbeddings: false\n" in out.getvalue()


@pytest.mark.parametrize("name", ["missing.gguf", "."])
def test_what_cannot_be_described_is_said(tmp_path, name) -> None:
    err = io.StringIO()
    assert print_shape(tmp_path / name, out=io.StringIO(), err=err) == 1
    assert err.getvalue().startswith("hearth-serve: ")
