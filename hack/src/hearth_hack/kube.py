"""A small client of the API server: objects are plain dictionaries, paths are the server's own.

`kubectl` costs a quarter of a second of CPU a call; up asks hundreds of times.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

Object = dict[str, Any]
FIELD_MANAGER = "hearth-up"


class KubeError(RuntimeError):
    """The API server refused; `status` is its HTTP status, `reason` its machine-readable word."""

    def __init__(self, method: str, path: str, *, status: int, body: str) -> None:
        try:
            answer = json.loads(body)
        except ValueError:
            answer = {}
        self.status = status
        self.reason = str(answer.get("reason", ""))
        super().__init__(f"{method} {path}: {status} {answer.get('message', body[:300])}")


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a socket file."""

    def __init__(self, path: str, *, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the file."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Kube:
    """One server and one identity; safe to use from several threads.

    `url` is https://HOST:PORT, or unix:///PATH of a `kubectl proxy`, which needs no `context`.
    """

    def __init__(self, url: str, *, context: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        self._host, self._socket = parts.netloc, parts.path if parts.scheme == "unix" else None
        self._context = context
        self._local = threading.local()

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        if self._socket is not None:
            return _UnixConnection(self._socket, timeout=timeout)
        return http.client.HTTPSConnection(self._host, context=self._context, timeout=timeout)

    def request(
        self, method: str, path: str, *, body: Object | None = None, content_type: str = "application/json"
    ) -> Object:
        """Raises KubeError for a refusal and OSError where nothing answers."""
        payload = None if body is None else json.dumps(body).encode()
        for attempt in (1, 2):
            connection = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._local.connection = self._connect(20.0)
            try:
                connection.request(method, path, body=payload, headers={"Content-Type": content_type})
                answer = connection.getresponse()
                text = answer.read().decode()
                break
            except (http.client.HTTPException, OSError):
                # A kept connection may have been closed by a server that restarted: once more on a new one.
                connection.close()
                self._local.connection = None
                if attempt == 2:
                    raise
        if answer.status >= 400:
            raise KubeError(method, path, status=answer.status, body=text)
        result: Object = json.loads(text)
        return result

    def get(self, path: str) -> Object | None:
        """None when there is no such object (or no such kind yet)."""
        try:
            return self.request("GET", path)
        except KubeError as error:
            if error.status == 404:
                return None
            raise

    def items(self, path: str) -> list[Object]:
        """A list's objects; none while the kind does not exist."""
        found = self.get(path)
        return [] if found is None else list(found.get("items", []))

    def apply(self, path: str, body: Object) -> Object:
        """Server-side apply of one object at its own path."""
        query = urlencode({"fieldManager": FIELD_MANAGER, "force": "true"})
        return self.request("PATCH", f"{path}?{query}", body=body, content_type="application/apply-patch+yaml")

    def merge(self, path: str, body: Object) -> Object:
        """JSON merge patch."""
        return self.request("PATCH", path, body=body, content_type="application/merge-patch+json")

    def watch(self, path: str, *, query: Mapping[str, str], timeout: float) -> Iterator[Object]:
        """Events `{type, object}` until the server or the time-out ends the stream."""
        connection = self._connect(timeout)
        try:
            connection.request("GET", f"{path}?{urlencode({**query, 'watch': 'true'})}")
            answer = connection.getresponse()
            if answer.status >= 400:
                raise KubeError("GET", path, status=answer.status, body=answer.read().decode())
            while line := answer.readline():
                yield json.loads(line)
        except TimeoutError:
            return
        finally:
            connection.close()
