"""Asking this machine's own front as the cluster does: over TLS, by its name, with a token."""

import json
import socket
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hearth_node.config import NodeConfig, Paths

_SECONDS = 5.0
_PAUSE = 0.3


class AskError(Exception):
    """The front did not answer as it should. The text is half a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Status and JSON body; None where it is none."""

    status: int
    body: Any


def ask(
    config: NodeConfig, paths: Paths, path: str, *, port: int, token: Path | None, timeout: float = _SECONDS
) -> Reply:
    """GET a path of the front on this machine. Raises AskError."""
    try:
        context = ssl.create_default_context(cafile=str(paths.authority))
        address = "127.0.0.1" if config.listen in {"0.0.0.0", "::"} else config.listen  # noqa: S104
        with (
            socket.create_connection((address, port), timeout=timeout) as plain,
            context.wrap_socket(plain, server_hostname=config.hosts[0]) as secure,
        ):
            return _exchange(secure, path, host=config.hosts[0], token=token)
    except ssl.SSLCertVerificationError as error:
        raise AskError(f"its certificate is not trusted: {error.verify_message}") from error
    except ConnectionRefusedError as error:
        raise AskError("nothing listens there") from error
    except (OSError, ValueError) as error:
        raise AskError(f"no answer ({type(error).__name__})") from error


def _exchange(secure: ssl.SSLSocket, path: str, *, host: str, token: Path | None) -> Reply:
    secret = f"Authorization: Bearer {token.read_text().strip()}\r\n" if token is not None else ""
    secure.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{secret}\r\n".encode())
    with secure.makefile("rb") as file:
        raw = file.read(1 << 20)
    head, _, body = raw.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1]) if head.startswith(b"HTTP/") else 0
    try:
        return Reply(status=status, body=json.loads(body))
    except ValueError:
        return Reply(status=status, body=None)


def wait_ready(config: NodeConfig, paths: Paths, *, release: str | None, seconds: float) -> None:
    """Return once the front answers as `release`, and Ray behind it. Raises AskError with the last reason."""
    end = time.monotonic() + seconds
    while True:
        try:
            check_ready(config, paths, release=release)
        except AskError:
            if time.monotonic() >= end:
                raise
            time.sleep(_PAUSE)
        else:
            return


def check_ready(config: NodeConfig, paths: Paths, *, release: str | None) -> None:
    """Raise AskError where the front or Ray does not answer."""
    state = ask(config, paths, "/hearth/state", port=config.serve_port, token=paths.serve_token)
    if state.status != 200:
        raise AskError(f"the front answers {state.status}")
    if release is not None and state.body.get("release") != release:
        raise AskError(f"release {state.body.get('release')} still runs")
    version = ask(config, paths, "/api/version", port=config.ray_port, token=paths.ray_token, timeout=10)
    if version.status != 200:
        raise AskError(f"Ray does not answer yet ({version.status}); its log is {paths.var / 'ray.log'}")
