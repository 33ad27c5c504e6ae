"""GGUF: metadata and the list of tensors at the beginning of each file."""

from dataclasses import dataclass, field
from math import prod
from pathlib import Path

from hearth_api.wire.serve import WeightsShape
from hearth_serve.shapes.binary import Header
from hearth_serve.shapes.metadata import Metadata, shape_of

_CODES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_WIDTHS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9
_MOST_PAIRS, _MOST_TENSORS, _MOST_ITEMS = 65_536, 1_000_000, 2**24
_LONGEST_KEY, _LONGEST_TEXT, _LONGEST_KEPT = 65_535, 16 * 1024**2, 4096
_MOST_DIMENSIONS, _LARGEST_DIMENSION = 8, 2**40
_VERSIONS = (2, 3)


@dataclass(slots=True)
class _File:
    """What one file says."""

    values: Metadata = field(default_factory=dict)
    parameters: int = 0
    tensors: set[str] = field(default_factory=set)
    size: int = 0


def read_gguf(files: tuple[Path, ...]) -> WeightsShape:
    """Return the shape of a model in one file, or in several parts. Raises ShapeError."""
    parts = [_read(file) for file in files]
    tensors = {name for part in parts for name in part.tensors}
    return shape_of(
        parts[0].values,
        weights=sum(part.size for part in parts),
        parameters=sum(part.parameters for part in parts),
        tied="output.weight" not in tensors,
    )


def _read(path: Path) -> _File:
    with Header(path) as header:
        if header.take(4) != b"GGUF":
            raise header.broken("it does not begin with GGUF")
        version = int(header.unpack("I"))
        if version not in _VERSIONS:
            raise header.broken(f"version {version} is not one of {', '.join(map(str, _VERSIONS))}")
        tensors = header.count("Q", most=_MOST_TENSORS, what="tensors")
        pairs = header.count("Q", most=_MOST_PAIRS, what="values")
        found = _File(size=header.size)
        for _ in range(pairs):
            key = _text(header, longest=_LONGEST_KEY)
            value = _value(header, int(header.unpack("I")))
            if value is not None and key is not None:
                found.values[key] = value
        for _ in range(tensors):
            _tensor(header, found)
        return found


def _text(header: Header, *, longest: int, keep: int = _LONGEST_KEPT) -> str | None:
    """Return a text, or None where it is longer than anything of interest."""
    length = header.count("Q", most=longest, what="characters")
    if length > keep:
        header.skip(length)
        return None
    return header.take(length).decode("utf-8", "replace")


def _value(header: Header, kind: int) -> "int | float | bool | str | list[int] | None":
    if kind == _STRING:
        return _text(header, longest=_LONGEST_TEXT)
    if kind == _ARRAY:
        return _array(header)
    if kind not in _CODES:
        raise header.broken(f"it has a value of the unknown type {kind}")
    return header.unpack(_CODES[kind])


def _array(header: Header) -> "int | list[int] | None":
    """Return a short list of whole numbers, the length of a list of texts, or None for any other list."""
    kind = int(header.unpack("I"))
    items = header.count("Q", most=_MOST_ITEMS, what="items of a list")
    if kind == _STRING:
        for _ in range(items):
            header.skip(header.count("Q", most=_LONGEST_TEXT, what="characters"))
        return items
    if kind not in _CODES:
        raise header.broken(f"it has a list of the type {kind}")
    if items > _LONGEST_KEPT or kind in (6, 12):
        header.skip(items * _WIDTHS[kind])
        return None
    return [int(header.unpack(_CODES[kind])) for _ in range(items)]


def _tensor(header: Header, found: _File) -> None:
    name = _text(header, longest=_LONGEST_KEY)
    dimensions = header.count("I", most=_MOST_DIMENSIONS, what="dimensions")
    sizes = [header.count("Q", most=_LARGEST_DIMENSION, what="numbers in a row") for _ in range(dimensions)]
    header.skip(4 + 8)
    found.parameters += prod(sizes)
    if name is not None:
        found.tensors.add(name)
