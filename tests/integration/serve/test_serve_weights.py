"""Weights from a server that cuts, damages, slows and refuses, into a real folder."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from hearth_api.wire.weights import SourceStatus, WantedWeights, WeightsCode, WeightsState
from hearth_serve.weights.downloads import Downloads
from hearth_serve.weights.fetch.http import Fetcher, Policy
from hearth_serve.weights.resolve import Resolver
from hearth_serve.weights.store import Store
from support.weights_server import COMMIT, WeightsServer

MODEL = b"GGUF" + random.Random(6).randbytes(2_000_000)
OTHER = b"GGUF" + random.Random(7).randbytes(1_500_000)


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


@pytest.fixture
async def server() -> AsyncIterator[WeightsServer]:
    async with WeightsServer(files={"m.gguf": MODEL, "o.gguf": OTHER}).running() as running:
        yield running


@pytest.fixture
async def downloads(tmp_path: Path, server: WeightsServer) -> AsyncIterator[Downloads]:
    env = {"HF_ENDPOINT": server.url, "AWS_ENDPOINT_URL": server.url}
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        made = Downloads(
            store=Store(root=tmp_path / "store", headroom=0),
            resolver=Resolver(session=session, env=env),
            fetcher=Fetcher(session=session, policy=Policy(stall=1.2, tries=3, first_wait=0.01), jitter=lambda: 0.0),
            sleep=lambda _: asyncio.sleep(0.05),
        )
        yield made
        await made.close()


async def come(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110  what is watched is told by polling in real life too
            await asyncio.sleep(0.01)


async def until(downloads: Downloads, *states: WeightsState) -> tuple[SourceStatus, ...]:
    await come(lambda: all(one.state in states for one in downloads.status()))
    return downloads.status()


async def ready(downloads: Downloads, source: str, body: bytes | None = None) -> SourceStatus:
    await downloads.want([WantedWeights(source=source, sha256=digest(body) if body else None)])
    (status,) = await until(downloads, WeightsState.READY)
    return status


async def failed(downloads: Downloads, source: str, body: bytes | None = None) -> SourceStatus:
    await downloads.want([WantedWeights(source=source, sha256=digest(body) if body else None)])
    (status,) = await until(downloads, WeightsState.FAILED)
    return status


async def test_a_cut_download_goes_on_from_where_it_was(server: WeightsServer, downloads: Downloads) -> None:
    server.faults = ["503", "cut", "cut"]
    status = await ready(downloads, f"{server.url}/m.gguf", MODEL)
    assert (status.done, status.total) == (len(MODEL), len(MODEL))
    assert [asked is not None for asked in server.ranges] == [False, False, True, True]
    assert server.sent == len(MODEL)  # each byte once
    (entry,) = downloads.store.entries()
    assert (downloads.store.tree(entry.key) / "m.gguf").read_bytes() == MODEL
    assert not list((downloads.store.root / "partial").glob("*[0-9a-f].json"))


async def test_it_goes_on_after_the_process_has_ended(server: WeightsServer, downloads: Downloads) -> None:
    server.faults, server.pace = ["hang"], 0.01
    await downloads.want([WantedWeights(source=f"{server.url}/m.gguf", sha256=digest(MODEL))])
    await come(lambda: downloads.status()[0].done >= len(MODEL) // 2)
    await downloads.close()
    await ready(downloads, f"{server.url}/m.gguf", MODEL)
    assert server.ranges == [None, f"bytes={len(MODEL) // 2}-"]


async def test_a_file_that_changed_in_between_begins_anew(server: WeightsServer, downloads: Downloads) -> None:
    server.faults = ["hang"]
    source = "s3://bucket/m.gguf"
    await downloads.want([WantedWeights(source=source, sha256=digest(OTHER))])
    await come(lambda: downloads.status()[0].done > 0)
    server.files["m.gguf"] = OTHER
    await until(downloads, WeightsState.READY)
    assert downloads.store.blob(digest(OTHER)).read_bytes() == OTHER


async def test_damage_is_fetched_once_more_and_then_told_with_both_digests(
    server: WeightsServer, downloads: Downloads
) -> None:
    server.faults = ["damage"]
    await ready(downloads, f"{server.url}/m.gguf", MODEL)
    status = await failed(downloads, f"{server.url}/o.gguf", b"declared")
    assert status.code is WeightsCode.DIGEST_MISMATCH
    assert status.message is not None
    assert digest(OTHER) in status.message
    assert digest(b"declared") in status.message


async def test_slow_is_progress_and_silence_is_not(server: WeightsServer, downloads: Downloads) -> None:
    server.pace = 0.15  # 1.5 s in all, more than the 1.2 s without a byte that count as silence
    await ready(downloads, f"{server.url}/m.gguf", MODEL)
    assert len(server.ranges) == 1
    server.pace, server.faults = 0, ["503"] * 40
    status = await failed(downloads, f"{server.url}/o.gguf", OTHER)
    assert status.code is WeightsCode.DOWNLOAD_CUT
    server.faults = []
    await until(downloads, WeightsState.READY)  # by itself


@pytest.mark.parametrize(
    ("name", "body", "told"),
    [
        ("page.gguf", b"<!DOCTYPE html><html>", (WeightsCode.NOT_A_MODEL, "a web page")),
        ("pointer.gguf", b"version https://git-lfs.github.com/spec/v1", (WeightsCode.NOT_A_MODEL, "Git LFS pointer")),
        ("zip.gguf", b"PK\x03\x04 not a model at all", (WeightsCode.NOT_A_MODEL, "no GGUF file")),
        ("none.gguf", None, (WeightsCode.SOURCE_NOT_FOUND, "there is no such file")),
    ],
)
async def test_what_is_no_model(
    server: WeightsServer, downloads: Downloads, name: str, body: bytes | None, told: tuple[WeightsCode, str]
) -> None:
    if body is not None:
        server.files[name] = body
    status = await failed(downloads, f"{server.url}/{name}", body or MODEL)
    assert (status.code, told[1] in (status.message or "")) == (told[0], True)


async def test_a_gated_repository_says_where_the_token_goes(server: WeightsServer, downloads: Downloads) -> None:
    server.token = "hf_secret"
    status = await failed(downloads, "hf://owner/model/m.gguf")
    assert status.code is WeightsCode.GATED
    assert "licence" in (status.message or "")
    assert "HF_TOKEN" in (status.message or "")
    assert "hf_secret" not in (status.message or "")
    downloads.resolver = replace(downloads.resolver, env={**downloads.resolver.env, "HF_TOKEN": "hf_secret"})
    (status,) = await until(downloads, WeightsState.READY)
    assert status.resolved == COMMIT  # what `main` meant


async def test_disk_and_quota_are_asked_before_the_first_byte(server: WeightsServer, downloads: Downloads) -> None:
    downloads.store.free = lambda _: 1_000_000
    status = await failed(downloads, "hf://owner/model/m.gguf")
    assert status.code is WeightsCode.DISK_FULL
    assert "needs 2.0 MB more" in (status.message or "")
    assert "1.0 MB free" in (status.message or "")
    assert server.sent == 0
    downloads.store.free, downloads.store.quota = lambda _: 10**9, 1_000_000
    status = await failed(downloads, "hf://owner/model/o.gguf")
    assert status.code is WeightsCode.TOO_LARGE
    assert server.sent == 0


async def test_what_was_used_longest_ago_makes_room_but_nothing_loaded(
    server: WeightsServer, downloads: Downloads, tmp_path: Path
) -> None:
    downloads.store.quota = 3_600_000
    await ready(downloads, "hf://owner/model/m.gguf")
    (first,) = downloads.store.entries()
    loaded = Store(root=downloads.store.root)
    loaded.hold(first.key)
    await ready(downloads, "hf://owner/model/o.gguf")
    server.files["p.gguf"] = OTHER[:-1] + b"x"
    await ready(downloads, "hf://owner/model/p.gguf")
    assert {entry.source for entry in downloads.store.entries()} == {
        "hf://owner/model/m.gguf",
        "hf://owner/model/p.gguf",
    }
    assert downloads.store.blob(digest(MODEL)).exists()
    assert not downloads.store.blob(digest(OTHER)).exists()


async def test_halves_that_nobody_wants_make_room_first(server: WeightsServer, downloads: Downloads) -> None:
    server.faults, downloads.store.quota = ["hang"], 2_200_000
    await downloads.want([WantedWeights(source="hf://owner/model/m.gguf")])
    await come(lambda: downloads.status()[0].done >= len(MODEL) // 2)
    await ready(downloads, "hf://owner/model/o.gguf")
    assert not (downloads.store.root / "partial" / digest(MODEL)).exists()


async def test_offline_takes_only_what_is_there(server: WeightsServer, downloads: Downloads) -> None:
    await ready(downloads, "hf://owner/model/m.gguf")
    downloads.offline, asked = True, len(server.ranges)
    await downloads.want([])
    await ready(downloads, "hf://owner/model/m.gguf")
    status = await failed(downloads, "hf://owner/model/o.gguf")
    assert status.code is WeightsCode.OFFLINE
    assert len(server.ranges) == asked


async def test_what_is_wanted_no_more_is_called_off(server: WeightsServer, downloads: Downloads) -> None:
    server.pace = 0.2
    await downloads.want([WantedWeights(source="hf://owner/model/m.gguf")])
    await come(lambda: downloads.status()[0].done > 0)
    await downloads.want([])
    assert downloads.status() == ()
    assert not downloads.store.entries()
