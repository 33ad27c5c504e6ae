"""Files and archives of an export to streams of JSON, within limits and without writing anything to disk."""

import bz2
import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from hearth_api.wire.ingest import RunLimits
from hearth_ingest.errors import ItemError, RefusedError
from hearth_ingest.teams.stream import Broken, Record, read_records

_ENDINGS = (".json", ".ndjson", ".jsonl")
_COMPRESSED = tuple(name + packing for name in _ENDINGS for packing in (".gz", ".bz2", ".xz"))
_PACKED = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip", *_COMPRESSED)
_RATIO_FROM = 4 << 20
_BROKEN = (EOFError, ValueError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile, RuntimeError)


class _Counted:
    """A stream that refuses to give more than the limits allow."""

    def __init__(self, file: IO[bytes], *, packed: int, limits: RunLimits) -> None:
        self._file = file
        self._packed = max(packed, 1)
        self._limits = limits
        self._given = 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(1 << 20 if size < 0 else size)
        self._given += len(data)
        if self._given > self._limits.expanded_bytes:
            raise RefusedError("expands-too-far", f"more than {self._limits.expanded_bytes} bytes")
        if self._given > max(_RATIO_FROM, self._packed * self._limits.ratio):
            raise RefusedError("expands-too-far", f"more than {self._limits.ratio} times its size")
        return data


def is_export(name: str) -> bool:
    """Tell by its name whether a file can be an export."""
    return name.lower().endswith((*_ENDINGS, *_PACKED))


def read_file(path: Path, *, name: str, limits: RunLimits) -> Iterator[tuple[str, Record | Broken]]:
    """Yield the records of a file with the name of the member they stand in. Raises ItemError, OSError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        magic = file.read(265)
        file.seek(0)
        try:
            if magic.startswith(b"PK\x03\x04"):
                yield from _zip(file, size, limits)
            elif opened := _decompress(file, magic):
                counted = _Counted(opened, packed=size, limits=limits)
                if name.lower().endswith(_COMPRESSED):
                    yield from _records(counted, "", limits)
                else:
                    yield from _tar(counted, limits)
            elif magic[257:262] == b"ustar" or name.lower().endswith(".tar"):
                yield from _tar(file, limits)  # nothing expands, and its media are passed over
            else:
                yield from _records(file, "", limits)
        except _BROKEN as error:
            raise ItemError("archive-broken", type(error).__name__) from error


def _records(file: Any, member: str, limits: RunLimits) -> Iterator[tuple[str, Record | Broken]]:
    for record in read_records(file, limit=limits.item_bytes):
        yield member, record


def _decompress(file: IO[bytes], magic: bytes) -> IO[bytes] | None:
    if magic.startswith(b"\x1f\x8b"):
        return cast("IO[bytes]", gzip.GzipFile(fileobj=file))
    if magic.startswith(b"BZh"):
        return bz2.BZ2File(file)
    if magic.startswith(b"\xfd7zXZ\x00"):
        return lzma.LZMAFile(file)
    return None


def _tar(stream: Any, limits: RunLimits) -> Iterator[tuple[str, Record | Broken]]:
    entries = 0
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            entries += 1
            if entries > limits.entries:
                raise RefusedError("too-many-entries", f"more than {limits.entries}")
            if member.isreg() and member.name.lower().endswith(_ENDINGS):
                content = archive.extractfile(member)
                if content is not None:
                    yield from _records(content, _name(member.name), limits)


def _zip(file: IO[bytes], size: int, limits: RunLimits) -> Iterator[tuple[str, Record | Broken]]:
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if len(members) > limits.entries:
            raise RefusedError("too-many-entries", f"more than {limits.entries}")
        if sum(member.file_size for member in members) > limits.expanded_bytes:
            raise RefusedError("expands-too-far", f"more than {limits.expanded_bytes} bytes")
        for member in members:
            if member.filename.lower().endswith(_ENDINGS):
                with archive.open(member) as content:
                    counted = _Counted(content, packed=size, limits=limits)
                    yield from _records(counted, _name(member.filename), limits)


def _name(name: str) -> str:
    return name.encode("utf-8", "replace").decode("utf-8", "replace")
