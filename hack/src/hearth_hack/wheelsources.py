"""The Python files of a locked wheel, without the wheel: for packages that are too large to install for a check.

A wheel is a zip file: its list stands at its end, and each member can be read by itself. Of vLLM's 326 MB its sources
are 11. What comes is read by a type checker and never run.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tomllib
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CHUNK = 4 << 20
_SECONDS = 60.0
_ENDINGS = (".py", ".pyi", "/py.typed")
_LONGEST = 8 << 20
"""Bytes of a source file."""


class WheelSourcesError(Exception):
    """The sources cannot be had; the text says why."""


@dataclass(frozen=True, slots=True)
class LockedWheel:
    """A wheel of uv.lock."""

    name: str
    version: str
    url: str
    size: int

    @property
    def file(self) -> str:
        """The wheel's file name."""
        return self.url.rpartition("/")[2]


class RemoteFile(io.RawIOBase):
    """A file on a server that answers for parts of it."""

    def __init__(self, url: str, *, size: int) -> None:
        super().__init__()
        self._url = url
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Return where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Choose where the next read begins."""
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def readinto(self, target: Any) -> int:
        """Fetch the next part."""
        end = min(self._size, self._at + len(target))
        if self._at >= end:
            return 0
        wanted = {"Range": f"bytes={self._at}-{end - 1}"}
        request = urllib.request.Request(self._url, headers=wanted)  # noqa: S310 the lock file's address
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
            if answer.status != 206:
                raise WheelSourcesError(f"{self._url} does not answer for a part of the file.")
            data = answer.read(len(target))
        target[: len(data)] = data
        self._at += len(data)
        return len(data)


def locked_wheel(lock: Path, name: str, *, fits: str) -> LockedWheel:
    """Return a package's wheel whose file name has `fits` in it."""
    for package in tomllib.loads(lock.read_text(encoding="utf-8"))["package"]:
        for wheel in package.get("wheels", []) if package["name"] == name else []:
            if fits in wheel["url"]:
                return LockedWheel(name, package["version"], wheel["url"], wheel.get("size", 0))
    raise WheelSourcesError(f"{lock} has no wheel of {name} with {fits} in its name.")


def fetch_sources(wheel: LockedWheel, cache: Path, *, environ: Mapping[str, str] = os.environ) -> Path:
    """Return a folder with the wheel's Python files; it is filled once for each version."""
    folder = cache / "sources" / f"{wheel.name}-{wheel.version}"
    if folder.is_dir():
        return folder
    partial = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _unpack(_address(wheel, environ), wheel.size, partial)
    except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise WheelSourcesError(f"The sources of {wheel.file} cannot be fetched: {error}.") from error
    try:
        partial.rename(folder)
    except OSError:  # somebody else was first
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _unpack(url: str, size: int, folder: Path) -> None:
    with zipfile.ZipFile(io.BufferedReader(RemoteFile(url, size=size), _CHUNK)) as archive:
        for member in archive.infolist():
            if member.filename.endswith(_ENDINGS) and member.file_size <= _LONGEST:
                archive.extract(member, folder)


def _address(wheel: LockedWheel, environ: Mapping[str, str]) -> str:
    """Return where the wheel is: at the user's own index where there is one, else as locked."""
    index = environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL")
    if not index:
        return wheel.url
    request = urllib.request.Request(  # noqa: S310 the user's own setting
        f"{index.rstrip('/')}/{wheel.name}/", headers={"Accept": "application/vnd.pypi.simple.v1+json"}
    )
    with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
        files = json.load(answer)["files"]
    found = next((str(file["url"]) for file in files if file["filename"] == wheel.file), None)
    if found is None:
        raise WheelSourcesError(f"The index {index} has no {wheel.file}.")
    return urllib.parse.urljoin(request.full_url, found)
