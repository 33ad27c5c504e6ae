"""The ZIP file around an office document: opened only within the limits, every entry accounted for."""

import io
import posixpath
import zipfile
import zlib
from collections.abc import Callable
from lzma import LZMAError

from hearth_api.wire.documents import Part
from hearth_api.wire.ingest import RunLimits
from hearth_ingest.documents.body import part_type
from hearth_ingest.documents.xml import Element, attribute, child, children, parse_xml
from hearth_ingest.errors import ItemError, RefusedError

_CHUNK = 1 << 16
_RATIO_FROM = 4 << 20
"""Entries that unpack to less than this may grow as they like: it costs nothing."""
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_MAX_PARTS = 500
_STRUCTURE = (".rels", "[content_types].xml")


class Unpacker:
    """Reads entries of one ZIP file and counts what really came out of them."""

    def __init__(self, data: bytes, *, entries: int, expanded_bytes: int, ratio: int) -> None:
        """Open. Raises ItemError("archive-broken"), RefusedError("too-many-entries" | "expands-too-far")."""
        self.left = expanded_bytes
        self._ratio = ratio
        try:
            self.zip = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, OverflowError, LookupError) as error:
            raise ItemError("archive-broken", "its directory cannot be read: cut off?") from error
        self.infos = self.zip.infolist()
        if len(self.infos) > entries:
            raise RefusedError("too-many-entries", f"{len(self.infos)} entries, {entries} allowed")
        if sum(info.compress_size for info in self.infos) > len(data):
            raise RefusedError("expands-too-far", "its entries overlap")

    def read(self, info: zipfile.ZipInfo) -> bytes:
        """Return an entry. Raises RefusedError("expands-too-far" | "entry-encrypted"), ItemError("entry-broken")."""
        if info.flag_bits & 0x1:
            raise RefusedError("entry-encrypted", "it needs a password")
        if info.file_size > self.left:
            raise RefusedError("expands-too-far", f"{info.file_size} bytes declared, {self.left} left")
        out = io.BytesIO()
        try:
            with self.zip.open(info) as stream:
                while chunk := stream.read(_CHUNK):
                    out.write(chunk)
                    self._check(out.tell(), info.compress_size)
        except (zipfile.BadZipFile, zlib.error, LZMAError, EOFError, OSError, ValueError, LookupError) as error:
            raise ItemError("entry-broken", "its checksum or compression is wrong") from error
        except (NotImplementedError, RuntimeError) as error:
            raise ItemError("entry-broken", "it is packed in a way that is not read") from error
        self.left -= out.tell()
        return out.getvalue()

    def _check(self, size: int, packed: int) -> None:
        if size > self.left:
            raise RefusedError("expands-too-far", "more bytes than one item may unpack to")
        if size > _RATIO_FROM and size > self._ratio * max(packed, 1):
            raise RefusedError("expands-too-far", f"an entry grows more than {self._ratio} times")


