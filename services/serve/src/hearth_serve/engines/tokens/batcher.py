"""One thread that computes for all requests at once: each step gives every running answer its next token."""

import asyncio
import itertools
import queue
import threading
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Protocol

from hearth_serve.engines.tokens.job import Job, Token
from hearth_serve.errors import ApiError, EngineFailedError
from hearth_serve.logs import log


class Stepper(Protocol):
    """What computes, used from one thread only."""

    def start(self, key: int, job: Job, /) -> None:
        """Take an answer in. Raises ApiError."""
        ...

    def step(self) -> list[tuple[int, Token]]:
        """Go one step on with all: at most one token for each. None come for those whose prompt is still read."""
        ...

    def stop(self, key: int, /) -> None:
        """Take an answer out, finished or not."""
        ...

    def reset(self) -> None:
        """Forget all answers and contexts: a step failed halfway, and what it left is in no order."""
        ...

    def close(self) -> None:
        """Give back memory."""
        ...


@dataclass(slots=True, kw_only=True)
class _Running:
    job: Job
    loop: asyncio.AbstractEventLoop
    tokens: "asyncio.Queue[Token | BaseException | None]" = field(default_factory=asyncio.Queue)
    cancelled: bool = False
    produced: int = 0

    def put(self, item: Token | BaseException | None) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.tokens.put_nowait, item)


FAILURES = 3
"""Steps that fail in a row until the engine is taken for broken: one may have been out of memory."""
HUNG_SECONDS = 600.0
"""A step that takes longer never ends: the longest ones read 512 tokens of a prompt."""


class Batcher:
    """Gives a Stepper's tokens to the event loop. At most `slots` answers run; the others wait in order."""

    def __init__(
        self, make: Callable[[], Stepper], *, slots: int, name: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._slots = slots
        self._clock = clock
        self._failures = 0
        self._since: float | None = None
        self._keys = itertools.count()
        self._news: queue.Queue[_Running | None] = queue.Queue()
        self._running: dict[int, _Running] = {}
        self._waiting: list[_Running] = []
        self._closed = False
        self._started: queue.Queue[BaseException | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, args=(make,), name=name, daemon=True)
        self._thread.start()
        if (error := self._started.get()) is not None:
            raise error

    async def generate(self, job: Job) -> AsyncGenerator[Token, None]:
        """Yield the tokens of an answer. Closing it stops computing it."""
        mine = _Running(job=job, loop=asyncio.get_running_loop())
        self._news.put(mine)
        try:
            while (item := await mine.tokens.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            mine.cancelled = True

    def check(self) -> None:
        """Raise EngineFailedError where computing has ended for good: only another process helps."""
        if not self._thread.is_alive():
            raise EngineFailedError("The thread that computes has ended.")
        if self._failures >= FAILURES:
            raise EngineFailedError(f"The last {self._failures} steps of computing failed.")
        since = self._since
        if since is not None and self._clock() - since > HUNG_SECONDS:
            raise EngineFailedError(f"A step of computing has taken more than {HUNG_SECONDS:g} s.")

    async def close(self) -> None:
        """Stop the thread after the step that it is in."""
        self._closed = True
        self._news.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self, make: Callable[[], Stepper]) -> None:
        try:
            stepper = make()
        except BaseException as error:  # noqa: BLE001 told to who makes the batcher
            self._started.put(error)
            return
        self._started.put(None)
        while not self._closed:
            self._take_news()
            self._drop_cancelled(stepper)
            self._fill(stepper)
            if self._running:
                self._step(stepper)
        for running in (*self._running.values(), *self._waiting):
            running.put(ApiError(503, "The model is being taken away.", kind="server_error", retry_after=1))
        stepper.close()

    def _take_news(self) -> None:
        """Look what came; wait for it where there is nothing to do."""
        idle = not self._running and not self._waiting
        while True:
            try:
                item = self._news.get(block=idle)
            except queue.Empty:
                return
            idle = False
            if item is not None:
                self._waiting.append(item)

    def _drop_cancelled(self, stepper: Stepper) -> None:
        for key in [key for key, running in self._running.items() if running.cancelled]:
            self._end(stepper, key, None)
        self._waiting = [running for running in self._waiting if not running.cancelled]

    def _fill(self, stepper: Stepper) -> None:
        while self._waiting and len(self._running) < self._slots:
            running, key = self._waiting.pop(0), next(self._keys)
            try:
                stepper.start(key, running.job)
            except Exception as error:  # noqa: BLE001 it belongs to this request
                running.put(_told(error))
            else:
                self._running[key] = running

    def _step(self, stepper: Stepper) -> None:
        self._since = self._clock()
        try:
            found = stepper.step()
        except Exception as error:  # noqa: BLE001 a failed step says nothing of one answer: all that run are told
            self._fail(stepper, error)
            return
        finally:
            self._since = None
        self._failures = 0
        for key, token in found:
            running = self._running.get(key)
            if running is None:
                continue
            running.produced += 1
            running.put(token)
            if token.id in running.job.ends or running.produced >= running.job.limit:
                self._end(stepper, key, None)

    def _fail(self, stepper: Stepper, error: Exception) -> None:
        self._failures += 1
        log.error("step_failed", error=type(error).__name__, running=len(self._running), in_a_row=self._failures)
        stepper.reset()
        for running in self._running.values():
            running.put(_told(error))
        self._running.clear()

    def _end(self, stepper: Stepper, key: int, last: BaseException | None) -> None:
        running = self._running.pop(key)
        try:
            stepper.stop(key)
        except Exception as error:  # noqa: BLE001 the others' contexts may be in disorder with it
            running.put(last)
            self._fail(stepper, error)
        else:
            running.put(last)


def _told(error: Exception) -> ApiError:
    if isinstance(error, ApiError):
        return error
    failure = ApiError(500, "The model failed while it answered.", kind="server_error")
    failure.__cause__ = error
    return failure
