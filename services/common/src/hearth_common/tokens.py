"""A projected ServiceAccount token: a file that the kubelet replaces while we run."""

import os
from dataclasses import dataclass
from pathlib import Path

from hearth_common.errors import TokenFileError

TOKEN_ROOT = Path("/var/run/secrets/hearth")


def token_path(audience: str) -> Path:
    """Where the chart mounts the token for an audience."""
    return TOKEN_ROOT / audience / "token"


@dataclass(frozen=True, slots=True)
class _Seen:
    stamp: tuple[int, int, int]
    text: str


class ProjectedToken:
    """Reads a token file and notices its rotation: one `stat` (a microsecond) per use, one read per change."""

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._seen: _Seen | None = None

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def read(self) -> str:
        """Return the current token.

        Raises
        ------
        TokenFileError
            The file is absent, unreadable or empty.

        """
        try:
            # The kubelet swaps a symlinked folder, so the inode changes with every rotation.
            status = os.stat(self._path)  # noqa: PTH116 (this runs per request; Path.stat is three times slower)
            stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
            if self._seen is None or self._seen.stamp != stamp:
                self._seen = _Seen(stamp=stamp, text=self._path.read_text(encoding="ascii").strip())
        except (OSError, UnicodeDecodeError) as error:
            raise TokenFileError(str(self._path), reason=type(error).__name__) from error
        if not self._seen.text:
            raise TokenFileError(str(self._path), reason="it is empty")
        return self._seen.text

    def header(self) -> dict[str, str]:
        """Return the Authorization header for the current token."""
        return {"Authorization": f"Bearer {self.read()}"}
