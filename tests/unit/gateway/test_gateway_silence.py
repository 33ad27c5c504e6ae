"""A model that falls silent, on a clock of the test's own and aiohttp's own reader."""

import asyncio
from collections.abc import Callable

import aiohttp
import pytest
from aiohttp.base_protocol import BaseProtocol

from hearth_gateway.silence import Deadline, PatientReader


class Clock:
    """The part of a loop that timers need."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> "Timer":
        self.timers.append(Timer(when, callback))
        return self.timers[-1]

    def move(self, seconds: float) -> None:
        self.now += seconds
        for timer in [timer for timer in self.timers if timer.live and timer.when <= self.now]:
            timer.live = False
            timer.callback()

    @property
    def live(self) -> list[float]:
        return [timer.when for timer in self.timers if timer.live]


class Timer:
    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when, self.callback, self.live = when, callback, True

    def cancel(self) -> None:
        self.live = False


class Stage:
    def __init__(self, *, total: float = 1000, seconds: float = 10) -> None:
        loop = asyncio.get_running_loop()
        protocol = BaseProtocol(loop)
        protocol.connection_made(asyncio.Transport())
        self.content = aiohttp.StreamReader(protocol, 2**16, loop=loop)
        self.clock = Clock()
        deadline = Deadline(total_seconds=0)
        deadline.loop, deadline.end = self.clock, self.clock.now + total
        self.reader = PatientReader(self.content, deadline=deadline, seconds=seconds)

    async def wait(self) -> "asyncio.Task[bytes]":
        """Begin to wait for bytes."""
        task = asyncio.create_task(self.reader.read())
        await asyncio.sleep(0)
        return task


async def test_silence_ends_the_wait_and_not_a_moment_earlier():
    stage = Stage(seconds=10)
    waiting = await stage.wait()
    stage.clock.move(9.9)
    await asyncio.sleep(0)
    assert not waiting.done()
    stage.clock.move(0.2)
    with pytest.raises(TimeoutError):
        await waiting
    assert stage.clock.live == []


async def test_every_token_renews_the_patience_and_a_thousand_need_one_timer():
    stage = Stage(seconds=10)
    for number in range(1000):
        waiting = await stage.wait()
        stage.clock.move(0.009)
        stage.content.feed_data(b"%d" % number)
        assert await waiting == b"%d" % number
    assert len(stage.clock.timers) == 1
    waiting = await stage.wait()
    stage.clock.move(2)  # the first timer was due: it is set again for the wait that began now
    assert stage.clock.live == [pytest.approx(100 + 9 + 10)]
    stage.clock.move(8.5)
    with pytest.raises(TimeoutError):
        await waiting


async def test_time_that_the_client_takes_is_not_the_models():
    stage = Stage(seconds=10)
    stage.content.feed_data(b"one")
    assert await stage.reader.read() == b"one"
    stage.clock.move(500)
    assert stage.clock.live == []
    waiting = await stage.wait()
    assert stage.clock.live == [610]
    stage.content.feed_data(b"two")
    assert await waiting == b"two"


async def test_bytes_that_came_in_the_turn_in_which_the_patience_ended_count():
    stage = Stage(seconds=10)
    waiting = await stage.wait()
    stage.content.feed_data(b"late")  # the reader has not run yet
    stage.clock.move(11)
    assert await waiting == b"late"
    waiting = await stage.wait()
    assert stage.clock.live == [121]
    stage.content.feed_eof()
    assert await waiting == b""


async def test_the_end_of_the_request_is_nearer_than_the_patience():
    stage = Stage(total=15, seconds=10)
    stage.content.feed_data(b"one")
    assert await stage.reader.read() == b"one"
    stage.clock.move(9)
    waiting = await stage.wait()
    stage.clock.move(1)
    assert stage.clock.live == [115]
    stage.clock.move(5)
    with pytest.raises(TimeoutError):
        await waiting


async def test_the_end_of_the_request_passed_while_the_client_read():
    stage = Stage(total=15, seconds=10)
    stage.content.feed_data(b"one")
    assert await stage.reader.read() == b"one"
    stage.clock.move(100)
    waiting = await stage.wait()
    stage.clock.move(0)
    with pytest.raises(TimeoutError):
        await waiting


async def test_no_timer_outlives_the_stream():
    stage = Stage()
    waiting = await stage.wait()
    stage.reader.stop()
    assert stage.clock.live == []
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
