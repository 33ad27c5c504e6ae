"""Encrypted files. A file is there whole or not at all, also after a power cut."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hearth_knowledge.errors import NotFoundError

READ_BYTES = 1 << 20


class BlobStore:
    """Files under `<folder>/<kb>/<two characters>/<document>.<what>`. It sees sealed bytes only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left_over in folder.glob("*/*/.new-*"):
            left_over.unlink(missing_ok=True)

    def write(self, kb: str, document: str, what: str, *, pieces: Iterable[bytes]) -> None:
        """Write a file atomically; an existing one is replaced. `pieces` may raise: then nothing changes."""
        with self.stage(kb, document, what, pieces=pieces) as put:
            put()

    @contextmanager
    def stage(self, kb: str, document: str, what: str, *, pieces: Iterable[bytes]) -> Iterator[Callable[[], None]]:
        """Write a file beside its place and give the call that puts it there; without that call it is removed."""
        path = self._path(kb, document, what)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                for piece in pieces:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())

            def put() -> None:
                Path(temporary).replace(path)
                _sync_folder(path.parent)

            yield put
        finally:
            Path(temporary).unlink(missing_ok=True)

    def read(self, kb: str, document: str, what: str) -> Iterator[bytes]:
        """Open a file now and give its bytes piece by piece. NotFoundError when there is none."""
        path = self._path(kb, document, what)
        try:
            file = path.open("rb")
        except FileNotFoundError as error:
            raise NotFoundError("stored file of", document) from error

        def pieces() -> Iterator[bytes]:
            with file:
                while piece := file.read(READ_BYTES):
                    yield piece

        return pieces()

    def remove(self, kb: str, document: str, what: str) -> None:
        """Remove a file if it is there."""
        self._path(kb, document, what).unlink(missing_ok=True)

    def remove_all(self, kb: str) -> None:
        """Remove everything of a knowledge base."""
        shutil.rmtree(self._folder / kb, ignore_errors=True)
        if (self._folder / kb).exists():
            raise OSError(f"files of {kb} could not be removed")

    def _path(self, kb: str, document: str, what: str) -> Path:
        # The characters after the last hyphen are uniformly distributed (base32 of a keyed hash).
        return self._folder / kb / document[-2:] / f"{document}.{what}"


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
