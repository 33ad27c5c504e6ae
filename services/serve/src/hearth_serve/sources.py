"""Where weights come from: `package://`, `file://` and `pvc://` sources become files on this machine.

Those of `hf://`, `s3://` and `http(s)://` were brought to the machine's store before: see `weights/`.

Everything here runs while a replica starts and raises StartError with one sentence.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path, PurePosixPath

from hearth_serve.errors import DigestMismatchError, StartError, WeightsMissingError
from hearth_serve.weights.remote import SCHEMES, source_key
from hearth_serve.weights.settings import open_store

MODELS_ROOT = Path("/models")
"""Where claims are mounted on a managed node, each under its name (the operator mounts them there)."""
GGUF_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A model on disk."""

    path: Path
    """What an engine opens: a file, or the folder of a safetensors model."""
    files: tuple[Path, ...]
    """The weight files themselves."""
    digest: str
    """SHA-256 in hex: of the one file, or over the `sha256  name` lines of several."""


def locate(source: str, *, pattern: str, models_root: Path = MODELS_ROOT) -> Path:
    """Return the one file that `source` names; `pattern` (such as `*.gguf`) finds it where a folder is named."""
    scheme, separator, rest = source.partition("://")
    if not separator or not rest:
        raise StartError(f"Model source {source!r} is not package://..., file:///..., pvc://..., hf://... or a URL.")
    if scheme == "package":
        return _in_package(rest, pattern=pattern, source=source)
    if scheme == "file":
        return _on_disk(Path(rest), pattern=pattern, source=source)
    if scheme == "pvc":
        claim, _, inside = rest.partition("/")
        _refuse_parents(inside, source=source)
        return _on_disk(models_root / claim / inside, pattern=pattern, source=source)
    if scheme in SCHEMES:
        return _in_store(source, pattern=pattern)
    raise StartError(f"Model source {source!r} has the unknown scheme {scheme!r}.")


def _in_package(rest: str, *, pattern: str, source: str) -> Path:
    name, _, inside = rest.partition("/")
    _refuse_parents(inside, source=source)
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError as error:
        raise WeightsMissingError(
            f"Model source {source!r} names the package {name!r}, which is not installed here."
        ) from error
    wanted = inside or pattern
    found = sorted(
        file
        for file in distribution.files or []
        if fnmatch(str(file), wanted) or (not inside and fnmatch(file.name, pattern))
    )
    paths = _first_parts([Path(str(distribution.locate_file(file))) for file in found])
    return _only(paths, source=source, wanted=wanted)


def _on_disk(path: Path, *, pattern: str, source: str) -> Path:
    if not path.is_absolute():
        raise StartError(f"Model source {source!r} must name an absolute path: file:///folder/file.")
    if path.is_dir():
        return _only(_first_parts(sorted(path.glob(pattern))), source=source, wanted=pattern)
    if not path.is_file():
        raise WeightsMissingError(f"Model file {path} of source {source!r} does not exist on this node.")
    return path


def _in_store(source: str, *, pattern: str) -> Path:
    """Return what was downloaded, kept from being evicted while this process lives."""
    try:
        store = open_store(os.environ)
        key = source_key(source)
        if store.entry(key) is not None:
            store.hold(key)
        if store.entry(key) is None:  # also where it was evicted in between
            raise WeightsMissingError(f"Model source {source!r} is not in the store {store.root}: it was not brought.")
        store.touch(key)
    except (OSError, ValueError) as error:
        raise StartError(f"The machine's store of weights cannot be used: {error}.") from error
    return _only(_first_parts(sorted(store.tree(key).rglob(pattern))), source=source, wanted=pattern)


def _refuse_parents(inside: str, *, source: str) -> None:
    if ".." in PurePosixPath(inside).parts:
        raise StartError(f"Model source {source!r} leaves its folder.")


def _first_parts(paths: list[Path]) -> list[Path]:
    """Drop all but the first part of split GGUF files: llama.cpp opens the others by itself."""
    return [path for path in paths if (part := GGUF_PART.search(path.name)) is None or part[1] == "00001"]


def _only(paths: list[Path], *, source: str, wanted: str) -> Path:
    if not paths:
        raise WeightsMissingError(f"Model source {source!r} holds no file {wanted!r}.")
    top = min(len(path.parts) for path in paths)
    paths = [path for path in paths if len(path.parts) == top]  # sentence encoders keep more config.json deeper down
    if len(paths) > 1:
        names = ", ".join(path.name for path in paths[:4])
        raise StartError(f"Model source {source!r} holds {len(paths)} files {wanted!r} ({names}): name one.")
    return paths[0]


def load_weights(path: Path, *, sha256: str | None, files: tuple[Path, ...] | None = None) -> Weights:
    """Hash the weight files and compare with the declared digest."""
    parts = files or gguf_parts(path)
    digests = [(part, file_sha256(part)) for part in parts]
    digest = digests[0][1]
    if len(digests) > 1:
        lines = "".join(f"{value}  {part.name}\n" for part, value in digests)
        digest = hashlib.sha256(lines.encode()).hexdigest()
    if sha256 is not None and sha256.removeprefix("sha256:").lower() != digest:
        raise DigestMismatchError(
            f"Model file {path} has SHA-256 {digest}, not the declared {sha256.removeprefix('sha256:')}."
        )
    return Weights(path=path, files=parts, digest=digest)


def gguf_parts(path: Path) -> tuple[Path, ...]:
    """Return all parts of a split GGUF file by one of them; another file alone."""
    part = GGUF_PART.search(path.name)
    if part is None:
        return (path,)
    parts = [
        path.with_name(f"{path.name[: part.start()]}-{n:05d}-of-{part[2]}.gguf") for n in range(1, int(part[2]) + 1)
    ]
    for other in parts:
        if not other.is_file():
            raise WeightsMissingError(f"Model file {other}, a part of {path.name}, does not exist on this node.")
    return tuple(parts)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StartError(f"Model file {path} cannot be read: {error.strerror}.") from error


def demand_magic(path: Path, magic: bytes, *, kind: str) -> None:
    """Refuse a file that does not begin as its kind must."""
    try:
        with path.open("rb") as file:
            head = file.read(len(magic))
    except OSError as error:
        raise StartError(f"Model file {path} cannot be read: {error.strerror}.") from error
    if head != magic:
        raise StartError(f"Model file {path} is not a {kind} file.")
