"""Remote sources: what they name, and the files behind them. Pure."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from hearth_api.wire.weights import WeightsCode
from hearth_serve.weights.errors import WeightsError

SCHEMES = frozenset({"hf", "s3", "http", "https"})
COMMIT = re.compile(r"^[0-9a-f]{40}$")
SHA256 = re.compile(r"^[0-9a-f]{64}$")
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$")
_LEAVES = re.compile(r"^$|^/|(^|/)\.\.(/|$)|[\x00-\x1f\\]")
_PART = re.compile(r"-\d{5}-of-(\d{5})\.(gguf|safetensors)$")
_BESIDE_ONNX = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "config.json")
_OTHER_FORMATS = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.ot", "*.gguf", "*.onnx", "*.onnx_data")
_NO_MODEL = ("*.md", ".git*", "*.png", "*.jpg", "*.jpeg", "*.gif", "*.svg", "*.pdf", "*.py", "LICENSE*", "original/*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """A source in its parts."""

    source: str
    scheme: str
    host: str
    """Host of a URL, bucket, or `<owner>/<repository>`."""
    path: str
    """File, folder or pattern inside; without a leading slash."""
    revision: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """One file of a source, as its server lists it."""

    name: str
    """Path that it gets on disk, relative."""
    url: str
    size: int | None = None
    sha256: str | None = None
    git_sha1: str | None = None
    """Digest of a small file that git itself keeps."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a source consists of."""

    files: tuple[RemoteFile, ...]
    resolved: str | None = None


def parse_remote(source: str) -> Remote:
    """Split a source. Raises WeightsError SourceInvalid."""
    scheme, separator, rest = source.partition("://")
    if not separator or scheme not in SCHEMES or any(c.isspace() for c in source):
        raise _invalid(f"{source!r} is not hf://, s3://, https:// or http://.")
    if ".." in PurePosixPath(unquote(rest)).parts or "\\" in rest or "\x00" in unquote(rest):
        raise _invalid(f"{source!r} leaves its folder.")
    if scheme == "hf":
        return _parse_hf(source, rest)
    if scheme == "s3":
        bucket, _, key = rest.partition("/")
        if not bucket or not key or "@" in bucket:
            raise _invalid(f"{source!r} must be s3://<bucket>/<key>.")
        return Remote(source=source, scheme=scheme, host=bucket, path=key)
    try:
        url = urlsplit(source)
        url.port  # noqa: B018  raises for what is no port
    except ValueError as error:
        raise _invalid("The host or port of the source cannot be read.") from error
    if url.username is not None or url.password is not None:
        raise _invalid(f"A URL must not carry a user or password: {scheme}://{url.hostname}{url.path}.")
    if not url.hostname or not url.path.strip("/"):
        raise _invalid(f"{source!r} names no file.")
    return Remote(source=source, scheme=scheme, host=url.netloc, path=unquote(url.path.lstrip("/")))


def _parse_hf(source: str, rest: str) -> Remote:
    owner, _, inside = rest.partition("/")
    repository, _, path = inside.partition("/")
    repository, at, named = repository.partition("@")
    if not _NAME.match(owner) or not _NAME.match(repository) or (at and not named):
        raise _invalid(f"{source!r} must be hf://<owner>/<repository>[@<revision>][/<file or pattern>].")
    return Remote(source=source, scheme="hf", host=f"{owner}/{repository}", path=path, revision=named or None)


def _invalid(message: str) -> WeightsError:
    return WeightsError(WeightsCode.SOURCE_INVALID, message)


def source_key(source: str) -> str:
    """Return the name of a source in a store."""
    return hashlib.sha256(source.encode()).hexdigest()[:40]


def is_safe_name(name: object) -> bool:
    """Whether a server's name of a file stays inside the folder that it is put into."""
    return isinstance(name, str) and not _LEAVES.search(name)


def choose_files(names: list[str], wanted: str) -> dict[str, str]:
    """Return `{file of the repository: name on disk}` for a path, a pattern, or nothing (the whole model).

    All parts of a split file come with any of them; an ONNX file brings its tokenizer.
    """
    names = sorted(names)
    if not wanted:
        return {name: name for name in _whole_model(names)}
    if wanted in names:
        return _with_company(names, wanted)
    inside = [n for n in names if fnmatchcase(n, wanted) or n.startswith(wanted.rstrip("/") + "/")]
    if not inside or any(c in wanted for c in "*?["):
        return {name: name for name in inside}
    folder = wanted.rstrip("/") + "/"
    return {name: name.removeprefix(folder) for name in inside}


def _with_company(names: list[str], wanted: str) -> dict[str, str]:
    chosen = {wanted: wanted}
    if part := _PART.search(wanted):
        stem, total, kind = wanted[: part.start()], part[1], part[2]
        chosen |= {n: n for i in range(1, int(total) + 1) if (n := f"{stem}-{i:05d}-of-{total}.{kind}") in names}
    if wanted.endswith(".onnx"):
        folder = str(PurePosixPath(wanted).parent)
        for extra in _BESIDE_ONNX:
            beside = extra if folder == "." else f"{folder}/{extra}"
            origin = beside if beside in names else extra
            if origin in names:
                chosen[origin] = beside
        chosen |= {n: n for n in names if n in {f"{wanted}_data", f"{wanted}.data"}}
    return chosen


def _whole_model(names: list[str]) -> list[str]:
    left = [n for n in names if not any(fnmatchcase(n, p) for p in _NO_MODEL)]
    if any(n.endswith(".safetensors") for n in left):
        return [n for n in left if not any(fnmatchcase(n, p) for p in _OTHER_FORMATS)]
    return left
