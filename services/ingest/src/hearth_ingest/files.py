"""Walking a source's folder without leaving it."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from hearth_ingest.errors import SourceError
from hearth_ingest.item import Refusal


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file below the root; `name` is its path relative to the root with "/"."""

    path: Path
    name: str
    size: int
    mtime_ns: int
    single: bool = False
    """True when the root is this file."""


def printable(name: str) -> str:
    """Return a file name as valid Unicode: bytes that are not UTF-8 appear as hexadecimal escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def check_root(root: Path) -> None:
    """Raise SourceError unless the root is there and readable: a missing mount must never look like an empty folder."""
    try:
        info = root.stat()
    except FileNotFoundError as error:
        raise SourceError(f"{root} does not exist: is the volume mounted and the path right?") from error
    except OSError as error:
        raise SourceError(f"{root} cannot be read: {error.strerror}") from error
    if not (stat.S_ISDIR(info.st_mode) or stat.S_ISREG(info.st_mode)):
        raise SourceError(f"{root} is neither a folder nor a file")
    if not os.access(root, os.R_OK | (os.X_OK if stat.S_ISDIR(info.st_mode) else 0)):
        raise SourceError(f"{root} cannot be read: permission denied")


def matches(name: str, *, include: tuple[str, ...], exclude: tuple[str, ...]) -> bool:
    """Tell whether a relative path is wanted. `*` also spans "/"; a pattern without "/" may match the last part."""
    last = name.rpartition("/")[2]

    def hit(pattern: str) -> bool:
        return (
            fnmatchcase(name, pattern)
            or ("/" not in pattern and fnmatchcase(last, pattern))
            or (pattern.startswith("**/") and fnmatchcase(name, pattern[3:]))
        )

    return (not include or any(hit(p) for p in include)) and not any(hit(p) for p in exclude)


def walk(root: Path, *, include: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> Iterator[Found | Refusal]:
    """Yield what is wanted below a folder, sorted by name, or the file that the root is.

    Links and special files come as refusals, hidden files not at all. Raises SourceError when it cannot be listed.
    """
    for found in _everything(root):
        if isinstance(found, Refusal) or matches(found.name, include=include, exclude=exclude):
            yield found


def _everything(root: Path) -> Iterator[Found | Refusal]:
    if root.is_file():
        info = root.stat()
        yield Found(root, root.name, info.st_size, info.st_mtime_ns, single=True)
        return
    try:
        names = sorted(path.name for path in root.iterdir())
    except OSError as error:
        raise SourceError(f"{root} cannot be listed: {error.strerror}") from error
    yield from _walk(root, "", names)


def _walk(folder: Path, prefix: str, names: list[str]) -> Iterator[Found | Refusal]:
    for name in names:
        path, relative = folder / name, prefix + name
        if name.startswith("."):
            continue
        try:
            info = path.lstat()
            if stat.S_ISDIR(info.st_mode):
                yield from _walk(path, f"{relative}/", sorted(child.name for child in path.iterdir()))
            elif stat.S_ISREG(info.st_mode):
                yield Found(path, relative, info.st_size, info.st_mtime_ns)
            else:
                kind = "a symbolic link" if stat.S_ISLNK(info.st_mode) else "not a regular file"
                yield Refusal(uri=f"file:{printable(relative)}", code="file-not-regular", detail=kind)
        except OSError as error:
            detail = error.strerror or "cannot be read"
            yield Refusal(uri=f"file:{printable(relative)}", code="file-unreadable", detail=detail, quarantined=False)
