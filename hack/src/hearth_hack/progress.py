"""Shows steps: a live table on a terminal, one line per event elsewhere."""

from __future__ import annotations

import contextlib
import datetime as dt
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hearth_hack.steps import Reporter, Step

MARKS = {"waiting": " ", "running": "…", "done": "✓", "failed": "✗"}
STYLES = {"waiting": "dim", "running": "bold", "done": "green", "failed": "bold red"}


class PlainReporter:
    """`21:14:03  Kubernetes: built in 312 s`. What a step waits for is shown when it changes, at most every 5 s."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lock = threading.Lock()
        self._said: dict[str, tuple[str, float]] = {}

    def line(self, text: str) -> None:
        """One timestamped line."""
        with self._lock:
            self._out.write(f"{dt.datetime.now(dt.UTC).astimezone():%H:%M:%S}  {text}\n")
            self._out.flush()

    def started(self, step: Step) -> None:
        """Show that the step runs."""
        self.line(f"{step.title} ...")

    def said(self, step: Step, text: str) -> None:
        """Show what the step waits for."""
        last, at = self._said.get(step.name, ("", 0.0))
        if text != last and time.monotonic() - at > 5:
            self._said[step.name] = (text, time.monotonic())
            self.line(f"{step.title}: {text}")

    def finished(self, step: Step, seconds: float) -> None:
        """Show the step's time."""
        self.line(f"{step.title}: done in {seconds:.1f} s")

    def failed(self, step: Step, error: BaseException) -> None:
        """Show the first line of what went wrong."""
        self.line(f"{step.title}: FAILED: {str(error).splitlines()[0] if str(error) else type(error).__name__}")


class LiveReporter:
    """A table that rich draws four times a second."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self._state = {step.name: "waiting" for step in steps}
        self._began: dict[str, float] = {}
        self._seconds: dict[str, float] = {}
        self._text: dict[str, str] = {}
        self._start = time.monotonic()

    def started(self, step: Step) -> None:
        """Show that the step runs."""
        self._began[step.name] = time.monotonic()
        self._state[step.name] = "running"

    def said(self, step: Step, text: str) -> None:
        """Show what the step waits for."""
        self._text[step.name] = text

    def finished(self, step: Step, seconds: float) -> None:
        """Show the step's time."""
        self._seconds[step.name] = seconds
        self._state[step.name] = "done"
        self._text.pop(step.name, None)

    def failed(self, step: Step, error: BaseException) -> None:
        """Show the first line of what went wrong."""
        self._seconds[step.name] = time.monotonic() - self._began.get(step.name, self._start)
        self._state[step.name] = "failed"
        self._text[step.name] = str(error).splitlines()[0] if str(error) else type(error).__name__

    def __rich__(self) -> Table:
        table = Table.grid(padding=(0, 1))
        table.add_column(width=1)
        table.add_column(min_width=28)
        table.add_column(justify="right", width=8)
        table.add_column(overflow="ellipsis", no_wrap=True)
        for step in self._steps:
            state = self._state[step.name]
            seconds = self._seconds.get(step.name)
            if seconds is None and step.name in self._began:
                seconds = time.monotonic() - self._began[step.name]
            clock = "" if seconds is None else f"{seconds:.1f} s"
            style = STYLES[state]
            table.add_row(
                Text(MARKS[state], style), Text(step.title, style), clock, Text(self._text.get(step.name, ""), "dim")
            )
        table.add_row("", Text("elapsed", "dim"), f"{time.monotonic() - self._start:.0f} s", "")
        return table


@contextlib.contextmanager
def show(steps: Sequence[Step], *, out: TextIO | None = None) -> Iterator[Reporter]:
    """The reporter that suits the output."""
    stream = out or sys.stdout
    console = Console(file=stream, highlight=False)
    if not console.is_terminal:
        yield PlainReporter(stream)
        return
    reporter = LiveReporter(steps)
    with Live(reporter, console=console, refresh_per_second=4):
        yield reporter
