"""The house's mirror with two machines behind it: each byte crosses the uplink once, whatever happens to it there."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest

from hearth_api.wire.mirror import MirrorOrders, reader_mark, reader_token
from hearth_api.wire.weights import MirrorAccess, SourceStatus, WantedWeights, WeightsCode, WeightsState
from hearth_operator.clients.certificates import Authority, issue_signed, make_authority
from hearth_serve.mirror.main import serve
from hearth_serve.weights.downloads import Downloads
from hearth_serve.weights.fetch.http import Fetcher, Policy
from hearth_serve.weights.fetch.mirror import MirrorClient, open_mirror_session
from hearth_serve.weights.resolve import Resolver
from hearth_serve.weights.store import Store
from support.ray_cluster import free_port
from support.weights_server import COMMIT, WeightsServer

MODEL = b"GGUF" + random.Random(6).randbytes(2_000_000)
OTHER = b"GGUF" + random.Random(7).randbytes(1_500_000)
TOKENS = (b"first-machine-token-000000", b"second-machine-token-00000")


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


@dataclass
class House:
    """A mirror, its authority, and what it is told."""

    folder: Path
    store: Path
    authority: Authority
    port: int
    web_port: int
    env: dict[str, str]
    task: asyncio.Task[None] | None = None

    def order(self, *wanted: WantedWeights, readers: tuple[bytes, ...] = TOKENS) -> None:
        marks = tuple(reader_mark(reader_token(token)) for token in readers)
        fresh = self.folder / "fresh"
        fresh.write_text(MirrorOrders(wanted=wanted, readers=marks).model_dump_json(by_alias=True))
        fresh.replace(self.folder / "orders.json")

    def certify(self, *, host: str = "127.0.0.1", now: datetime | None = None) -> None:
        made = issue_signed(self.authority, name="mirror", hosts=(host,), now=now or datetime.now(UTC))
        (self.folder / "tls.crt").write_bytes(made.certificate)
        (self.folder / "tls.key").write_bytes(made.key)

    def start(self) -> None:
        env = {"HEARTH_WEIGHTS_STORE": str(self.store), "HEARTH_WEIGHTS_HEADROOM": "0", **self.env}
        self.task = asyncio.create_task(
            serve(self.folder, host="127.0.0.1", port=self.port, web_port=self.web_port, env=env)
        )

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()
            with suppress(asyncio.CancelledError):
                await self.task

    @asynccontextmanager
    async def machine(self, folder: Path, token: bytes) -> AsyncIterator[Downloads]:
        access = MirrorAccess(url=f"https://127.0.0.1:{self.port}", authority=self.authority.certificate.decode())
        async with open_mirror_session(access) as session:
            quick = lambda _: asyncio.sleep(0.05)  # noqa: E731
            client = MirrorClient(url=access.url, session=session, token=lambda: token, sleep=quick)
            made = Downloads(
                store=Store(root=folder, headroom=0),
                resolver=Resolver(session=session, env={}, mirror=client),
                fetcher=Fetcher(session=session, policy=Policy(stall=5, tries=40, first_wait=0.05, most_wait=0.2)),
                sleep=quick,
            )
            try:
                yield made
            finally:
                await made.close()


async def answered(house: House) -> None:
    """Return when the mirror shows a certificate of the house's authority of now."""
    access = MirrorAccess(url=f"https://127.0.0.1:{house.port}", authority=house.authority.certificate.decode())
    async with asyncio.timeout(20):
        while True:
            with suppress(aiohttp.ClientError):
                async with open_mirror_session(access) as session, session.get(f"{access.url}/v1/source") as answer:
                    assert answer.status == 401
                    return
            await asyncio.sleep(0.1)


@pytest.fixture
async def outside() -> AsyncIterator[WeightsServer]:
    async with WeightsServer(files={"m.gguf": MODEL, "o.gguf": OTHER}).running() as running:
        yield running


@pytest.fixture
async def house(tmp_path: Path, outside: WeightsServer) -> AsyncIterator[House]:
    folder = tmp_path / "secret"
    folder.mkdir()
    made = House(
        folder=folder,
        store=tmp_path / "mirror",
        authority=make_authority(now=datetime.now(UTC)),
        port=free_port(),
        web_port=free_port(),
        env={"HF_ENDPOINT": outside.url},
    )
    made.certify()
    made.order()
    made.start()
    await answered(made)
    yield made
    await made.stop()


