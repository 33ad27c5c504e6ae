"""The bearer token of the Serve port.

Ray's Serve port has no authentication of its own, even where Ray itself demands a token.
"""

import hmac
from pathlib import Path

from hearth_serve.errors import ApiError

MIN_LENGTH = 16


class TokenFile:
    """A token in a file, read again when the file changes (a Secret is rotated by replacing a link)."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._stamp: tuple[int, int, int] | None = None
        self._token = b""

    def read(self) -> bytes:
        """Return the token. Costs one `stat` while nothing changes. Raises ApiError 503: closed, not open."""
        try:
            stat = self._path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if stamp != self._stamp:
                self._token = self._path.read_bytes().strip()
                self._stamp = stamp
        except OSError as error:
            self._stamp = None
            raise ApiError(
                503,
                f"The Serve token {self._path} cannot be read: {error.strerror}.",
                kind="server_error",
                code="token_unreadable",
            ) from error
        if len(self._token) < MIN_LENGTH:
            raise ApiError(
                503,
                f"The Serve token {self._path} is shorter than {MIN_LENGTH} bytes.",
                kind="server_error",
                code="token_unreadable",
            )
        return self._token

    def check(self, authorization: bytes | None) -> None:
        """Compare the value of an `Authorization` header in constant time. Raises ApiError 401."""
        expected = self.read()
        scheme, _, given = (authorization or b"").partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(given.strip(), expected):
            raise ApiError(
                401,
                "This port demands the Serve token of its node.",
                kind="authentication_error",
                code="invalid_api_key",
            )
