"""SQLite as the service uses it: one file, one writer, deleted content overwritten, no log left behind."""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from hearth_knowledge.errors import UnavailableError
from hearth_knowledge.storage.schema import metadata

FILE_NAME = "knowledge.db"
LOCK_NAME = "knowledge.lock"
WAL_LIMIT_BYTES = 4 << 20


class Database:
    """Readers run side by side; writers queue on one lock, so SQLite never answers "database is locked"."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock_file = _claim(folder / LOCK_NAME)
        self._writer = threading.Lock()
        self._engine = _build_engine(folder / FILE_NAME)
        metadata.create_all(self._engine)
        self.truncate_log()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection whose statements see one snapshot."""
        with self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a connection with the write lock held from the start; everything is committed together, or nothing."""
        with self._writer, self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")

    def truncate_log(self) -> None:
        """Move the write-ahead log into the database and cut it to nothing, so that it keeps no deleted pages."""
        with self._writer, self._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close all connections and give the folder free."""
        self.truncate_log()
        self._engine.dispose()
        self._lock_file.close()


def _claim(path: Path) -> Any:
    handle = path.open("a")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.close()
        raise UnavailableError("the data folder", "another knowledge service has it open") from error
    return handle


def _build_engine(path: Path) -> Engine:
    engine = sa.create_engine(
        f"sqlite:///{path}", connect_args={"check_same_thread": False, "timeout": 30}, pool_size=32
    )

    @sa.event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        cursor = connection.cursor()
        for name, value in (
            ("journal_mode", "WAL"),
            ("secure_delete", "ON"),
            ("synchronous", "FULL"),
            ("foreign_keys", "ON"),
            ("temp_store", "MEMORY"),
            ("journal_size_limit", str(WAL_LIMIT_BYTES)),
        ):
            cursor.execute(f"PRAGMA {name}={value}")
        cursor.close()

    path.touch(mode=0o600, exist_ok=True)
    os.chmod(path, 0o600)  # noqa: PTH101 (an existing file keeps an older mode otherwise)
    return engine
