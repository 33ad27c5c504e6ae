"""ZIP files without a directory, because they are cut off: their entries one after the other. Runs in the sandbox."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from hearth_ingest.errors import ItemError, RefusedError

_HEAD = struct.Struct("<4s5H3I2H")
_STORED, _DEFLATED = 0, 8
_CHUNK = 1 << 16
_RATIO_FROM = 4 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as its local header describes it; `end` is where its packed bytes end, None where that is not told."""

    name: str
    flags: int
    method: int
    crc: int
    start: int
    end: int | None


def local_entries(data: bytes) -> Iterator[Entry]:
    """Yield entries until something else comes."""
    at = 0
    while at >= 0 and data[at : at + 4] == b"PK\3\4" and len(data) >= at + _HEAD.size:
        _, _, flags, method, _, _, crc, packed, _, name_size, extra = _HEAD.unpack_from(data, at)
        start = at + _HEAD.size + name_size + extra
        raw = data[at + _HEAD.size : at + _HEAD.size + name_size]
        name = raw.decode("utf-8", "replace")
        untold = bool(flags & 0x8) and not packed
        yield Entry(name, flags, method, crc, start, None if untold else start + packed)
        at = data.find(b"PK\3\4", start) if untold else start + packed


def read_local(data: bytes, entry: Entry, *, most: int, ratio: int) -> bytes:
    """Return an entry's bytes. Raises RefusedError (entry-encrypted, expands-too-far), ItemError (entry-broken)."""
    if entry.flags & 0x1:
        raise RefusedError("entry-encrypted", "it needs a password")
    if entry.method not in {_STORED, _DEFLATED} or (entry.end or 0) > len(data):
        raise ItemError("entry-broken", "it is cut off")
    packed = data[entry.start : entry.end]
    if entry.method == _STORED:
        content = packed
        if entry.end is None:
            raise ItemError("entry-broken", "its size is not told")
    else:
        content = _inflate(packed, most=most, ratio=ratio)
    if len(content) > most:
        raise RefusedError("expands-too-far", "more bytes than one item may unpack to")
    if entry.end is not None and not entry.flags & 0x8 and zlib.crc32(content) != entry.crc:
        raise ItemError("entry-broken", "its checksum is wrong")
    return content


def _inflate(packed: bytes, *, most: int, ratio: int) -> bytes:
    stream = zlib.decompressobj(-15)
    out = bytearray()
    left = packed
    try:
        while not stream.eof:
            out += stream.decompress(left, _CHUNK)
            left = stream.unconsumed_tail
            used = len(packed) - len(left)
            if len(out) > most or (len(out) > _RATIO_FROM and len(out) > ratio * max(used, 1)):
                raise RefusedError("expands-too-far", f"it grows more than {ratio} times")
            if not left and not stream.eof:
                raise ItemError("entry-broken", "it is cut off")
    except zlib.error as error:
        raise ItemError("entry-broken", "its compression is wrong") from error
    return bytes(out)
