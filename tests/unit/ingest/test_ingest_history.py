"""Any sequence of changes at a source with crashes in between ends equal to one fresh run."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.history import VERBS, WORLDS, Step, compare, live

STEPS = st.lists(
    st.builds(
        Step,
        verb=st.sampled_from(VERBS),
        number=st.integers(0, 6),
        version=st.integers(1, 3),
        file=st.integers(0, 3),
        other=st.integers(0, 3),
        die_at=st.integers(-1, 11),
        before=st.booleans(),
    ),
    min_size=1,
    max_size=7,
)


def check(kind: str, steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        compare(*live(kind, steps, Path(folder)), kind=kind)


@pytest.mark.parametrize("kind", WORLDS)
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_any_history_ends_equal_to_a_fresh_run(kind: str, steps: list[Step]) -> None:
    check(kind, steps)


def step(verb: str, number: int, version: int = 1, *, die_at: int = 0, before: bool = True) -> Step:
    return Step(verb=verb, number=number, version=version, file=0, other=1, die_at=die_at, before=before)


def test_a_second_crash_does_not_forget_what_the_first_left_half_done() -> None:
    # The first run dies with mail 5 handed over and its original not; the second dies in an earlier batch.
    second = [step("put", number, die_at=-1) for number in (0, 1, 2)]
    ordered = [step("put", 5, die_at=3), step("drop", 5, die_at=-1), *second, step("put", 5, die_at=1, before=False)]
    check("mbox", ordered)


def test_what_is_half_done_and_then_unreadable_is_done_when_it_can_be_read_again() -> None:
    check("teams", [step("put", 1, die_at=3), step("break", 1)])


def test_other_bytes_that_say_the_same_replace_the_original() -> None:
    for kind in ("mbox", "documents"):
        check(kind, [step("put", 0, 1), step("put", 0, 3)])
