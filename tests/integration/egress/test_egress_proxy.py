"""The way out over real sockets: tunnels, refusals, limits, and bytes that are no request."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hearth_api.wire.ingest import ProxySpec
from hearth_egress.settings import Limits
from hearth_ingest.errors import SourceError
from hearth_ingest.live.tunnel import open_tunnel
from support.egress import account, running_egress


@asynccontextmanager
async def echo() -> AsyncIterator[int]:
    """A server that says everything back and then DONE."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write(b"DONE")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_tunnel_passes_bytes_both_ways(capsys: pytest.CaptureFixture[str]) -> None:
    async with echo() as port, running_egress(account("localhost", port)) as house:
        reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
        head = f"CONNECT LOCALHOST:{port} HTTP/1.1\r\nProxy-Authorization: Bearer inbox-token\r\n\r\n"
        writer.write(head.encode() + b"early")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 200 Connection established\r\n\r\n"
        data = random.Random(1).randbytes(3_000_000)

        async def feed() -> None:
            writer.write(data)
            await writer.drain()
            writer.write_eof()

        feeding = asyncio.create_task(feed())
        assert await reader.read(-1) == b"early" + data + b"DONE"
        await feeding
        writer.close()
        value = house.metrics.registry.get_sample_value
        await house.until("hearth_egress_tunnels_total", 1, verdict="passed")
        assert value("hearth_egress_bytes_total", {"source": "inbox", "direction": "sent"}) == len(data) + 5
        assert value("hearth_egress_bytes_total", {"source": "inbox", "direction": "received"}) == len(data) + 9
        assert value("hearth_egress_tunnels_open") == 0
    out = capsys.readouterr().out
    assert out.count("tunnel ") == 1
    assert "inbox-token" not in out
    assert "early" not in out


async def test_refusals() -> None:
    async with echo() as port, running_egress(account("localhost", port)) as house:
        assert (await house.connect(f"localhost:{port}", token=None)).startswith(b"HTTP/1.1 407 ")
        answer = await house.connect(f"localhost:{port}", token="nobody")
        assert answer.startswith(b"HTTP/1.1 407 ")
        assert b"Proxy-Authenticate: Bearer" in answer
        assert (await house.connect(f"localhost:{port}", token="gateway-token")).startswith(b"HTTP/1.1 403 ")
        other = await house.connect("elsewhere.example:993")
        assert other.startswith(b"HTTP/1.1 403 ")
        assert b"IngestionSource inbox may reach localhost" in other
        assert (await house.connect(f"127.0.0.1:{port}")).startswith(b"HTTP/1.1 403 ")
        assert (await house.connect("localhost:1")).startswith(b"HTTP/1.1 403 ")
        assert (await house.send(b"GET http://localhost/ HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 405 ")
        assert (await house.send(b"hello\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
        assert (await house.send(b"CONNECT a:1", end=True)).startswith(b"HTTP/1.1 400 ")
        assert (await house.send(b"CONNECT a:1 HTTP/1.1\r\n" + b"x: y\r\n" * 20000)).startswith(b"HTTP/1.1 400 ")


async def test_a_change_of_the_source_counts_within_seconds() -> None:
    async with echo() as port, running_egress({**account("localhost", port), "suspend": True}) as house:
        answer = await house.connect(f"localhost:{port}")
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"suspended" in answer
        house.spec = None
        await asyncio.sleep(2.1)  # as long as an answer is believed
        answer = await house.connect(f"localhost:{port}")
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"there is no IngestionSource" in answer


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "169.254.169.254"])
async def test_inner_addresses_are_refused_though_the_source_names_them(host: str) -> None:
    async with running_egress(account(host, 993), guarded=True) as house:
        answer = await house.connect(f"{host}:993")
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"not reached from here" in answer


async def test_servers_that_are_not_there() -> None:
    async with running_egress(account("localhost", 1)) as house:
        assert (await house.connect("localhost:1")).startswith(b"HTTP/1.1 502 ")
    async with running_egress(account("nowhere.invalid", 993)) as house:
        assert (await house.connect("nowhere.invalid:993")).startswith(b"HTTP/1.1 502 ")


async def test_limits_of_time_and_number() -> None:
    limits = Limits(head_seconds=0.2, idle_seconds=0.5, tunnels_per_source=1)
    async with echo() as port, running_egress(account("localhost", port), limits=limits) as house:
        assert (await house.send(b"CONNECT local")).startswith(b"HTTP/1.1 408 ")
        first = asyncio.create_task(house.connect(f"localhost:{port}"))
        await house.until("hearth_egress_tunnels_open", 1)
        assert (await house.connect(f"localhost:{port}")).startswith(b"HTTP/1.1 503 ")
        assert (await first) == b"HTTP/1.1 200 Connection established\r\n\r\n"  # silence ended it
        limits_met = house.metrics.registry.get_sample_value("hearth_egress_tunnels_total", {"verdict": "ended-idle"})
        assert limits_met == 1


async def test_bytes_that_are_no_request() -> None:
    random_bytes = random.Random(4)
    good = b"CONNECT localhost:9 HTTP/1.1\r\nProxy-Authorization: Bearer inbox-token\r\n\r\n"
    async with running_egress(account("other.example", 9)) as house:
        for _ in range(150):
            data = bytearray(good)
            for _ in range(random_bytes.randrange(1, 6)):
                at = random_bytes.randrange(len(data))
                data[at : at + random_bytes.randrange(3)] = random_bytes.randbytes(random_bytes.randrange(3))
            answer = await house.send(bytes(data), end=True)
            assert answer.split(b" ")[1] in {b"400", b"403", b"405", b"407"}, bytes(data)
        assert (await house.connect("localhost:9")).startswith(b"HTTP/1.1 403 ")
        for _ in range(20):  # callers that go away in the middle
            _, writer = await asyncio.open_connection("127.0.0.1", house.port)
            writer.write(good[: random_bytes.randrange(len(good))])
            writer.transport.abort()
        assert (await house.connect("localhost:9")).startswith(b"HTTP/1.1 403 ")
        await house.until("hearth_egress_tunnels_open", 0)


async def test_the_client_of_sources(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("inbox-token\n")
    async with echo() as port, running_egress(account("localhost", port)) as house:
        proxy = ProxySpec(url=f"http://127.0.0.1:{house.port}", token_path=str(token))

        def talk() -> bytes:
            with open_tunnel("localhost", port, proxy, 10) as connection:
                connection.sendall(b"ping")
                return connection.recv(4)

        assert await asyncio.to_thread(talk) == b"ping"
        with pytest.raises(
            SourceError, match=r"the proxy refused localhost:1 \(403\): IngestionSource inbox may reach"
        ):
            await asyncio.to_thread(open_tunnel, "localhost", 1, proxy, 10)
        token.write_text("nobody")
        with pytest.raises(SourceError, match=r"\(407\): the token is not valid"):
            await asyncio.to_thread(open_tunnel, "localhost", port, proxy, 10)
        token.unlink()
        with pytest.raises(SourceError, match=r"token cannot be read|the proxy's token"):
            await asyncio.to_thread(open_tunnel, "localhost", port, proxy, 10)
