"""Who may have a joined machine send magic packets, and whereto. That they arrive: tests/integration/node."""

import json
import socket
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from types import SimpleNamespace

import psutil
import pytest

from hearth_node.wake_on_lan import EVERYBODY, PACKETS, NotSentError, Waker, magic_packet, own_broadcasts
from support.node_front import RAY, SERVE, a_front

MAC = "00:1A:2b:3c:4d:5e"
OWN = IPv4Address("10.10.12.255")
PACKET = bytes.fromhex("ffffffffffff" + "001a2b3c4d5e" * 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder(Waker):
    """Sends nothing."""

    sent: list[tuple[str, IPv4Address]] = field(default_factory=list)
    error: str | None = None

    async def wake(self, mac: str, broadcast: IPv4Address) -> None:
        if self.error is not None:
            raise NotSentError(self.error)
        self.sent.append((mac, broadcast))


def recorder(error=None):
    return Recorder(broadcasts=lambda: {OWN}, error=error)


async def ask(house, body, *, token=RAY, port="ray"):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    status, _, raw = await house.call("POST", "/hearth/wake", token=token, port=port, data=data)
    return status, json.loads(raw)


def test_the_packet():
    assert magic_packet(MAC) == magic_packet(MAC.replace(":", "-")) == PACKET
    assert len(PACKET) == 102


@pytest.mark.parametrize("broadcast", [str(OWN), "255.255.255.255"])
async def test_it_sends_into_its_own_network(tmp_path, broadcast):
    waker = recorder()
    async with a_front(tmp_path, waker=waker) as house:
        assert await ask(house, {"mac": MAC, "broadcast": broadcast}) == (200, {"sent": PACKETS})
    assert waker.sent == [(MAC, IPv4Address(broadcast))]


@pytest.mark.parametrize(
    ("token", "port", "status"), [(None, "ray", 401), (SERVE, "ray", 403), (SERVE, "serve", 404), (RAY, "serve", 403)]
)
async def test_only_rays_token_wakes(tmp_path, token, port, status):
    waker = recorder()
    async with a_front(tmp_path, waker=waker) as house:
        assert (await ask(house, {"mac": MAC, "broadcast": str(OWN)}, token=token, port=port))[0] == status
    assert waker.sent == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[" * 500,
        b'"text"',
        {},
        {"mac": MAC},
        {"broadcast": str(OWN)},
        {"mac": "001A2b3c4d5e", "broadcast": str(OWN)},
        {"mac": MAC + "\n", "broadcast": str(OWN)},
        {"mac": MAC + ":00", "broadcast": str(OWN)},
        {"mac": MAC, "broadcast": "localhost"},
        {"mac": MAC, "broadcast": "::1"},
        {"mac": MAC, "broadcast": [str(OWN)]},
        {"mac": MAC, "broadcast": str(OWN), "port": 22},
        {"mac": MAC, "broadcast": "10.10.12.5"},
        {"mac": MAC, "broadcast": "8.8.8.8"},
        {"mac": MAC, "broadcast": "10.10.13.255"},
    ],
)
async def test_nothing_goes_to_a_host_of_somebodys_choice(tmp_path, body):
    waker = recorder()
    async with a_front(tmp_path, waker=waker) as house:
        status, answer = await ask(house, body)
    assert status == 400
    assert answer["error"]["message"].endswith(".")
    assert waker.sent == []


async def test_a_body_that_is_too_large_is_not_read(tmp_path):
    async with a_front(tmp_path) as house:
        assert (await ask(house, b" " * 2000))[0] == 413


async def test_a_network_that_does_not_take_it_is_said(tmp_path):
    async with a_front(tmp_path, waker=recorder("Network is unreachable")) as house:
        status, answer = await ask(house, {"mac": MAC, "broadcast": str(OWN)})
    assert (status, answer["error"]["code"]) == (503, "not_sent")
    assert "Network is unreachable" in answer["error"]["message"]


def test_networks_of_this_machine(monkeypatch):
    def entry(address, netmask, family=socket.AF_INET):
        return SimpleNamespace(family=family, address=address, netmask=netmask, broadcast=None, ptp=None)

    known = {
        "lo": [entry("127.0.0.1", "255.0.0.0"), entry("::1", "ffff::", socket.AF_INET6)],
        "en0": [entry("10.10.12.5", "255.255.255.0"), entry("fe80::1", "ffff::", socket.AF_INET6)],
        "wg0": [entry("10.9.0.1", "255.255.255.255")],
        "ppp0": [entry("10.8.0.1", None)],
        "wan": [entry("203.0.114.7", "255.255.255.0")],
        "vm": [entry("192.168.64.1", "255.255.240.0")],
    }
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: known)
    assert own_broadcasts() == {IPv4Address("10.10.12.255"), IPv4Address("192.168.79.255")}
    Waker().check(EVERYBODY)
    Waker().check(IPv4Address("10.10.12.255"))
    for other in ("10.10.12.5", "203.0.114.255", "127.255.255.255", "10.9.0.1"):
        with pytest.raises(ValueError, match=r"no broadcast address .*: 10\.10\.12\.255, 192\.168\.79\.255, 255"):
            Waker().check(IPv4Address(other))
