"""A TCP connection to an account's server, directly or through the house's CONNECT proxy."""

import socket
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from hearth_api.wire.ingest import ProxySpec
from hearth_ingest.errors import SourceError

_MAX_HEAD_BYTES = 16_384
_MAX_SENTENCE_BYTES = 2_048
_PROXY_PORT = 3128


def open_tunnel(host: str, port: int, proxy: ProxySpec | None, timeout: float) -> socket.socket:
    """Return a connected socket whose operations time out after `timeout` seconds. Raises SourceError."""
    if proxy is None:
        return _connect(host, port, timeout=timeout, what=f"{host}:{port}")
    return _through_proxy(host, port, proxy=proxy, timeout=timeout)


def _through_proxy(host: str, port: int, *, proxy: ProxySpec, timeout: float) -> socket.socket:
    address = urlsplit(proxy.url)
    if address.scheme != "http" or not address.hostname:
        raise SourceError(f"the proxy's url {proxy.url} is not of the form http://host:port")
    token = _read_token(proxy.token_path)
    literal = f"[{host}]" if ":" in host else host
    if any(ord(character) <= 32 or ord(character) >= 127 for character in literal):
        raise SourceError(f"{host!r} is not a host name: write international names in their ASCII form (xn--...)")
    proxy_port = address.port or _PROXY_PORT
    connection = _connect(address.hostname, proxy_port, timeout=timeout, what=f"the proxy {proxy.url}")
    target = f"{literal}:{port}"
    head = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Bearer {token}\r\n\r\n"
    try:
        connection.sendall(head.encode("ascii"))
        _check_answer(connection, target=target, timeout=timeout)
    except OSError as error:
        connection.close()
        raise SourceError(f"the proxy {proxy.url} ended the connection to {target}: {_reason(error)}") from error
    except SourceError:
        connection.close()
        raise
    return connection


def _check_answer(connection: socket.socket, *, target: str, timeout: float) -> None:
    """Read the proxy's answer byte by byte up to its end: what follows belongs to the server."""
    deadline = time.monotonic() + timeout
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):
        if len(head) >= _MAX_HEAD_BYTES or time.monotonic() > deadline:
            raise SourceError(f"the proxy's answer for {target} is not HTTP")
        byte = connection.recv(1)
        if not byte:
            raise SourceError(f"the proxy closed the connection without an answer for {target}")
        head += byte
    words = bytes(head).split(b"\r\n", 1)[0].split(b" ", 2)
    if not words[0].startswith(b"HTTP/1.") or len(words) < 2 or not words[1].isdigit():
        raise SourceError(f"the proxy's answer for {target} is not HTTP")
    if words[1] != b"200":
        raise SourceError(f"the proxy refused {target} ({words[1].decode()}): {_sentence(connection, bytes(head))}")


def _sentence(connection: socket.socket, head: bytes) -> str:
    """Return what the proxy says about a refusal: its body, or else the status line."""
    body = bytearray()
    with suppress(OSError):  # a proxy that hangs up in the middle of its sentence has still refused
        while len(body) < _MAX_SENTENCE_BYTES and (chunk := connection.recv(_MAX_SENTENCE_BYTES)):
            body += chunk
    text = " ".join(body.decode("utf-8", "replace").split())[:500]
    return text or head.split(b"\r\n", 1)[0].decode("ascii", "replace").partition(" ")[2]


def _read_token(path: str) -> str:
    try:
        text = Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"the proxy's token {path} cannot be read: {_reason(error)}") from error
    if not text or not text.isprintable() or " " in text:
        raise SourceError(f"the proxy's token {path} is empty or not one word")
    return text


def _connect(host: str, port: int, *, timeout: float, what: str) -> socket.socket:
    try:
        return socket.create_connection((host, port), timeout=timeout)
    except socket.gaierror as error:
        raise SourceError(f"{what} cannot be reached: the name is not known; is it spelled right?") from error
    except TimeoutError as error:
        raise SourceError(
            f"{what} did not answer within {timeout:g} seconds: does it run, is the port right?"
        ) from error
    except ConnectionRefusedError as error:
        raise SourceError(f"{what} refused the connection: does it run, is the port right?") from error
    except (OSError, UnicodeError) as error:
        raise SourceError(f"{what} cannot be reached: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
