"""A token in a file, compared in constant time, and read again when the file changes."""

import hmac
from pathlib import Path

from aiohttp import web

from hearth_node.errors import RefusedError

_SHORTEST = 16


class PortToken:
    """The token that opens one port. A file that cannot be read closes it."""

    def __init__(self, path: Path, *, port: str) -> None:
        self._path = path
        self._port = port
        self._stamp: tuple[int, int, int] | None = None
        self._token = b""

    def check(self, request: web.BaseRequest) -> None:
        """Raise RefusedError 401 without a token, 403 with another one, 503 where the file holds none."""
        expected = self._read()
        given = request.headers.getall("Authorization", [])
        if not given:
            raise RefusedError(401, f"This port demands the {self._port} token of this machine.", code="token_missing")
        scheme, _, value = given[0].partition(" ")
        same = hmac.compare_digest(value.strip().encode(errors="surrogateescape"), expected)
        if len(given) > 1 or scheme.lower() != "bearer" or not same:
            raise RefusedError(403, f"This is not the {self._port} token of this machine.", code="token_refused")

    def _read(self) -> bytes:
        try:
            stat = self._path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if stamp != self._stamp:
                self._token = self._path.read_bytes().strip()
                self._stamp = stamp
        except OSError as error:
            self._stamp = None
            raise RefusedError(503, "The token of this port cannot be read here.", code="token_unreadable") from error
        if len(self._token) < _SHORTEST:
            raise RefusedError(503, "The token of this port is too short.", code="token_unreadable")
        return self._token