async def come(true: Callable[[], bool], *, seconds: float = 40) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110  what is watched is told by polling in real life too
            await asyncio.sleep(0.01)


async def until(downloads: Downloads, state: WeightsState) -> tuple[SourceStatus, ...]:
    await come(lambda: {one.state for one in downloads.status()} == {state})
    return downloads.status()


async def test_two_machines_cost_the_uplink_one_copy(house: House, outside: WeightsServer, tmp_path: Path) -> None:
    wanted = WantedWeights(source=f"{outside.url}/m.gguf", sha256=digest(MODEL))
    outside.pace = 0.1
    async with (
        house.machine(tmp_path / "one", TOKENS[0]) as one,
        house.machine(tmp_path / "two", TOKENS[1]) as two,
    ):
        await one.want([wanted])
        await two.want([wanted])
        house.order(wanted)
        # While it still comes, both machines have its beginning already.
        await come(lambda: all(0 < m.status()[0].done < len(MODEL) for m in (one, two)))
        await until(one, WeightsState.READY)
        await until(two, WeightsState.READY)
    assert outside.sent == len(MODEL)
    assert outside.ranges == [None]
    for name in ("one", "two", "mirror"):
        assert (tmp_path / name / "blobs" / digest(MODEL)).read_bytes() == MODEL


@pytest.mark.parametrize("faults", [["cut", "cut"], ["503", "cut"], ["damage"]])
async def test_what_befalls_the_uplink_is_the_mirrors_affair(
    house: House, outside: WeightsServer, tmp_path: Path, faults: list[str]
) -> None:
    outside.faults, outside.pace = list(faults), 0.02
    wanted = WantedWeights(source=f"{outside.url}/m.gguf", sha256=digest(MODEL))
    house.order(wanted)
    async with house.machine(tmp_path / "one", TOKENS[0]) as one:
        await one.want([wanted])
        await until(one, WeightsState.READY)
    assert (tmp_path / "one" / "blobs" / digest(MODEL)).read_bytes() == MODEL
    twice = len(MODEL) if faults == ["damage"] else 0
    assert outside.sent == len(MODEL) + twice, "each byte once; what came damaged, twice"


