"""Puts a backup in place: everything is verified first, and it is there whole or not at all."""

import os
import shutil
import sqlite3
from pathlib import Path

import structlog

from hearth_knowledge.backup.archive import read_archive
from hearth_knowledge.backup.errors import BackupError
from hearth_knowledge.backup.maker import sync_file, sync_folder
from hearth_knowledge.backup.manifest import ARCHIVE, Manifest, list_manifests, open_key, read_manifest
from hearth_knowledge.backup.snapshot import BLOBS, expected_bodies
from hearth_knowledge.crypto import Keyring
from hearth_knowledge.errors import KeyMissingError, SealBrokenError
from hearth_knowledge.storage import names
from hearth_knowledge.storage.database import FILE_NAME
from hearth_knowledge.storage.queue import REBUILDING

WORK = ".restore"
MARKER = ".restoring"
LATEST = "latest"

log = structlog.get_logger()


def choose_backup(place: Path, name: str = LATEST) -> Path:
    """Return a backup's folder. `place` is one itself, or holds some; `name` may be "latest"."""
    if (place / ARCHIVE).is_file():
        return place
    if name != LATEST:
        if not (place / name).is_dir():
            raise BackupError(f"{place} holds no backup {name}")
        return place / name
    found = list_manifests(place)
    if not found:
        raise BackupError(f"{place} holds no finished backup")
    return place / found[0].name


def is_empty(data: Path) -> bool:
    """Tell whether a data folder holds nothing of ours. What an interrupted restore left counts as nothing."""
    if (data / FILE_NAME).exists():
        return False
    return (data / MARKER).exists() or not any((data / BLOBS).glob("*/*/*"))


def verify_backup(backup: Path, *, keyring: Keyring, work: Path) -> Manifest:
    """Read a backup to its end and check everything that a restore would. Leaves nothing in `work`."""
    target = work / WORK
    shutil.rmtree(target, ignore_errors=True)
    try:
        return _unpack(backup, keyring=keyring, target=target)
    finally:
        shutil.rmtree(target, ignore_errors=True)


def restore(backup: Path, *, data: Path, keyring: Keyring) -> Manifest:
    """Put a backup into an empty data folder. BackupError; then nothing was put in place."""
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not is_empty(data):
        raise BackupError(
            f"{data} is not empty: restore into a new volume, or move {FILE_NAME} and {BLOBS}/ away first"
        )
    target = data / WORK
    shutil.rmtree(target, ignore_errors=True)
    try:
        manifest = _unpack(backup, keyring=keyring, target=target)
        _forget_index(target / FILE_NAME)
        _sync_all(target)
        _place(target, data)
    finally:
        shutil.rmtree(target, ignore_errors=True)
    log.info("backup is restored", name=manifest.name, documents=manifest.documents, created=manifest.created)
    return manifest


def _unpack(backup: Path, *, keyring: Keyring, target: Path) -> Manifest:
    manifest = read_manifest(backup)
    key = open_key(keyring, manifest)
    manifest.check(key)
    target.mkdir(parents=True, mode=0o700)
    digest, files = read_archive(backup / ARCHIVE, name=manifest.name, key=key, target=target)
    if digest != manifest.sha256 or len(files) != manifest.files or FILE_NAME not in files:
        raise BackupError(f"the archive of {manifest.name} is not the one that its manifest describes")
    _check_database(target / FILE_NAME, files, manifest=manifest, keyring=keyring)
    return manifest


def _check_database(path: Path, files: set[str], *, manifest: Manifest, keyring: Keyring) -> None:
    connection = sqlite3.connect(path)
    try:
        if connection.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            raise BackupError(f"the database of {manifest.name} is damaged")
        wanted = expected_bodies(connection)
        documents = connection.execute("SELECT count(*) FROM documents").fetchone()[0]
        keys = connection.execute("SELECT name, wrapped_key, kek_version FROM kbs").fetchall()
    except sqlite3.DatabaseError as error:
        raise BackupError(f"the database of {manifest.name} is damaged") from error
    finally:
        connection.close()
    if (documents, len(wanted), len(wanted - files)) != (manifest.documents, manifest.versions, manifest.missing):
        raise BackupError(f"{manifest.name} does not hold what its manifest counts")
    for kb, wrapped, version in keys:
        try:
            keyring.unwrap(wrapped, place=names.kb_key(kb), version=version)
        except (KeyMissingError, SealBrokenError) as error:
            raise BackupError(f"the key of knowledge base {kb} needs v{version} of the Secret hearth-kek") from error


def _forget_index(path: Path) -> None:
    """The vectors are not in a backup: forget what was indexed and queue every document."""
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA secure_delete=ON")
        connection.execute("DELETE FROM indexed")
        connection.execute("DELETE FROM terms")
        connection.execute(
            "INSERT OR REPLACE INTO jobs (kb, document, ticket, enqueued, due, attempts, error) "
            "SELECT kb, id, 1, written, 0, 0, ? FROM documents",
            (REBUILDING,),
        )
        connection.commit()
    finally:
        connection.close()


def _place(target: Path, data: Path) -> None:
    """Move files, the database last: without it the folder counts as empty, and a restore begins again."""
    (data / MARKER).touch()
    sync_folder(data)
    shutil.rmtree(data / BLOBS, ignore_errors=True)
    if (target / BLOBS).is_dir():
        (target / BLOBS).rename(data / BLOBS)
    for left in (f"{FILE_NAME}-wal", f"{FILE_NAME}-shm"):
        (data / left).unlink(missing_ok=True)
    (target / FILE_NAME).rename(data / FILE_NAME)
    sync_folder(data)
    (data / MARKER).unlink()
    sync_folder(data)


def _sync_all(folder: Path) -> None:
    for base, folders, files in os.walk(folder):
        for name in files:
            sync_file(Path(base, name))
        for name in folders:
            sync_folder(Path(base, name))
    sync_folder(folder)
