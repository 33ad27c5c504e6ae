"""Archives to their members, within limits. Runs in the sandbox; `archive.py` makes documents of what comes out."""

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import IO, Any

from hearth_ingest.documents.body import DOCX, ODF_TYPES, PPTX, XLSX
from hearth_ingest.documents.package import Unpacker
from hearth_ingest.documents.salvage import local_entries, read_local
from hearth_ingest.errors import ItemError, RefusedError
from hearth_ingest.sandbox.worker import Frame

_CHUNK = 1 << 16
_RATIO_FROM = 4 << 20
_MAX_NAME = 1024
_BROKEN = (OSError, EOFError, ValueError, LookupError, zlib.error, lzma.LZMAError, tarfile.TarError, OverflowError)
_OFFICE = (("word/document.xml", DOCX), ("ppt/presentation.xml", PPTX), ("xl/workbook.xml", XLSX))


def unpack(data: bytes, arguments: Mapping[str, Any]) -> Iterator[Frame]:
    """Yield a frame for each member: {"name"} with its bytes, or {"name", "error", "detail", "refused"} without.

    `arguments`: type, name, entries, expanded_bytes, ratio, item_bytes. A ZIP file that is an office document yields
    one frame {"office": media type}. Raises ItemError for an archive that cannot be opened at all.
    """
    kind = arguments["type"]
    if kind == "application/zip":
        yield from _unpack_zip(data, arguments)
    elif kind == "application/x-tar":
        yield from _unpack_tar(io.BytesIO(data), arguments, packed=len(data), budget=arguments["expanded_bytes"])
    else:
        yield from _unpack_stream(data, arguments)


def _problem(name: str, error: ItemError) -> Frame:
    facts = {"error": error.code, "detail": error.detail, "refused": isinstance(error, RefusedError)}
    return {"name": name, **facts}, b""


def check_name(name: str) -> str:
    """Return a member's path with "/". Raises RefusedError("unsafe-path") for one that leads out of the archive."""
    path = name.replace("\\", "/")
    pieces = path.split("/")
    drive = len(pieces[0]) == 2 and pieces[0][1:] == ":"
    if path.startswith("/") or drive or ".." in pieces or "\0" in name or len(name) > _MAX_NAME:
        raise RefusedError("unsafe-path", "its name leads out of the archive")
    clean = "/".join(piece for piece in pieces if piece not in {"", "."})
    if not clean:
        raise RefusedError("unsafe-path", "it has no name")
    return clean


