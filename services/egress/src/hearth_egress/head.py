"""The head of a CONNECT request. Pure; strict: what is not plainly right is refused."""

import ipaddress
import re
from dataclasses import dataclass, field

from hearth_egress.errors import RefusedError

_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) (\S{1,2048}) HTTP/1\.[01]")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_AUTHORITY = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[A-Za-z0-9_]([A-Za-z0-9._-]{0,253})?)):(?P<port>\d{1,5})"
)
_BEARER = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/=-]{1,16384})[ \t]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a caller wants to go; `host` is normalised."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A well-formed CONNECT request. `token` is None where none was sent."""

    target: Target
    token: str | None = field(repr=False)


def normalise_host(host: str) -> str:
    """Return a host for comparison: lower case, without the root's dot, addresses in their one short form."""
    bare = host.strip("[]").lower().removesuffix(".")
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        return bare


def parse_head(head: bytes) -> Request:
    """Return the request of a head that ends with an empty line. Raises RefusedError (400, 405)."""
    line, *fields = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    match = _LINE.fullmatch(line)
    if match is None:
        raise _malformed("the first line is not CONNECT host:port HTTP/1.1")
    if match[1] != b"CONNECT":
        raise RefusedError(405, verdict="method", sentence="only CONNECT is understood here: this is a proxy for TLS")
    target = _parse_authority(match[2].decode("ascii", "replace"))
    tokens: list[bytes] = []
    for text in fields:
        name = _FIELD.fullmatch(text)
        if name is None:
            raise _malformed("a header line is broken")
        if name[1].lower() == b"proxy-authorization":
            tokens.append(name[2])
    if len(tokens) > 1:
        raise _malformed("there is more than one Proxy-Authorization")
    if not tokens:
        return Request(target=target, token=None)
    bearer = _BEARER.fullmatch(tokens[0])
    return Request(target=target, token=bearer[1].decode("ascii") if bearer else None)


def _parse_authority(text: str) -> Target:
    match = _AUTHORITY.fullmatch(text)
    if match is None or not 1 <= int(match["port"]) <= 65535:
        raise _malformed("the target is not host:port")
    if match["six"] is not None:
        try:
            return Target(host=str(ipaddress.IPv6Address(match["six"])), port=int(match["port"]))
        except ValueError:
            raise _malformed("the target is not host:port") from None
    return Target(host=normalise_host(match["name"]), port=int(match["port"]))


def _malformed(problem: str) -> RefusedError:
    return RefusedError(400, verdict="malformed", sentence=f"the request cannot be understood: {problem}")
