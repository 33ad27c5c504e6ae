"""Models of random weights for the benches: what llama.cpp would read of them."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hearth_serve.shapes.gguf import read_gguf
from hearth_serve.sources import locate

sys.path.insert(0, str(Path(__file__).parents[3] / "hack/bench/serve"))

from random_model import BLOCK, Q8_0, SHAPES, TOKENIZER, Tensor, in_cache, write

TINY = replace(SHAPES["360m"], of="Tiny", blocks=2, embedding=64, feed_forward=96, heads=2, heads_kv=1)


@pytest.mark.parametrize("stored", ["Q4_0", "Q8_0"])
def test_the_file_has_the_shape_and_says_that_it_is_random(tmp_path: Path, stored: str) -> None:
    file = tmp_path / "tiny.gguf"
    write(replace(TINY, stored=stored), file)
    found, tokenizer = read_gguf((file,)), read_gguf((locate(TOKENIZER, pattern="*.gguf"),))
    per_block = 64 * (64 + 32 + 32 + 64 + 3 * 96) + 2 * 64
    assert (found.architecture, found.layers, found.parameters) == ("llama", 2, 49152 * 64 + 2 * per_block + 64)
    assert found.quantization == stored
    assert found.weights == file.stat().st_size
    assert (found.vocabulary, found.tied_embeddings) == (tokenizer.vocabulary, True)
    assert b"random weights, the shape of Tiny" in file.read_bytes()[:4096]


def test_the_parameters_of_the_published_sizes() -> None:
    counts = {}
    for name, shape in SHAPES.items():
        counts[name] = sum(
            tensor.sizes[0] * (tensor.sizes[1] if len(tensor.sizes) > 1 else 1)
            for tensor in shape.tensors(vocabulary=49152)
        )
    assert counts == {"360m": 361_821_120, "1.7b": 1_711_376_384}  # as on their pages


def test_vectors_of_what_is_no_plain_word_are_zero(tmp_path: Path) -> None:
    rows = np.array([True, False])
    data = Tensor("t", (2 * BLOCK, 2), Q8_0).write(np.random.default_rng(1), rows=rows)
    scales = np.frombuffer(data, np.uint8).reshape(4, 34)[:, :2].copy().view(np.float16).ravel()
    assert [bool(scale) for scale in scales] == [True, True, False, False]


def test_a_model_is_written_once_and_never_by_halves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTH_CACHE", str(tmp_path))
    first = in_cache(TINY)
    assert "random-weights" in first.name
    before = first.stat().st_mtime_ns
    assert in_cache(TINY) == first
    assert first.stat().st_mtime_ns == before
    assert [path.name for path in first.parent.iterdir()] == [first.name]
