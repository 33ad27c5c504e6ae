"""Magic packets: what a network card listens for while its machine sleeps. Sent only into networks of this house."""

import asyncio
import socket
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface

import psutil

PORT = 9
PACKETS = 3
EVERYBODY = IPv4Address("255.255.255.255")
"""Leaves by the interface of the default route, and no router passes it on."""
_PAUSE_SECONDS = 0.05


class NotSentError(Exception):
    """Why no packet was sent, in words for whoever asked."""


def magic_packet(mac: str) -> bytes:
    """Return the packet for a card's address, as aa:bb:cc:dd:ee:ff."""
    return b"\xff" * 6 + bytes.fromhex(mac.replace(":", "").replace("-", "")) * 16


def own_broadcasts() -> frozenset[IPv4Address]:
    """Return the broadcast address of every private network that this machine is in."""
    found = set()
    for addresses in psutil.net_if_addrs().values():
        for entry in addresses:
            if entry.family is not socket.AF_INET or not entry.netmask:
                continue
            network = IPv4Interface(f"{entry.address}/{entry.netmask}").network
            if network.prefixlen < 31 and network.is_private and not network.is_loopback:
                found.add(network.broadcast_address)
    return frozenset(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waker:
    """Sends magic packets, and nothing to anybody else than a whole network of ours."""

    broadcasts: Callable[[], AbstractSet[IPv4Address]] = own_broadcasts
    port: int = PORT

    def check(self, broadcast: IPv4Address) -> None:
        """Raise ValueError, with a sentence, for an address that is not the broadcast of a network of ours."""
        allowed = {EVERYBODY, *self.broadcasts()}
        if broadcast not in allowed:
            listed = ", ".join(map(str, sorted(allowed)))
            raise ValueError(f"{broadcast} is no broadcast address of a private network of this machine: {listed}.")

    async def wake(self, mac: str, broadcast: IPv4Address) -> None:
        """Send the packet some times: it is not acknowledged. Raises NotSentError."""
        packet = magic_packet(mac)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            for number in range(PACKETS):
                if number:
                    await asyncio.sleep(_PAUSE_SECONDS)
                try:
                    sender.sendto(packet, (str(broadcast), self.port))
                except OSError as error:
                    raise NotSentError(error.strerror or type(error).__name__) from error
