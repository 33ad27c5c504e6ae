"""A stream of files, as tar, sealed in frames whose order and end are authenticated."""

import hashlib
import io
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hearth_knowledge.backup.errors import BackupError
from hearth_knowledge.crypto import RandomBytes, seal_stream, unseal_stream
from hearth_knowledge.errors import SealBrokenError

READ_BYTES = 1 << 20
MEMBER = re.compile(r"knowledge\.db|kbs/[a-z0-9-]{1,63}/[a-z2-7]{2}/[a-z0-9-]{1,96}\.\d+\.(body|original)")


@dataclass(frozen=True, slots=True)
class Written:
    """What an archive became."""

    sha256: str
    archive_bytes: int
    plain_bytes: int


def write_archive(
    target: Path, folder: Path, files: Iterable[str], *, name: str, key: bytes, random: RandomBytes
) -> Written:
    """Seal files into one new file. The caller brings it to disk."""
    digest, size, counter = hashlib.sha256(), 0, _Counter()
    with target.open("xb") as out:
        plain = counter.count(_to_tar(folder, files))
        for piece in seal_stream(key, plain, place=f"backup|{name}", random=random):
            digest.update(piece)
            size += out.write(piece)
    return Written(sha256=digest.hexdigest(), archive_bytes=size, plain_bytes=counter.total)


def read_archive(source: Path, *, name: str, key: bytes, target: Path | None = None) -> tuple[str, set[str]]:
    """Open an archive to its authenticated end; write its files below `target` (only the database where that is None).

    Returns its digest and the names of its files. BackupError where it was cut, changed or belongs elsewhere.
    """
    digest = hashlib.sha256()

    def pieces() -> Iterator[bytes]:
        with source.open("rb") as file:
            while piece := file.read(READ_BYTES):
                digest.update(piece)
                yield piece

    plain = _Plain(unseal_stream(key, pieces(), place=f"backup|{name}"))
    names: set[str] = set()
    try:
        with tarfile.open(fileobj=plain, mode="r|") as tar:
            for member in tar:
                if not MEMBER.fullmatch(member.name) or not member.isreg():
                    raise BackupError(f"{name} holds something that is no file of ours")
                names.add(member.name)
                if target is not None:
                    _extract(tar, member, target)
        while plain.read(READ_BYTES):
            pass  # the end is authenticated too
    except SealBrokenError as error:
        raise BackupError(f"the archive of {name} is damaged, cut short or was changed") from error
    except (tarfile.TarError, FileNotFoundError) as error:
        raise BackupError(f"the archive of {name} is not readable ({type(error).__name__})") from error
    return digest.hexdigest(), names


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    file = tar.extractfile(member)
    assert file is not None
    path = target / member.name
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.open("xb") as out:
        path.chmod(0o600)
        while piece := file.read(READ_BYTES):
            out.write(piece)


def _to_tar(folder: Path, files: Iterable[str]) -> Iterator[bytes]:
    for name in files:
        path = folder / name
        info = tarfile.TarInfo(name)
        info.size = path.stat().st_size
        yield info.tobuf(tarfile.PAX_FORMAT)
        with path.open("rb") as file:
            while piece := file.read(READ_BYTES):
                yield piece
        if rest := info.size % tarfile.BLOCKSIZE:
            yield bytes(tarfile.BLOCKSIZE - rest)
    yield bytes(2 * tarfile.BLOCKSIZE)


class _Counter:
    def __init__(self) -> None:
        self.total = 0

    def count(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.total += len(piece)
            yield piece


class _Plain(io.RawIOBase):
    """A stream of pieces as tarfile reads it."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        while len(self._rest) < size and (piece := next(self._pieces, None)) is not None:
            self._rest += piece
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken
