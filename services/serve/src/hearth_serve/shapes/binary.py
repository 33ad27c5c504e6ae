"""Reads little-endian numbers and texts of a file, never more than there is or than a bound allows."""

import os
import struct
from pathlib import Path
from types import TracebackType
from typing import Self

from hearth_serve.shapes.errors import ShapeError

MOST_HEADER_BYTES = 512 * 1024**2
"""Vocabularies of 262,144 tokens make headers of some 20 MiB."""


class Header:
    """The beginning of a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = path.open("rb")
            self.size = os.fstat(self._file.fileno()).st_size
        except OSError as error:
            raise ShapeError(f"Model file {path} cannot be read: {error.strerror}.") from error
        self._position = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _advance(self, count: int) -> None:
        self._position += count
        if count < 0 or self._position > min(self.size, MOST_HEADER_BYTES):
            raise self.broken("its header is longer than the file or than any header")

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        self._advance(count)
        try:
            data = self._file.read(count)
        except OSError as error:
            raise ShapeError(f"Model file {self._path} cannot be read: {error.strerror}.") from error
        if len(data) != count:
            raise self.broken("it ends in its header")
        return data

    def skip(self, count: int) -> None:
        """Leave out the next bytes."""
        self._advance(count)
        self._file.seek(count, os.SEEK_CUR)

    def unpack(self, code: str) -> int | float | bool:
        """Return the next number by its code of `struct`."""
        value: int | float | bool = struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}")))[0]
        return value

    def count(self, code: str, *, most: int, what: str) -> int:
        """Return the next number, which counts something."""
        value = int(self.unpack(code))
        if value > most:
            raise self.broken(f"it names {value} {what}, more than {most}")
        return value

    def broken(self, why: str) -> ShapeError:
        """Return the error."""
        return ShapeError(f"Model file {self._path} has no readable header: {why}.")
