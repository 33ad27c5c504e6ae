"""A connection to an IMAP server: TLS, sign-in, commands. It is opened read-only and never changes anything."""

import base64
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

import structlog

from hearth_api.wire.ingest import ImapSpec, ProxySpec
from hearth_ingest.errors import SourceError
from hearth_ingest.live.account import Credentials, tls_context, tls_problem
from hearth_ingest.live.tunnel import open_tunnel
from hearth_ingest.mail.imap_wire import LiteralTooLargeError, Response, WireError, quote, read_response

TIMEOUT_SECONDS = 60.0
COMMAND_SECONDS = 600.0
_SMALL_LITERAL = 1 << 20
_ROOM_BYTES = 64 << 20
"""What one command's answer may have beside the largest literal that is expected."""
_log = structlog.get_logger(__name__)


class LostError(Exception):
    """The connection is gone or of no more use; another one may work."""


class RefusedCommandError(Exception):
    """The server answered NO or BAD. `code` is its response code; the sentence is the server's."""

    def __init__(self, name: str, *, status: str, code: str, sentence: str) -> None:
        self.name = name
        self.status = status
        self.code = code
        self.sentence = sentence
        super().__init__(f"{name}: {status} {code} {sentence}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Where an account is, how to reach it and who signs in."""

    spec: ImapSpec
    credentials: Credentials
    proxy: ProxySpec | None = None
    timeout: float = TIMEOUT_SECONDS

    @property
    def place(self) -> str:
        """Host and port for sentences."""
        return f"{self.spec.host}:{self.spec.port}"


class Session:
    """One signed-in connection. Raises SourceError while it opens, LostError and RefusedCommandError afterwards."""

    def __init__(self, account: Account, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._account = account
        self._monotonic = monotonic
        self._number = 0
        self.capabilities: frozenset[str] = frozenset()
        self._socket = open_tunnel(account.spec.host, account.spec.port, account.proxy, account.timeout)
        self._file: BinaryIO | None = None
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        place = self._account.place
        try:
            if self._account.spec.security == "tls":
                self._start_tls()
                self._greet()
            else:
                self._greet()
                self._ask_starttls()
            self._sign_in()
        except LostError as error:
            raise SourceError(
                f"{place} ended the conversation before the sign-in was done ({error}): "
                f"is it an IMAP server, and is security {self._account.spec.security} right for this port?"
            ) from error

    def _start_tls(self) -> None:
        spec = self._account.spec
        context = tls_context(self._account.credentials.ca)
        try:
            self._socket = context.wrap_socket(self._socket, server_hostname=spec.host)
        except ssl.SSLError as error:
            raise tls_problem(error, host=spec.host, port=spec.port) from error
        except (OSError, ValueError) as error:
            raise LostError(_reason(error)) from error

    def _greet(self) -> None:
        self._reopen_file()
        response = self._read(_SMALL_LITERAL)
        if response.tag != b"*" or response.word not in {b"OK", b"PREAUTH", b"BYE"}:
            raise LostError("no IMAP greeting")
        code, argument, sentence = response.status()
        if response.word == b"BYE":
            raise SourceError(f"{self._account.place} turned the connection away: {self._clean(sentence)}")
        if response.word == b"PREAUTH":
            raise SourceError(f"{self._account.place} signs in without asking who we are: that is not used")
        self.capabilities = _words(argument) if code == b"CAPABILITY" else frozenset()

    def _ask_starttls(self) -> None:
        if "STARTTLS" not in self.known():
            raise SourceError(f"{self._account.place} offers no STARTTLS: use security TLS with its port, mostly 993")
        try:
            list(self.command("STARTTLS"))
        except RefusedCommandError as error:
            raise SourceError(f"{self._account.place} refused STARTTLS: {self._clean(error.sentence)}") from error
        # What came before TLS may be forged: the old buffer goes, and capabilities are asked for again.
        self._start_tls()
        self._reopen_file()
        self.capabilities = frozenset()

    def _sign_in(self) -> None:
        offered = self.known()
        secret = self._account.credentials
        plain = "AUTH=PLAIN" in offered
        if not plain and "LOGINDISABLED" in offered:
            raise SourceError(
                f"{self._account.place} takes no password (it offers {_offers(offered)}): "
                "make a password for apps with the provider; OAuth is not spoken here"
            )
        try:
            if plain:
                self._authenticate(secret)
            else:
                user, password = secret.username.encode(), secret.password.encode()
                list(self.command("LOGIN", quote(user), quote(password)))
        except RefusedCommandError as error:
            raise self._sign_in_problem(error) from error
        self.capabilities = frozenset()

    def _authenticate(self, secret: Credentials) -> None:
        """SASL PLAIN, with the answer in a line of its own: servers without SASL-IR need that."""
        token = base64.b64encode(f"\0{secret.username}\0{secret.password}".encode())
        asked = False
        for response in self._run("AUTHENTICATE", b"PLAIN", literal_limit=_SMALL_LITERAL):
            if response.tag == b"+":
                # A second question is an error report (RFC 4422): an empty answer ends it.
                self._send(b"\r\n" if asked else token + b"\r\n")
                asked = True

    def _sign_in_problem(self, error: RefusedCommandError) -> SourceError:
        place, user = self._account.place, self._account.credentials.username
        said = self._clean(error.sentence)
        if error.code in {"UNAVAILABLE", "INUSE", "LIMIT"}:
            return SourceError(f"{place} cannot sign {user} in now: {said}")
        return SourceError(
            f"{place} did not accept the password of {user} ({said}): check username and password in the Secret; "
            "many providers want a password made for apps"
        )

    def _clean(self, sentence: str) -> str:
        """Return a server's sentence without the password, should it repeat it."""
        secret = self._account.credentials
        token = base64.b64encode(f"\0{secret.username}\0{secret.password}".encode()).decode()
        return sentence.replace(token, "[redacted]").replace(secret.password, "[redacted]") or "without a reason"

    def known(self) -> frozenset[str]:
        """Return the capabilities, asked for where the server has not said them."""
        if not self.capabilities:
            try:
                for response in self.command("CAPABILITY"):
                    if response.word == b"CAPABILITY":
                        self.capabilities = _words(response.text.partition(b" ")[2])
            except RefusedCommandError as error:
                raise LostError("CAPABILITY was refused") from error
        return self.capabilities

    def command(self, name: str, *arguments: bytes, literal_limit: int = _SMALL_LITERAL) -> Iterator[Response]:
        """Send a command and yield the untagged responses until it is done. Read it to its end."""
        for response in self._run(name, *arguments, literal_limit=literal_limit):
            if response.tag == b"+":
                raise LostError("the server asked for more than was to be said")
            yield response

    def _run(self, name: str, *arguments: bytes, literal_limit: int) -> Iterator[Response]:
        self._number += 1
        tag = b"H%d" % self._number
        self._send(b" ".join((tag, name.encode("ascii"), *arguments)) + b"\r\n")
        deadline = self._monotonic() + COMMAND_SECONDS
        spent = 0
        while True:
            if self._monotonic() > deadline:
                self.close()
                raise LostError(f"{name} was not done within {COMMAND_SECONDS:g} seconds")
            response = self._read(literal_limit)
            spent += sum(map(len, response.chunks))
            if spent > literal_limit + _ROOM_BYTES:
                self.close()
                raise LostError(f"the answer to {name} does not end")
            if response.tag == tag:
                break
            if response.tag == b"*" and response.word == b"BYE":
                self.close()
                raise LostError(f"the server said goodbye: {self._clean(response.status()[2])}")
            if response.tag in {b"*", b"+"}:
                yield response
        if response.word != b"OK":
            code, _, sentence = response.status()
            raise RefusedCommandError(
                name,
                status=response.word.decode("ascii", "replace"),
                code=code.decode("ascii", "replace"),
                sentence=self._clean(sentence),
            )

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            self.close()
            raise LostError(_reason(error)) from error

    def _read(self, literal_limit: int) -> Response:
        if self._file is None:
            raise LostError("the connection is closed")
        try:
            return read_response(self._file, literal_limit=literal_limit)
        except TimeoutError as error:
            self.close()
            raise LostError(f"no answer within {self._account.timeout:g} seconds") from error
        except LiteralTooLargeError:
            self.close()
            raise
        except WireError as error:
            self.close()
            raise LostError(str(error)) from error
        except (OSError, ValueError) as error:
            self.close()
            raise LostError(_reason(error)) from error

    def _reopen_file(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = self._socket.makefile("rb")

    def logout(self) -> None:
        """Say goodbye and close, whatever the server makes of it."""
        with suppress(LostError, WireError, RefusedCommandError):
            list(self.command("LOGOUT"))
        self.close()

    def close(self) -> None:
        """Close the connection without a word."""
        with suppress(OSError):
            if self._file is not None:
                self._file.close()
        self._file = None
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def _words(text: bytes) -> frozenset[str]:
    return frozenset(text.decode("ascii", "replace").upper().split())


def _offers(capabilities: frozenset[str]) -> str:
    return ", ".join(sorted(c.removeprefix("AUTH=") for c in capabilities if c.startswith("AUTH="))) or "nothing"


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