def _printable(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")[:_MAX_NAME]


def _unpack_zip(data: bytes, arguments: Mapping[str, Any]) -> Iterator[Frame]:
    try:
        unpacker = Unpacker(
            data, entries=arguments["entries"], expanded_bytes=arguments["expanded_bytes"], ratio=arguments["ratio"]
        )
    except RefusedError:
        raise
    except ItemError as error:
        yield from _salvage(data, arguments, error)
        return
    office = _office_type(unpacker)
    if office:
        yield {"office": office}, b""
        return
    seen: set[str] = set()
    for info in unpacker.infos:
        name = _printable(_zip_name(info))
        if info.is_dir():
            continue
        try:
            path = check_name(name)
            if stat.S_IFMT(info.external_attr >> 16) not in {0, stat.S_IFREG}:
                raise RefusedError("file-not-regular", "a link or a device")
            if path in seen:
                raise RefusedError("duplicate-name", "an entry of that name came before")
            seen.add(path)
            if info.file_size > arguments["item_bytes"]:
                raise RefusedError("too-large", f"{info.file_size} bytes, {arguments['item_bytes']} allowed")
            blob = unpacker.read(info)
        except ItemError as error:
            yield _problem(name, error)
            continue
        yield {"name": path}, blob


def _salvage(data: bytes, arguments: Mapping[str, Any], problem: ItemError) -> Iterator[Frame]:
    """Yield what a ZIP file without a directory holds. Raises `problem` where that is nothing."""
    left, seen = arguments["expanded_bytes"], set[str]()
    for number, entry in enumerate(local_entries(data)):
        if number >= arguments["entries"]:
            yield _problem("", RefusedError("too-many-entries", f"only the first {number} were read"))
            break
        if entry.name.endswith("/"):
            continue
        try:
            path = check_name(entry.name)
            if path in seen:
                raise RefusedError("duplicate-name", "an entry of that name came before")
            seen.add(path)
            blob = read_local(data, entry, most=min(left, arguments["item_bytes"]), ratio=arguments["ratio"])
        except ItemError as error:
            yield _problem(_printable(entry.name), error)
            continue
        left -= len(blob)
        yield {"name": path}, blob
    if not seen:
        raise problem
    yield _problem("", problem)


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Return the name; without the UTF-8 flag it is what the packer's system wrote, which is mostly UTF-8."""
    if info.flag_bits & 0x800:
        return info.orig_filename
    try:
        return info.orig_filename.encode("cp437").decode("utf-8")
    except (UnicodeError, ValueError):
        return info.orig_filename


def _office_type(unpacker: Unpacker) -> str | None:
    names = {info.filename.lower(): info for info in unpacker.infos}
    if "mimetype" in names and names["mimetype"].file_size < 200 and "content.xml" in names:
        try:
            mimetype = unpacker.read(names["mimetype"]).decode("ascii", "replace").strip()
        except ItemError:
            return None
        return next((kind for kind in ODF_TYPES.values() if mimetype.startswith(kind)), None)
    if "[content_types].xml" not in names:
        return None
    return next((kind for marker, kind in _OFFICE if marker in names), None)


class _Bounded(io.RawIOBase):
    """A stream that stops when more comes out of it than may; what tarfile reads goes through it."""

    def __init__(self, inner: IO[bytes] | gzip.GzipFile, *, budget: int, packed: int, ratio: int) -> None:
        self._inner = inner
        self._left = budget
        self._packed = packed
        self._ratio = ratio
        self._read = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._inner.read(min(size, 1 << 22) if size >= 0 else _CHUNK)
        self._read += len(data)
        if self._read > self._left:
            raise RefusedError("expands-too-far", "more bytes than one item may unpack to")
        if self._read > _RATIO_FROM and self._read > self._ratio * max(self._packed, 1):
            raise RefusedError("expands-too-far", f"it grows more than {self._ratio} times")
        return data


def _opened(data: bytes, kind: str) -> IO[bytes] | gzip.GzipFile:
    raw = io.BytesIO(data)
    if kind == "application/gzip":
        return gzip.GzipFile(fileobj=raw)
    if kind == "application/x-bzip2":
        return bz2.BZ2File(raw)
    return lzma.LZMAFile(raw)


def _unpack_stream(data: bytes, arguments: Mapping[str, Any]) -> Iterator[Frame]:
    """Yield the members of a compressed tar, or the one file that a compressed stream is."""
    stream = _Bounded(
        _opened(data, arguments["type"]),
        budget=arguments["expanded_bytes"],
        packed=len(data),
        ratio=arguments["ratio"],
    )
    if not data:
        raise ItemError("archive-broken", "it is empty")
    out = bytearray()
    problem: ItemError | None = None
    try:
        while chunk := stream.read(_CHUNK):
            out += chunk
    except RefusedError:
        raise
    except _BROKEN as error:
        if not out:
            raise ItemError("archive-broken", "its compression is wrong") from error
        problem = ItemError("archive-broken", "it is cut off")
    content = bytes(out)
    if _is_tar(content):
        yield from _unpack_tar(io.BytesIO(content), arguments, packed=len(data), budget=len(content))
    elif problem is not None:
        raise problem
    else:
        yield {"name": _inner_name(arguments["name"])}, content
    if problem is not None:
        yield _problem("", problem)


def _is_tar(content: bytes) -> bool:
    return content[257:262] == b"ustar"


def _inner_name(name: str) -> str:
    last = name.replace("\\", "/").rpartition("/")[2].rpartition("!")[2]
    stem, _, suffix = last.rpartition(".")
    if suffix.lower() in {"tgz", "tbz", "tbz2", "txz"}:
        return f"{stem or 'content'}.tar"
    return stem if suffix.lower() in {"gz", "bz2", "xz"} and stem else f"{last or 'content'}.content"


def _unpack_tar(stream: IO[bytes], arguments: Mapping[str, Any], *, packed: int, budget: int) -> Iterator[Frame]:
    del packed
    try:
        archive = tarfile.open(fileobj=stream, mode="r:", ignore_zeros=False, errorlevel=2)  # noqa: SIM115 - in memory
    except _BROKEN as error:
        raise ItemError("archive-broken", "it does not begin as a TAR file does") from error
    seen: set[str] = set()
    count, left = 0, budget
    while True:
        try:
            member = archive.next()
        except _BROKEN:
            yield _problem("", ItemError("archive-broken", "it is cut off or broken in the middle"))
            return
        if member is None:
            return
        count += 1
        if count > arguments["entries"]:
            yield _problem("", RefusedError("too-many-entries", f"only the first {arguments['entries']} were read"))
            return
        if member.isdir():
            continue
        name = _printable(member.name)
        try:
            path, blob = _tar_member(archive, member, name, seen=seen, left=left, item_bytes=arguments["item_bytes"])
        except ItemError as error:
            yield _problem(name, error)
            continue
        left -= len(blob)
        yield {"name": path}, blob


def _tar_member(
    archive: tarfile.TarFile, member: tarfile.TarInfo, name: str, *, seen: set[str], left: int, item_bytes: int
) -> tuple[str, bytes]:
    path = check_name(name)
    if not member.isreg() or member.issparse():
        raise RefusedError("file-not-regular", "a link, a device or a sparse file")
    if path in seen:
        raise RefusedError("duplicate-name", "an entry of that name came before")
    seen.add(path)
    if member.size > item_bytes:
        raise RefusedError("too-large", f"{member.size} bytes, {item_bytes} allowed")
    if member.size > left:
        raise RefusedError("expands-too-far", f"{member.size} bytes, {left} left")
    try:
        stream = archive.extractfile(member)
        blob = stream.read(member.size) if stream is not None else b""
    except _BROKEN as error:
        raise ItemError("entry-broken", "it is cut off") from error
    if len(blob) != member.size:
        raise ItemError("entry-broken", "it is cut off")
    return path, blob
