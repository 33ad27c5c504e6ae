"""A hang is told from a long prompt, a slow caller and an idle engine."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from hearth_serve.watchdog import Watchdog, patience
from hearth_serve.web import ModelApp
from support.serve_fakes import Call, FakeEngine, serve_args
from unit.serve.test_serve_web import CHAT, make_app


class Clock:
    def __init__(self) -> None:
        self.now, self.tokens = 0.0, 0

    def watchdog(self, limit: float = 600) -> Watchdog:
        return Watchdog(limit=limit, tokens=lambda: self.tokens, clock=lambda: self.now)


@pytest.mark.parametrize(("context", "seconds"), [(512, 600), (6000, 600), (131_072, 13_107.2)])
def test_a_long_context_is_given_longer(context: int, seconds: float) -> None:
    assert patience(context) == seconds


def test_nobody_waits_nothing_hangs() -> None:
    clock = Clock()
    dog = clock.watchdog()
    clock.now = 1e6
    assert not dog.hangs
    with dog.waiting():
        assert not dog.hangs, "the idle time before does not count"
        clock.now += 600
        assert not dog.hangs
        clock.now += 1
        assert dog.hangs
        assert dog.silent_for() == 601
    assert not dog.hangs


def test_tokens_for_anybody_are_a_sign_of_life() -> None:
    clock = Clock()
    dog = clock.watchdog()
    with dog.waiting():
        for _ in range(10):
            clock.now += 500
            clock.tokens += 1
            assert not dog.hangs
        clock.now += 601
        assert dog.hangs


def test_the_longest_wait_counts_while_others_come_and_go() -> None:
    clock = Clock()
    dog = clock.watchdog()
    with dog.waiting():
        clock.now = 400
        with dog.waiting():
            pass
        clock.now = 601
        assert dog.hangs


async def test_a_caller_who_reads_slowly_is_no_hang() -> None:
    clock = Clock()
    dog = clock.watchdog()
    closed = []

    async def engine() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"x"
        finally:
            closed.append(True)

    following = dog.follow(engine())
    assert await anext(following) == b"x"
    clock.now = 1e6
    assert not dog.hangs
    await following.aclose()
    assert closed


async def test_a_replica_that_hangs_is_not_well(tmp_path: Path) -> None:
    now = [0.0]
    engine = FakeEngine()
    engine.hold = asyncio.Event()
    made = make_app(engine, tmp_path)
    app = ModelApp(
        engine=engine, args=serve_args(tmp_path / "token"), token=made._token, build="b", clock=lambda: now[0]
    )
    running = asyncio.create_task(Call(app, "POST", CHAT, {"messages": [{"role": "user", "content": "a"}]}).run())
    await engine.began.wait()
    await asyncio.sleep(0)
    assert (await Call(app, "GET", "/healthz").run()).status == 200
    app.watchdog.silent_for()
    now[0] = 700
    assert (await Call(app, "GET", "/healthz").run()).status == 503
    engine.hold.set()
    assert (await running).status == 200
    assert (await Call(app, "GET", "/healthz").run()).status == 200
