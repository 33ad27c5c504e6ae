"""From a name to a connection: resolved once, checked, and connected to the very address that was checked."""

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest

from hearth_egress.errors import RefusedError
from hearth_egress.head import Target
from hearth_egress.settings import Network

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Guard = Callable[[Address], bool]
"""Tells whether an address may be connected to."""

MAX_ADDRESSES = 8
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def make_guard(denied: Iterable[Network]) -> Guard:
    """Return the guard that refuses what no mail or calendar server has, and the given networks.

    Addresses of the house (10.0.0.0/8 and the like) are allowed: its own servers are there.
    """
    networks = tuple(denied)

    def allows(address: Address) -> bool:
        for form in (address, *_embedded(address)):
            if form.is_loopback or form.is_link_local or form.is_multicast or form.is_unspecified:
                return False
            if str(form) == "255.255.255.255" or (form.version == 4 and int(form) >> 24 == 0):
                return False
            if any(form.version == network.version and form in network for network in networks):
                return False
        return True

    return allows


def _embedded(address: Address) -> list[Address]:
    """Return the IPv4 addresses that an IPv6 address stands for in one of the ways of transition."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found: list[Address] = [a for a in (address.ipv4_mapped, address.sixtofour) if a is not None]
    if address.teredo is not None:
        found.extend(address.teredo)
    if address in _NAT64 or int(address) >> 32 == 0:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return found


async def resolve(target: Target) -> list[Address]:
    """Return a target's addresses, the families by turns. Raises RefusedError (502)."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise RefusedError(
            502, verdict="unknown-name", sentence=f"the name {target.host} is not known: is it spelled right?"
        ) from error
    # An IPv6 address may carry a zone (fe80::1%eth0).
    unique = list(dict.fromkeys(ipaddress.ip_address(str(info[4][0]).partition("%")[0]) for info in found))
    first = [address for address in unique if address.version == unique[0].version]
    other = [address for address in unique if address.version != unique[0].version]
    mixed = [address for pair in zip_longest(first, other) for address in pair if address is not None]
    return mixed[:MAX_ADDRESSES]


async def connect(
    target: Target, addresses: Sequence[Address], *, guard: Guard, seconds: float
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return a connection to the first address that answers. Raises RefusedError (403, 502)."""
    allowed = [address for address in addresses if guard(address)]
    if not allowed:
        raise RefusedError(
            403,
            verdict="address",
            sentence=f"{target.host} leads to an address that is not reached from here (loopback, link-local, "
            "multicast or the cluster's own): check what the name resolves to",
        )
    reason = ""
    for address in allowed:
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.open_connection(str(address), target.port)
        except TimeoutError:
            reason = f"no answer within {seconds:g} seconds"
        except OSError as error:
            reason = error.strerror or type(error).__name__
    raise RefusedError(
        502, verdict="unreachable", sentence=f"{target} cannot be reached ({reason}): does the server run?"
    )