class Package:
    """An office file's entries by name, without case: some writers do not agree with themselves."""

    def __init__(self, data: bytes, limits: RunLimits) -> None:
        """Open. Raises ItemError("office-encrypted" | "office-old" | "office-unparseable"), RefusedError."""
        if data.startswith(_OLE):
            if "EncryptedPackage".encode("utf-16-le") in data:
                raise ItemError("office-encrypted", "save it without a password")
            raise ItemError("office-old", "an old binary format: save it as DOCX, XLSX or PPTX")
        try:
            self._unpacker = Unpacker(
                data, entries=limits.entries, expanded_bytes=limits.expanded_bytes, ratio=limits.ratio
            )
        except ItemError as error:
            if isinstance(error, RefusedError):
                raise
            raise ItemError("office-unparseable", error.detail) from error
        self._infos: dict[str, zipfile.ZipInfo] = {}
        for info in self._unpacker.infos:
            self._infos.setdefault(info.filename.lstrip("/").lower(), info)
        self._used: set[str] = set()
        self._repaired = False

    def names(self) -> list[str]:
        """Return the entries' names as written."""
        return [info.filename for info in self._unpacker.infos]

    def read(self, name: str) -> bytes | None:
        """Return an entry's bytes, or None where there is none. Raises RefusedError."""
        key = name.lstrip("/").lower()
        info = self._infos.get(key)
        if info is None:
            return None
        try:
            data = self._unpacker.read(info)
        except RefusedError as error:
            if error.code == "entry-encrypted":
                raise ItemError("office-encrypted", "save it without a password") from error
            raise
        self._used.add(key)
        return data

    def xml(self, name: str) -> Element | None:
        """Return an entry's root element, or None where there is none or it is broken beyond repair."""
        try:
            data = self.read(name)
            if not data:
                return None
            root, sound = parse_xml(data)
            self._repaired = self._repaired or not sound
            return root
        except RefusedError:
            raise
        except ItemError as error:
            if error.code == "office-encrypted":
                raise
            return None

    def relations(self, part: str) -> dict[str, tuple[str, str]]:
        """Return relation id -> (short type, target) of a part; inner targets are entry names, outer ones addresses."""
        folder, _, name = part.rpartition("/")
        root = self.xml(f"{folder}/_rels/{name}.rels" if folder else f"_rels/{name}.rels")
        found: dict[str, tuple[str, str]] = {}
        for relation in children(root, "Relationship") if root is not None else ():
            target = attribute(relation, "Target") or ""
            if attribute(relation, "TargetMode") != "External":
                target = posixpath.normpath(posixpath.join(f"/{folder}", target)).lstrip("/")
            kind = (attribute(relation, "Type") or "").rpartition("/")[2]
            found[attribute(relation, "Id") or ""] = (kind, target)
        return found

    def main_part(self, default: str) -> str:
        """Return the name of the part that is the document itself."""
        targets = (target for kind, target in self.relations("").values() if kind == "officeDocument")
        return next((target for target in targets if target.lower() in self._infos), default)

    def properties(self) -> tuple[str, str | None]:
        """Return the title and the time of creation that the file states."""
        core = self.xml("docProps/core.xml")
        title, created = child(core, "title"), child(core, "created")
        return (title.text or "" if title is not None else ""), (created.text if created is not None else None)

    def remark(self, warn: Callable[[str, str], None]) -> None:
        """Give the warnings of the package itself, once everything was read."""
        if self._has_macros():
            warn("macros-not-read", "the file carries macros")
        if self._repaired:
            warn("xml-repaired", "its XML is broken or nested too deeply: some of it may be missing")

    def _has_macros(self) -> bool:
        return any(name.endswith("vbaproject.bin") or name.startswith("basic/") for name in self._infos)

    def parts(self, reasons: dict[str, str] | None = None) -> tuple[Part, ...]:
        """Return the account of all entries that carry content; `reasons` (by lower-case name) explain special ones."""
        why = {name.lower(): reason for name, reason in (reasons or {}).items()}
        out: list[Part] = []
        for key, info in self._infos.items():
            if key.endswith("/") or key.endswith(_STRUCTURE):
                continue
            used = key in self._used and key not in why
            reason = why.get(key) or ("container-entry" if used else _unused(key))
            if reason == "layout-only":
                continue
            out.append(Part(media_type=part_type(key), used=used, reason=reason, name=info.filename[:255]))
        return tuple(out[:_MAX_PARTS])


def _unused(key: str) -> str:
    if key.endswith("vbaproject.bin") or key.startswith("basic/"):
        return "macros-not-read"
    if "/embeddings/" in key or key.startswith("object ") or key.endswith((".bin", ".ole")):
        return "embedded-object"
    if "/media/" in key or key.startswith(("pictures/", "media/", "thumbnails/", "docprops/thumb")):
        return "media-not-read"
    if "/header" in key or "/footer" in key:
        return "page-header"
    return "layout-only"