async def test_a_mirror_that_starts_anew_goes_on_and_so_do_machines(
    house: House, outside: WeightsServer, tmp_path: Path
) -> None:
    outside.pace = 0.6  # its end takes longer than the mirror's own
    wanted = WantedWeights(source="hf://owner/model@main/m.gguf")
    house.order(wanted)
    async with house.machine(tmp_path / "one", TOKENS[0]) as one:
        await one.want([wanted])
        await come(lambda: one.status()[0].done > len(MODEL) // 3)
        await house.stop()
        house.start()
        (told,) = await until(one, WeightsState.READY)
    assert told.resolved == COMMIT
    assert outside.ranges[0] is None
    assert outside.ranges[1:], "it went on"
    assert all(asked not in {None, "bytes=0-"} for asked in outside.ranges[1:]), "from where it was"
    assert outside.sent < 1.3 * len(MODEL)


async def test_strangers_and_what_nobody_ordered_get_nothing(house: House, outside: WeightsServer) -> None:
    wanted = WantedWeights(source=f"{outside.url}/m.gguf", sha256=digest(MODEL))
    house.order(wanted, readers=TOKENS[:1])
    access = MirrorAccess(url=f"https://127.0.0.1:{house.port}", authority=house.authority.certificate.decode())
    query = {"source": wanted.source, "sha256": digest(MODEL)}
    right = {"Authorization": f"Bearer {reader_token(TOKENS[0])}"}
    await come(lambda: (house.store / "blobs" / digest(MODEL)).exists())
    async with open_mirror_session(access) as session:

        async def ask(path: str, headers: dict[str, str], **more: str) -> int:
            async with session.get(f"{access.url}/v1/{path}", params={**query, **more}, headers=headers) as answer:
                return answer.status

        assert await ask("source", right) == 200
        assert await ask("file", right, name="m.gguf") == 200
        assert await ask("file", right, name="../../secret/tls.key") == 503
        for headers in (
            {},
            {"Authorization": f"Bearer {reader_token(TOKENS[1])}"},
            {"Authorization": f"Bearer {TOKENS[0].decode()}"},
            {"Authorization": f"Bearer {reader_mark(reader_token(TOKENS[0]))}"},
        ):
            assert await ask("source", headers) == 401
            assert await ask("file", headers, name="m.gguf") == 401
        for source in (f"{outside.url}/o.gguf", "file:///etc/passwd", "http://169.254.169.254/latest"):
            assert await ask("source", right, source=source) == 404
    assert outside.sent == len(MODEL), "nothing was brought for strangers"


async def test_machines_tell_what_the_mirror_could_not_do(house: House, outside: WeightsServer, tmp_path: Path) -> None:
    outside.token = "hf_right"
    gated = WantedWeights(source="hf://owner/model@main/m.gguf")
    wrong = WantedWeights(source=f"{outside.url}/o.gguf", sha256="0" * 64)
    missing = WantedWeights(source=f"{outside.url}/none.gguf", sha256="0" * 64)
    house.order(gated, wrong, missing)
    async with house.machine(tmp_path / "one", TOKENS[0]) as one:
        await one.want([gated, wrong, missing])
        told = {status.source: status for status in await until(one, WeightsState.FAILED)}
    assert told[gated.source].code is WeightsCode.GATED
    assert "HF_TOKEN" in (told[gated.source].message or "")
    assert told[wrong.source].code is WeightsCode.DIGEST_MISMATCH
    assert told[missing.source].code is WeightsCode.SOURCE_NOT_FOUND
    assert not list((tmp_path / "one" / "blobs").iterdir())


async def test_what_the_mirror_gives_up_while_it_is_read_is_told_at_once(
    house: House, outside: WeightsServer, tmp_path: Path
) -> None:
    outside.pace = 0.1
    wrong = WantedWeights(source=f"{outside.url}/o.gguf", sha256="0" * 64)
    house.order(wrong)
    async with house.machine(tmp_path / "one", TOKENS[0]) as one:
        await one.want([wrong])
        await come(lambda: 0 < one.status()[0].done < len(OTHER))
        await come(lambda: one.status()[0].state is WeightsState.FAILED, seconds=10)
        (told,) = one.status()
    assert told.code is WeightsCode.DIGEST_MISMATCH
    assert (told.message or "").startswith("The house's mirror: o.gguf came with SHA-256")


@pytest.mark.parametrize("what", ["another authority", "a day behind", "another host", "nobody there"])
async def test_a_mirror_that_cannot_be_trusted_is_said_with_the_remedy(
    house: House, tmp_path: Path, what: str, outside: WeightsServer
) -> None:
    await house.stop()
    wanted = WantedWeights(source=f"{outside.url}/m.gguf", sha256=digest(MODEL))
    if what == "another authority":
        house.certify()
        house.authority = make_authority(now=datetime.now(UTC))
    elif what == "a day behind":
        house.certify(now=datetime.now(UTC) + timedelta(days=1))
    elif what == "another host":
        house.certify(host="192.0.2.7")
    house.order(wanted)
    if what != "nobody there":
        house.start()
    async with house.machine(tmp_path / "one", TOKENS[0]) as one:
        await one.want([wanted])
        said = "does not answer" if what == "nobody there" else "certificate that this machine does not trust"
        await come(lambda: said in (one.status()[0].message or ""))
        (told,) = one.status()
    assert told.state is WeightsState.FAILED
    assert "mirror.address" in (told.message or "")
    assert not outside.sent or what != "nobody there"


async def test_its_certificate_is_renewed_without_a_restart(house: House) -> None:
    await answered(house)
    house.authority = make_authority(now=datetime.now(UTC))
    house.certify()
    await answered(house)


async def test_figures_and_readiness(house: House, outside: WeightsServer) -> None:
    wanted = WantedWeights(source=f"{outside.url}/m.gguf", sha256=digest(MODEL))
    house.order(wanted)
    await come(lambda: (house.store / "sources").is_dir() and bool(list((house.store / "sources").glob("*.json"))))
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{house.web_port}/readyz") as answer:
            assert answer.status == 200
        async with session.get(f"http://127.0.0.1:{house.web_port}/metrics") as answer:
            text = await answer.text()
    assert 'hearth_mirror_sources{state="Ready"} 1.0' in text
    used = next(line for line in text.splitlines() if line.startswith("hearth_mirror_store_used_bytes "))
    assert float(used.split()[1]) == len(MODEL)
