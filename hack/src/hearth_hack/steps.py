"""Runs named steps as soon as what they need is done, some at a time, and stops at the first that fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Protocol

Say = Callable[[str], None]


class StepGraphError(ValueError):
    """The steps do not form a graph: a name is missing, doubled, or part of a circle."""


class StepFailedError(RuntimeError):
    """A step raised; `cause` is what it raised."""

    def __init__(self, step: Step, *, cause: BaseException) -> None:
        super().__init__(f"{step.title} failed: {cause}")
        self.step = step
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Step:
    """`action` gets a function that shows what is being waited for. `heavy` steps share the processor slots.

    `remedy` is the sentence for somebody in front of a failure.
    """

    name: str
    title: str
    action: Callable[[Say], None]
    needs: tuple[str, ...] = ()
    heavy: bool = False
    remedy: str = ""


class Reporter(Protocol):
    """Shows progress; called from several threads."""

    def started(self, step: Step) -> None:
        """The step runs."""

    def said(self, step: Step, text: str) -> None:
        """What the step waits for."""

    def finished(self, step: Step, seconds: float) -> None:
        """The step is done."""

    def failed(self, step: Step, error: BaseException) -> None:
        """The step raised."""


def check_graph(steps: Sequence[Step]) -> None:
    """Raises StepGraphError."""
    names = [step.name for step in steps]
    if len(set(names)) != len(names):
        raise StepGraphError(f"a name is used twice: {names}")
    done: set[str] = set()
    waiting = list(steps)
    while waiting:
        free = [step for step in waiting if set(step.needs) <= done]
        if not free:
            blocked = {step.name: sorted(set(step.needs) - done) for step in waiting}
            raise StepGraphError(f"these wait for each other or for nothing: {blocked}")
        done.update(step.name for step in free)
        waiting = [step for step in waiting if step.name not in done]


def next_steps(waiting: Sequence[Step], *, done: set[str], heavy_running: int, heavy_slots: int) -> list[Step]:
    """The steps that may start now, in the order given; heavy ones only while a slot is free."""
    chosen: list[Step] = []
    for step in waiting:
        if not set(step.needs) <= done:
            continue
        if step.heavy:
            if heavy_running >= heavy_slots:
                continue
            heavy_running += 1
        chosen.append(step)
    return chosen


def run_steps(steps: Sequence[Step], *, reporter: Reporter, heavy_slots: int = 2) -> dict[str, float]:
    """Seconds by step. Raises StepFailedError at once; steps that still run are left to the caller to end."""
    check_graph(steps)
    waiting = list(steps)
    done: dict[str, float] = {}
    running: dict[Future[float], Step] = {}
    pool = ThreadPoolExecutor(max_workers=len(steps))
    try:
        while waiting or running:
            heavy = sum(step.heavy for step in running.values())
            for step in next_steps(waiting, done=set(done), heavy_running=heavy, heavy_slots=heavy_slots):
                waiting.remove(step)
                running[pool.submit(run_step, step, reporter=reporter)] = step
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                step = running.pop(future)
                error = future.exception()
                if error is not None:
                    reporter.failed(step, error)
                    raise StepFailedError(step, cause=error) from error
                done[step.name] = future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return done


def run_step(step: Step, *, reporter: Reporter) -> float:
    """Seconds it took."""
    began = time.monotonic()
    reporter.started(step)
    step.action(lambda text: reporter.said(step, text))
    seconds = time.monotonic() - began
    reporter.finished(step, seconds)
    return seconds
