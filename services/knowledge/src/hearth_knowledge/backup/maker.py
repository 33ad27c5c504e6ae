"""Makes backups, keeps the newest, and says how it went."""

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from hearth_knowledge.backup.archive import write_archive
from hearth_knowledge.backup.errors import BackupError
from hearth_knowledge.backup.manifest import (
    ARCHIVE,
    FORMAT,
    MANIFEST,
    Manifest,
    choose_name,
    list_manifests,
    new_key,
)
from hearth_knowledge.backup.snapshot import clear_staging, take_snapshot
from hearth_knowledge.crypto import Keyring, RandomBytes
from hearth_knowledge.metrics import Metrics
from hearth_knowledge.storage.database import Database
from hearth_knowledge.storage.names import from_millis

PARTIAL = ".new-"

log = structlog.get_logger()


class BackupMaker:
    """One backup at a time. Blocking; run it off the event loop."""

    def __init__(
        self,
        database: Database,
        *,
        data: Path,
        folder: Path | None,
        keep: int,
        keyring: Keyring,
        exclusive: threading.Lock,
        metrics: Metrics,
        random: RandomBytes,
        now: Callable[[], int],
    ) -> None:
        self._database = database
        self._data = data
        self._folder = folder
        self._keep = keep
        self._keyring = keyring
        self._exclusive = exclusive
        self._metrics = metrics
        self._random = random
        self._now = now
        self._busy = threading.Lock()
        clear_staging(data)

    def list(self) -> list[Manifest]:
        """Return the finished backups, newest first."""
        return list_manifests(self._folder) if self._folder is not None else []

    def make(self) -> Manifest:
        """Make one and remove those that are too many. BackupError."""
        if self._folder is None:
            raise BackupError(
                "no place for backups is configured: set the chart value knowledge.backup.enabled (HEARTH_BACKUP_DIR)"
            )
        if not self._busy.acquire(blocking=False):
            raise BackupError("another backup is being made")
        started = time.monotonic()
        try:
            made = self._make(self._folder)
            self._forget_old(self._folder)
        except Exception as error:
            self._metrics.backup_failures.inc()
            log.error("backup failed", error=type(error).__name__, detail=str(error))  # noqa: TRY400 (no trace: paths)
            if isinstance(error, OSError):
                raise BackupError(f"the backup could not be written ({error.strerror})") from error
            raise
        finally:
            clear_staging(self._data)
            self._busy.release()
        seconds = time.monotonic() - started
        self._metrics.backed_up(at=self._now() / 1000, size=made.archive_bytes, seconds=seconds)
        log.info("backup is made", name=made.name, bytes=made.archive_bytes, seconds=round(seconds, 2),
                 documents=made.documents, files=made.files, missing=made.missing)  # fmt: skip
        return made

    def _make(self, folder: Path) -> Manifest:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in folder.glob(f"{PARTIAL}*"):
            shutil.rmtree(left, ignore_errors=True)
        moment = self._now()
        name = choose_name(folder, moment)
        partial = folder / f"{PARTIAL}{name}"
        partial.mkdir(mode=0o700)
        try:
            manifest = self._write(partial, name, moment=moment)
            partial.rename(folder / name)
            sync_folder(folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        return manifest

    def _write(self, partial: Path, name: str, *, moment: int) -> Manifest:
        key, wrapped, version = new_key(self._keyring, name, random=self._random)
        snapshot = take_snapshot(self._data, database=self._database, exclusive=self._exclusive)
        written = write_archive(
            partial / ARCHIVE, snapshot.folder, snapshot.files, name=name, key=key, random=self._random
        )
        manifest = Manifest(
            format=FORMAT, name=name, created=from_millis(moment).isoformat(), kek_version=version,
            kek_versions=tuple(sorted({version, *snapshot.kek_versions})), knowledge_bases=snapshot.knowledge_bases,
            documents=snapshot.documents, versions=snapshot.versions, files=len(snapshot.files),
            missing=snapshot.missing, plain_bytes=written.plain_bytes, archive_bytes=written.archive_bytes,
            sha256=written.sha256, key=wrapped,
        ).sealed(key)  # fmt: skip
        (partial / MANIFEST).write_bytes(manifest.encode())
        for path in (partial / ARCHIVE, partial / MANIFEST):
            sync_file(path)
        sync_folder(partial)
        return manifest

    def _forget_old(self, folder: Path) -> None:
        for old in list_manifests(folder)[self._keep :]:
            # Out of sight first, so that a half removed backup never looks like a whole one.
            gone = folder / f"{PARTIAL}{old.name}"
            (folder / old.name).rename(gone)
            shutil.rmtree(gone)
            log.info("old backup is removed", name=old.name)


def sync_file(path: Path) -> None:
    """Bring a file to disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Bring a folder's entries to disk."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
