"""What the headers of model files say about the memory a model needs.

Files are not trusted: lengths are checked against the file and against bounds before anything is read, and whatever is
not as it must be raises ShapeError with one sentence. Weights themselves are never read.
"""

from pathlib import Path

from hearth_api.wire.serve import WeightsShape
from hearth_serve.errors import StartError
from hearth_serve.shapes.errors import ShapeError
from hearth_serve.shapes.gguf import read_gguf
from hearth_serve.shapes.safetensors import read_safetensors
from hearth_serve.sources import gguf_parts

__all__ = ["ShapeError", "describe", "read_shape"]


def read_shape(files: tuple[Path, ...], *, hidden_size: int | None = None) -> WeightsShape:
    """Return the shape of a model's weight files. `hidden_size` is what an ONNX engine knows. Raises ShapeError."""
    if not files:
        raise ShapeError("There are no weight files.")
    kind = files[0].suffix
    if kind == ".gguf":
        return read_gguf(files)
    if kind == ".safetensors":
        return read_safetensors(files)
    # An ONNX graph has no header that would say more than how large it is.
    return WeightsShape(weights=sum(_size(file) for file in files), hidden_size=hidden_size)


def describe(path: Path) -> WeightsShape:
    """Return the shape of a file, of a split GGUF file by its first part, or of a folder. Raises ShapeError."""
    if not path.is_dir():
        try:
            return read_shape(gguf_parts(path))
        except StartError as error:
            raise ShapeError(str(error)) from error
    for pattern in ("*.safetensors", "*.gguf", "*.onnx"):
        files = tuple(sorted(path.glob(pattern)))
        if files and (pattern == "*.safetensors" or len(files) == 1):
            return read_shape(files)
        if files:
            return describe(files[0])
    raise ShapeError(f"Folder {path} holds no *.safetensors, *.gguf or *.onnx file.")


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError as error:
        raise ShapeError(f"Model file {file} cannot be read: {error.strerror}.") from error
