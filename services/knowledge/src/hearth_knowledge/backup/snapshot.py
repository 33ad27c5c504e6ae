"""A state of the data folder at one moment, taken while the service goes on."""

import os
import shutil
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path

from hearth_knowledge.storage.database import FILE_NAME, Database

STAGING = ".backup"
BLOBS = "kbs"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Files under a staging folder, by their place in the data folder, and what the database counts."""

    folder: Path
    files: tuple[str, ...]
    knowledge_bases: int
    documents: int
    versions: int
    missing: int
    kek_versions: tuple[int, ...]


def take_snapshot(data: Path, *, database: Database, exclusive: threading.Lock) -> Snapshot:
    """Copy the database and hard-link the files at one moment.

    `exclusive` keeps knowledge bases from being deleted meanwhile, the write lock keeps files and rows from changing:
    files come and go only under one of the two. Reading goes on; writing waits for this copy, not for the archive.
    """
    folder = clear_staging(data)
    folder.mkdir(mode=0o700)
    with exclusive, database.write():
        copy_database(data / FILE_NAME, folder / FILE_NAME)
        files = _link(data / BLOBS, folder)
    return _describe(folder, files)


def clear_staging(data: Path) -> Path:
    """Remove what an interrupted backup left and return the staging folder's place."""
    folder = data / STAGING
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def copy_database(source: Path, target: Path) -> None:
    """Copy by SQLite's backup call: it sees what is committed, in the log as in the file."""
    origin, copy = sqlite3.connect(source, timeout=30), sqlite3.connect(target)
    try:
        origin.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")
    finally:
        copy.close()
        origin.close()
    target.chmod(0o600)


def _link(blobs: Path, folder: Path) -> list[str]:
    files = []
    for path in sorted(blobs.glob("*/*/*")):
        if path.name.startswith(".new-") or not path.is_file():
            continue
        name = f"{BLOBS}/{path.relative_to(blobs).as_posix()}"
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            os.link(path, target)
        except OSError:
            shutil.copyfile(path, target)  # a file system without links
        files.append(name)
    return files


def _describe(folder: Path, files: list[str]) -> Snapshot:
    connection = sqlite3.connect(folder / FILE_NAME)
    try:
        count = {
            "kbs": connection.execute("SELECT count(*) FROM kbs").fetchone()[0],
            "documents": connection.execute("SELECT count(*) FROM documents").fetchone()[0],
        }
        wanted = expected_bodies(connection)
        versions = sorted(row[0] for row in connection.execute("SELECT DISTINCT kek_version FROM kbs"))
    finally:
        connection.close()
    return Snapshot(
        folder=folder,
        files=(FILE_NAME, *files),
        knowledge_bases=count["kbs"],
        documents=count["documents"],
        versions=len(wanted),
        missing=len(wanted - set(files)),
        kek_versions=tuple(versions),
    )


def expected_bodies(connection: sqlite3.Connection) -> set[str]:
    """Return the places of all versions' bodies."""
    rows = connection.execute("SELECT kb, document, version FROM versions WHERE NOT tombstone")
    return {f"{BLOBS}/{kb}/{document[-2:]}/{document}.{version}.body" for kb, document, version in rows}
