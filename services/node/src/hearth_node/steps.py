"""What join, leave and upgrade do, one sentence for each step: printed before it is done, or instead of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One change of the machine. Doing it twice is the same as once."""

    say: str
    do: Callable[[], None]


def run_steps(steps: Iterable[Step], *, dry: bool, tell: Callable[[str], None] = print) -> None:
    """Do all steps in order, or only tell them. The first that fails ends it: it can be run again."""
    for step in steps:
        tell(f"{'would ' if dry else ''}{step.say}")
        if not dry:
            step.do()
