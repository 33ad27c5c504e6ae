"""The folder that keeps weights: by content, so that nothing is kept twice, and never half.

blobs/<sha256>          a whole, verified file
partial/<key>           a file on its way; <key>.json says what proves it is still the same, <key>.lock who writes
trees/<source>/<name>   links to blobs, under the names that engines look for
sources/<source>.json   which files a source has, and when it was used last; <source>.lock is held while it is loaded
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from hearth_api.wire.weights import StoreStatus, WeightsCode
from hearth_serve.weights.errors import WeightsError, shown
from hearth_serve.weights.remote import Listing, RemoteFile, source_key

HEADROOM = 1 << 30
"""Bytes of the disk that a download leaves free: what else lives there needs air."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A source that is whole in the store."""

    key: str
    source: str
    resolved: str | None
    files: tuple[tuple[str, str, int], ...]
    """Name, SHA-256, bytes."""
    used: str

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(size for _, _, size in self.files)


@dataclass(slots=True)
class Store:
    """One folder. Several processes may share it: writers lock a file each, readers a source."""

    root: Path
    quota: int | None = None
    headroom: int = HEADROOM
    free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    busy: set[str] = field(default_factory=set)
    """Digests of files whose source is not whole yet: content that nothing names, and that must stay."""
    _held: dict[str, int] = field(default_factory=dict)

    def prepare(self) -> None:
        """Make the folders. Raises WeightsError DiskFull where nothing can be written."""
        try:
            for part in ("blobs", "partial", "trees", "sources"):
                (self.root / part).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WeightsError(
                WeightsCode.DISK_FULL, f"The store {self.root} cannot be written: {error.strerror}.", passing=True
            ) from error

    def entry(self, key: str) -> Entry | None:
        """Return a source that is whole, by its key."""
        try:
            raw = json.loads((self.root / "sources" / f"{key}.json").read_text())
            entry = _read_entry(key, raw)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        whole = all(_size(self.blob(digest)) == size for _, digest, size in entry.files)
        return entry if whole else None

    def entries(self) -> list[Entry]:
        """Return all sources that are whole."""
        keys = sorted(path.stem for path in (self.root / "sources").glob("*.json"))
        return [entry for key in keys if (entry := self.entry(key)) is not None]

    def tree(self, key: str) -> Path:
        """Return the folder with a source's files under their names."""
        return self.root / "trees" / key

    def blob(self, digest: str) -> Path:
        """Return where content is."""
        return self.root / "blobs" / digest

    def partial(self, file: RemoteFile) -> Path:
        """Return where a file grows: the same content from anywhere at the same place."""
        what = file.sha256 or hashlib.sha256(f"{file.url.split('?X-Amz')[0]}\n{file.git_sha1}".encode()).hexdigest()
        return self.root / "partial" / what

    def touch(self, key: str) -> None:
        """Note that a source was used now."""
        entry = self.entry(key)
        if entry is not None:
            self._write_entry(entry)

    def hold(self, key: str) -> None:
        """Keep a source from being evicted for as long as this process lives: it is loaded."""
        if key not in self._held:
            handle = os.open(self.root / "sources" / f"{key}.lock", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(handle, fcntl.LOCK_SH)
            self._held[key] = handle

    def keep(self, file: RemoteFile, partial: Path) -> tuple[str, str, int]:
        """Verify a whole file and move it to its content's place. Raises WeightsError DigestMismatch; then it is
        gone, for nothing of it can be trusted.
        """
        size = partial.stat().st_size
        with partial.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        wrong = None
        if file.sha256 is not None and digest != file.sha256:
            wrong = f"SHA-256 {digest}, not the expected {file.sha256}"
        elif file.git_sha1 is not None and (found := _git_digest(partial, size)) != file.git_sha1:
            wrong = f"git digest {found}, not the expected {file.git_sha1}"
        if wrong is not None:
            self.drop_partial(partial)
            raise WeightsError(
                WeightsCode.DIGEST_MISMATCH,
                f"{file.name} came with {wrong}: another file is there now, or it was damaged on the way. It was "
                "deleted.",
            )
        with partial.open("rb") as opened:
            os.fsync(opened.fileno())
        partial.chmod(0o444)
        self.busy.add(digest)
        partial.replace(self.blob(digest))
        partial.with_name(f"{partial.name}.json").unlink(missing_ok=True)
        return (file.name, digest, size)

    def drop_partial(self, partial: Path) -> None:
        """Forget what had come of a file."""
        partial.unlink(missing_ok=True)
        partial.with_name(f"{partial.name}.json").unlink(missing_ok=True)

    def publish(self, source: str, listing: Listing, files: tuple[tuple[str, str, int], ...]) -> Entry:
        """Make a source visible, whole at once."""
        key = source_key(source)
        entry = Entry(key=key, source=source, resolved=listing.resolved, files=files, used=self._stamp())
        staging = self.root / "trees" / f".{key}.new"
        shutil.rmtree(staging, ignore_errors=True)
        for name, digest, _ in files:
            link = staging / PurePosixPath(name)
            link.parent.mkdir(parents=True, exist_ok=True)
            up = "../" * (len(PurePosixPath(name).parts) + 1)
            link.symlink_to(f"{up}blobs/{digest}")
        shutil.rmtree(self.tree(key), ignore_errors=True)
        staging.rename(self.tree(key))
        self._write_entry(entry)
        return entry

    def make_room(self, size: int, *, wanted: frozenset[str], what: str, growing: frozenset[str] = frozenset()) -> None:
        """Make sure that `size` more bytes fit: first half files that are not among `growing` go, then what was used
        longest ago; never what is wanted or loaded. Raises WeightsError with the numbers: TooLarge when it can never
        fit the quota, else DiskFull.
        """
        if self.quota is not None and size > self.quota:
            raise WeightsError(
                WeightsCode.TOO_LARGE,
                f"{what} needs {shown(size)}, the whole store may have {shown(self.quota)}: raise its quota "
                "(HEARTH_WEIGHTS_QUOTA; of a node in the cluster spec.managed.storage.size) or take a smaller build.",
            )
        if self._lacking(size) > 0:
            self.clear_partials(keep=growing)
        for entry in [*self._evictable(wanted), None]:
            lacking = self._lacking(size)
            if lacking <= 0:
                return
            if entry is not None:
                self.evict(entry.key)
        quota = f", {shown(self.used())} of its quota of {shown(self.quota)} are taken" if self.quota else ""
        raise WeightsError(
            WeightsCode.DISK_FULL,
            f"{what} needs {shown(size)} more; {self.root} has {shown(self.free(self.root))} free, of which "
            f"{shown(self.headroom)} stay free{quota}, and nothing is left there that could go: {shown(lacking)} are "
            "missing. Free some space, or remove a model from this machine.",
            passing=True,
        )

    def _lacking(self, size: int) -> int:
        short = size + self.headroom - self.free(self.root)
        return max(short, self.used() + size - self.quota) if self.quota is not None else short

    def _evictable(self, wanted: frozenset[str]) -> list[Entry]:
        return sorted((e for e in self.entries() if e.key not in wanted), key=lambda e: e.used)

    def evict(self, key: str) -> bool:
        """Remove a source that nobody has loaded, and the content that no other one has. Returns whether it went."""
        entry = self.entry(key)
        with exclusive(self.root / "sources" / f"{key}.lock") as alone:
            if not alone:
                return False
            (self.root / "sources" / f"{key}.json").unlink(missing_ok=True)
            shutil.rmtree(self.tree(key), ignore_errors=True)
        kept = self.busy | {digest for other in self.entries() for _, digest, _ in other.files}
        for _, digest, _ in entry.files if entry is not None else ():
            if digest not in kept:
                self.blob(digest).unlink(missing_ok=True)
        return True

    def sweep(self) -> None:
        """Remove content that belongs to no source any more: left by a download of several files that was given up."""
        kept = self.busy | {digest for entry in self.entries() for _, digest, _ in entry.files}
        for blob in (self.root / "blobs").iterdir():
            if blob.name not in kept:
                blob.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove what a former life left behind and no source names. Half files stay: they may be gone on with."""
        if (self.root / "blobs").is_dir():
            self.sweep()

    def clear_partials(self, *, keep: frozenset[str]) -> None:
        """Drop what came of files that nobody wants any more and nobody is writing."""
        for path in (self.root / "partial").iterdir():
            name = path.name.partition(".")[0]
            if path.suffix or name in keep:
                continue
            with exclusive(path.with_name(f"{name}.lock")) as alone:
                if alone:
                    self.drop_partial(path)

    def used(self) -> int:
        """Return the bytes of all content, half files with them."""
        return sum(_size(p) for part in ("blobs", "partial") for p in (self.root / part).glob("*"))

    def status(self) -> StoreStatus:
        """Return what the machine says of the folder."""
        return StoreStatus(path=str(self.root), used=self.used(), free=self.free(self.root), quota=self.quota)

    def _stamp(self) -> str:
        return self.now().isoformat()

    def _write_entry(self, entry: Entry) -> None:
        value = {
            "source": entry.source,
            "resolved": entry.resolved,
            "files": [list(file) for file in entry.files],
            "used": self._stamp(),
        }
        path = self.root / "sources" / f"{entry.key}.json"
        fresh = path.with_name(f".{entry.key}.{os.getpid()}.new")
        fresh.write_text(json.dumps(value))
        fresh.replace(path)


def _read_entry(key: str, raw: Any) -> Entry:
    return Entry(
        key=key,
        source=raw["source"],
        resolved=raw["resolved"],
        files=tuple((str(name), str(digest), int(size)) for name, digest, size in raw["files"]),
        used=raw["used"],
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _git_digest(path: Path, size: int) -> str:
    digest = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    digest.update(path.read_bytes())
    return digest.hexdigest()


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[bool]:
    """Hold a lock while in here; yields False where somebody else has it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(handle)
