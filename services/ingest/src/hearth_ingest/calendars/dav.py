"""HTTP with WebDAV's verbs over a verified connection: one host, bounded answers, XML without entities."""

import base64
import http.client
import ssl
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from lxml import etree

from hearth_api.wire.ingest import ProxySpec, RunLimits
from hearth_ingest.errors import SourceError
from hearth_ingest.live.account import Credentials, tls_context, tls_problem
from hearth_ingest.live.tunnel import open_tunnel

TIMEOUT_SECONDS = 30.0
_ANSWER_SECONDS = 300.0
_MAX_REDIRECTS = 5
_MAX_XML_BYTES = 64 << 20
_CHUNK = 1 << 16
_HTTPS = 443
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_DOCTYPES = (b"<!DOCTYPE", b"<!ENTITY", b"<\0!\0D\0O\0C", b"\0<\0!\0D\0O\0C", b"<\0!\0E\0N\0T", b"\0<\0!\0E\0N\0T")
_KEEP = (ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected, http.client.CannotSendRequest)


class DavError(SourceError):
    """The server answered with a status that is no success. `status` is the HTTP status."""

    def __init__(self, sentence: str, *, status: int) -> None:
        self.status = status
        super().__init__(sentence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A final answer: the path that gave it, and its body."""

    path: str
    status: int
    body: bytes


class DavClient:
    """Speaks with one server. Credentials go to that host and port only, whatever redirects or addresses it names."""

    def __init__(
        self,
        url: str,
        *,
        credentials: Credentials,
        proxy: ProxySpec | None,
        limits: RunLimits,
        timeout: float | None = None,
    ) -> None:
        try:
            address = urlsplit(url)
            port = address.port
        except ValueError as error:
            raise SourceError(f"{url!r} is not an address of the form https://host/path") from error
        if address.scheme != "https" or not address.hostname:
            raise SourceError(
                f"the calendar's url must begin with https:// and name a host; {address.scheme}:// is not used"
            )
        if address.username or address.password:
            raise SourceError("the calendar's url holds a user name: user name and password belong into the Secret")
        self.host = address.hostname
        self.port = port or _HTTPS
        self.path = (address.path or "/") + (f"?{address.query}" if address.query else "")
        self._proxy = proxy
        self._limits = limits
        self._timeout = timeout or TIMEOUT_SECONDS
        self._tls = tls_context(credentials.ca)
        pair = f"{credentials.username}:{credentials.password}".encode()
        self._authorization = "Basic " + base64.b64encode(pair).decode()
        self._connection: http.client.HTTPConnection | None = None

    @property
    def place(self) -> str:
        """Host and port, for sentences."""
        return f"{self.host}:{self.port}"

    def ask(
        self, method: str, path: str, *, body: str = "", depth: str | None = None, limit: int | None = None
    ) -> Answer:
        """Return a successful answer, redirects on the same host followed. Raises DavError, SourceError."""
        for _ in range(_MAX_REDIRECTS):
            status, location, data = self._exchange(method, path, body=body, depth=depth, limit=limit or _MAX_XML_BYTES)
            if status not in _REDIRECTS or not location:
                break
            path = self.resolve(location, base=path)
        else:
            raise SourceError(f"{self.place} redirects in a circle: give the address of the calendar itself")
        if status >= http.HTTPStatus.MULTIPLE_CHOICES:
            raise DavError(self._sentence(status, path), status=status)
        return Answer(path=path, status=status, body=data)

    def resolve(self, reference: str, *, base: str) -> str:
        """Return the path of a reference that the server gave. Raises SourceError where it leads to another host."""
        try:
            target = urlsplit(urljoin(f"https://{self._netloc()}{base}", reference.strip()))
            same = target.scheme == "https" and target.hostname == self.host and (target.port or _HTTPS) == self.port
        except ValueError as error:
            raise SourceError(f"{self.place} names an address that is none") from error
        if not same:
            raise SourceError(
                f"{self.place} points to {target.scheme}://{target.hostname or '?'}:{target.port or _HTTPS}: the"
                " password is not sent there; if that is the right server, give its address as the source's url"
            )
        path = (target.path or "/") + (f"?{target.query}" if target.query else "")
        if not path.isascii() or any(ord(c) <= 32 or ord(c) == 127 for c in path):
            raise SourceError(f"{self.place} names an address with characters that no address has")
        return path

    def close(self) -> None:
        """End the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _netloc(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _HTTPS else f"{host}:{self.port}"

    def _exchange(self, method: str, path: str, *, body: str, depth: str | None, limit: int) -> tuple[int, str, bytes]:
        headers = {"Authorization": self._authorization, "Host": self._netloc(), "User-Agent": "hearth-ingest"}
        headers["Accept-Encoding"] = "identity"
        if body:
            headers["Content-Type"] = "application/xml; charset=utf-8"
        if depth is not None:
            headers["Depth"] = depth
        warm = self._connection is not None
        try:
            return self._send(method, path, body=body, headers=headers, limit=limit)
        except _KEEP as error:
            self.close()
            if not warm:
                raise SourceError(f"{self.place} closed the connection: does it run?") from error
        except TimeoutError as error:
            self.close()
            raise SourceError(
                f"{self.place} did not answer within {self._timeout:g} seconds: is it overloaded?"
            ) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise SourceError(f"{self.place} did not speak HTTP to its end ({type(error).__name__})") from error
        # An idle connection may be closed at any time; reading again is harmless.
        try:
            return self._send(method, path, body=body, headers=headers, limit=limit)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise SourceError(f"{self.place} closed the connection: does it still run?") from error

    def _send(
        self, method: str, path: str, *, body: str, headers: dict[str, str], limit: int
    ) -> tuple[int, str, bytes]:
        connection = self._connection or self._connect()
        self._connection = connection
        connection.request(method, path, body=body.encode() or None, headers=headers)
        response = connection.getresponse()
        deadline = time.monotonic() + _ANSWER_SECONDS
        data = bytearray()
        while chunk := response.read(_CHUNK):
            data += chunk
            if len(data) > limit:
                self.close()
                raise DavError(f"{self.place} sent more than {limit} bytes for one answer", status=413)
            if time.monotonic() > deadline:
                raise TimeoutError
        if response.will_close:
            self.close()
        return response.status, response.headers.get("Location", ""), bytes(data)

    def _connect(self) -> http.client.HTTPConnection:
        plain = open_tunnel(self.host, self.port, self._proxy, self._timeout)
        try:
            secured = self._tls.wrap_socket(plain, server_hostname=self.host)
        except ssl.SSLError as error:
            plain.close()
            raise tls_problem(error, host=self.host, port=self.port) from error
        except OSError as error:
            plain.close()
            raise SourceError(f"{self.place} ended the connection before TLS was agreed: is the port right?") from error
        connection = http.client.HTTPConnection(self.host, self.port, timeout=self._timeout)
        connection.sock = secured
        # A connection that is gone must not be opened anew behind our back: it would be one without TLS.
        connection.auto_open = 0
        return connection

    def _sentence(self, status: int, path: str) -> str:
        if status == http.HTTPStatus.UNAUTHORIZED:
            return (
                f"{self.place} refused user name or password (401): check the Secret; some servers want an app password"
            )
        if status == http.HTTPStatus.FORBIDDEN:
            return f"{self.place} forbids {unquote(path)[:200]} (403): let the account read the calendar"
        if status == http.HTTPStatus.NOT_FOUND:
            return f"{self.place} has nothing at {unquote(path)[:200]} (404): check the calendar's url"
        if status == http.HTTPStatus.METHOD_NOT_ALLOWED:
            return f"{self.place} does not speak CalDAV at {unquote(path)[:200]} (405): check the calendar's url"
        if status >= http.HTTPStatus.INTERNAL_SERVER_ERROR or status == http.HTTPStatus.TOO_MANY_REQUESTS:
            return f"{self.place} has a problem of its own ({status}): the next run tries again; look into its logs"
        return f"{self.place} answered {status} for {unquote(path)[:200]}: is it a CalDAV server?"


def parse_answer(data: bytes, *, place: str) -> Any:
    """Return the root of an XML answer. Raises SourceError; document types and entities are refused unread."""
    if any(mark in data for mark in _DOCTYPES):
        raise SourceError(f"{place} sent XML with a document type, which CalDAV never needs: it is not read")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_pis=True)
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise SourceError(f"{place} sent no XML that can be read: is the url that of a CalDAV server?") from error
    if root is None or root.getroottree().docinfo.internalDTD is not None:
        raise SourceError(f"{place} sent XML with a document type, which CalDAV never needs: it is not read")
    return root
