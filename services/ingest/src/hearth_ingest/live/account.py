"""An account's credentials as files of a mounted Secret, and the TLS settings that they come with."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from hearth_ingest.errors import SourceError

_MAX_FILE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """User name, password and, where the server's certificate is the house's own, the authority's PEM text."""

    username: str
    password: str = field(repr=False)
    ca: str | None = None

    @classmethod
    def read(cls, folder: str | Path | None) -> Self:
        """Read the files username, password and perhaps ca.crt. Raises SourceError, which names the file.

        One line end after the value does not belong to it: editors and `kubectl create --from-file` leave one there.
        """
        if folder is None:
            raise SourceError("the run names no credentials: give the source's secretRef")
        root = Path(folder)
        username = _read(root, "username")
        password = _read(root, "password")
        if any(ord(character) < 32 for character in username + password):
            raise SourceError(f"username or password in {root} holds a control character: write each as one line")
        return cls(username=username, password=password, ca=_read_ca(root))


def tls_context(ca: str | None) -> ssl.SSLContext:
    """Return verifying TLS settings: the given authority only, or else those of the system. Raises SourceError."""
    try:
        context = ssl.create_default_context(cadata=ca)
    except (ssl.SSLError, ValueError) as error:
        raise SourceError("ca.crt of the credentials is not a certificate in PEM form") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A house's own authority seldom has every extension of RFC 5280, and its Secret may hold just the server's own
    # certificate: both are what the owner put there to be trusted.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def tls_problem(error: ssl.SSLError, *, host: str, port: int) -> SourceError:
    """Return what a failed handshake means to the owner, with the remedy."""
    place = f"{host}:{port}"
    if not isinstance(error, ssl.SSLCertVerificationError):
        return SourceError(
            f"{place} did not complete TLS ({error.reason or 'connection closed'}): are port and security right?"
        )
    reason = error.verify_message
    if "expired" in reason:
        return SourceError(f"the certificate of {place} has expired: renew it on the server")
    if "not yet valid" in reason:
        return SourceError(f"the certificate of {place} is not yet valid: are the clocks right?")
    if "mismatch" in reason or "doesn't match" in reason or "not valid for" in reason:
        return SourceError(f"the certificate of {place} is not for {host}: use the name that the certificate carries")
    return SourceError(
        f"the certificate of {place} comes from an authority that is not trusted ({reason}): "
        "put the authority's certificate into the Secret as ca.crt"
    )


def _read(root: Path, name: str) -> str:
    path = root / name
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES)
        text = data.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except FileNotFoundError as error:
        raise SourceError(f"{path} is missing: the Secret needs the keys username and password") from error
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not UTF-8 text") from error
    if not text:
        raise SourceError(f"{path} is empty: the Secret needs the keys username and password")
    return text


def _read_ca(root: Path) -> str | None:
    try:
        return _read(root, "ca.crt") if (root / "ca.crt").exists() else None
    except OSError as error:
        raise SourceError(f"{root / 'ca.crt'} cannot be read: {error.strerror}") from error
