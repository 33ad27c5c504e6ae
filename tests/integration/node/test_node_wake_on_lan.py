"""Magic packets that a machine was asked for really leave: heard byte for byte on the loopback, and by another machine on
the same cable, which knows its sender by no address.
"""

import asyncio
import socket
import subprocess
import sys
import time
from ipaddress import IPv4Address, IPv4Interface

import aiohttp
import pytest

from hearth_node.front import Front, serve_front
from hearth_node.tls import CertificateStore
from hearth_node.wake_on_lan import EVERYBODY, PACKETS, PORT, Waker
from hearth_operator.clients.front import FrontClient
from hearth_operator.clients.http import HttpStatusError
from hearth_operator.clients.model import Access
from support.node_front import CONFIG, RAY, certify, machine_here, write_machine
from support.other_machine import ADDRESS, other_machine
from support.ray_cluster import free_port

MAC = "00:1a:2b:3c:4d:5e"
PACKET = bytes.fromhex("ffffffffffff" + "001a2b3c4d5e" * 16)
LOOPBACK = IPv4Address("127.255.255.255")
"""What is sent there arrives here, and the kernel refuses it to sockets that may not broadcast."""


async def test_the_card_hears_the_packet_byte_for_byte():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as card:
        card.bind((str(LOOPBACK), 0))
        await Waker(port=card.getsockname()[1]).wake(MAC, LOOPBACK)
        card.setblocking(False)
        assert [card.recv(1000) for _ in range(PACKETS)] == [PACKET] * PACKETS
        with pytest.raises(BlockingIOError):
            card.recv(1000)


@pytest.fixture
async def told_front(tmp_path):
    """A real front with TLS whose network is the loopback; the card that listens there; how the operator calls it."""
    paths = write_machine(tmp_path / "p")
    authority = certify(paths)
    ports = {"listen": "127.0.0.1", "hosts": ("127.0.0.1",), "serve_port": free_port(), "ray_port": free_port()}
    config = CONFIG.model_copy(update=ports)
    store = CertificateStore(paths.certificate, authority=paths.authority, name="studio", hosts=config.hosts)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as card:
        card.bind((str(LOOPBACK), 0))
        card.setblocking(False)
        waker = Waker(broadcasts=lambda: {LOOPBACK}, port=card.getsockname()[1])
        async with aiohttp.ClientSession() as session:
            front = Front(
                config=config, paths=paths, store=store, session=session, facts=machine_here, state=dict, waker=waker
            )
            ready = asyncio.Event()
            serving = asyncio.create_task(serve_front(front, ready=ready))
            await asyncio.wait_for(ready.wait(), 10)
            access = Access(token=RAY, ca=authority)
            yield FrontClient(session, url=f"https://127.0.0.1:{config.ray_port}", access=access), card
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


async def test_the_operator_asks_a_front_and_the_packet_leaves(told_front):
    client, card = told_front
    await client.wake(MAC, str(LOOPBACK))
    assert [card.recv(1000) for _ in range(PACKETS)] == [PACKET] * PACKETS
    with pytest.raises(HttpStatusError, match=r"400 .*10\.99\.0\.7 is no broadcast address of a private network"):
        await client.wake(MAC, "10.99.0.7")
    with pytest.raises(BlockingIOError):
        card.recv(1000)


SEND = f"""
import asyncio, sys
from ipaddress import IPv4Address
from hearth_node.wake_on_lan import Waker
waker, broadcast = Waker(), IPv4Address(sys.argv[1])
waker.check(broadcast)
asyncio.run(waker.wake("{MAC}", broadcast))
"""


def test_it_leaves_the_machine_by_broadcast(tmp_path):
    own = IPv4Interface(f"{ADDRESS}/30").network.broadcast_address
    with (
        other_machine(tmp_path / "m") as machine,
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)) as cable,
    ):
        cable.bind((machine.cable, 0))
        cable.settimeout(1)
        for broadcast in (own, EVERYBODY):
            machine.run(sys.executable, "-c", SEND, str(broadcast))
            assert heard(cable) == [(broadcast, PORT, PACKET)] * PACKETS
        stranger = subprocess.run(
            machine.command(sys.executable, "-c", SEND, "10.10.12.255"), capture_output=True, text=True, check=False
        )
        assert "is no broadcast address of a private network of this machine" in stranger.stderr
        machine.run("ip", "route", "del", "default")
        done = subprocess.run(
            machine.command(sys.executable, "-c", SEND, str(EVERYBODY)), capture_output=True, text=True, check=False
        )
        assert "NotSentError: Network is unreachable" in done.stderr
        assert heard(cable) == []


def heard(cable):
    """Return address, port and content of the datagrams that came within a second. Each went to every card."""
    end, found = time.monotonic() + 1, []
    while time.monotonic() < end:
        try:
            frame = cable.recv(2000)
        except TimeoutError:
            break
        length = (frame[14] & 15) * 4
        udp = frame[14 + length :]
        port = int.from_bytes(udp[2:4], "big")
        if frame[23] == socket.IPPROTO_UDP and port == PORT:
            assert frame[:6] == b"\xff" * 6
            found.append((IPv4Address(frame[30:34]), port, udp[8:]))
    return found
