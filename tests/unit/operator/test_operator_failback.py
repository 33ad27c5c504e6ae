"""Who serves: a table of small stories, and properties over generated ones."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hearth_operator.plan.failback import CALM, LONGEST_WAIT, Memory, Past, decide

ORDER = ("a", "b", "c")


class Story:
    """Variants that come and go; `at` returns who serves then."""

    def __init__(self, *, stable: float = 30, serving: str | None = None, order: tuple[str, ...] = ORDER[:2]) -> None:
        self.stable = stable
        self.memory = Memory(serving)
        self.since: dict[str, float | None] = dict.fromkeys(order)
        self.held: dict[str, float] = {}

    def at(self, now: float, *, up: str = "", down: str = "") -> str | None:
        for name in up:
            self.since[name] = now
        for name in down:
            self.since[name] = None
        decision = decide(self.memory, list(self.since.items()), stable=self.stable, now=now)
        self.memory = decision.memory
        self.held = {name: hold.until for name, hold in decision.held.items()}
        return decision.serving


def test_the_preferred_one_comes_back_after_it_answered_for_long_enough() -> None:
    story = Story()
    assert story.at(0, up="a") == "a"
    assert story.at(1, up="b") == "a"
    assert story.at(1000, down="a") == "b"
    assert story.at(1010, up="a") == "b"
    assert story.held == {"a": 1040}
    assert story.at(1039.9) == "b"
    assert story.at(1040) == "a"
    assert story.held == {}


def test_nobody_waits_while_nothing_else_answers() -> None:
    story = Story()
    story.at(0, up="ab")
    assert story.at(10, down="a") == "b"
    assert story.at(12, up="a") == "b"
    assert story.at(14, down="b") == "a", "the only one, though it has not waited"
    assert story.held == {}
    assert story.at(16, down="a") is None
    assert story.at(18, up="a") == "a"


def test_of_two_that_have_not_waited_the_more_wanted_one_serves() -> None:
    assert Story().at(0, up="ab") == "a"


def test_one_that_has_waited_comes_before_a_more_wanted_one_that_has_not() -> None:
    story = Story(order=ORDER)
    story.at(0, up="bc")
    story.at(100, up="a")
    assert story.at(101, down="b") == "c"
    assert story.held == {"a": 130}


def test_a_wait_doubles_with_each_loss_and_is_short_again_after_a_calm() -> None:
    story, now, waits = Story(), 0.0, []
    story.at(now, up="ab")
    for _ in range(7):
        story.at(now := now + 1, down="a")
        story.at(now := now + 1, up="a")
        waits.append(story.held["a"] - now)
        now = story.held["a"]
        assert story.at(now) == "a"
    assert waits == [30, 60, 120, 240, 480, 600, 600]
    story.at(now := now + CALM)
    story.at(now := now + 1, down="a")
    story.at(now := now + 1, up="a")
    assert story.held["a"] - now == 30


def test_a_break_that_no_pass_saw_begins_the_wait_anew() -> None:
    story = Story()
    story.at(0, up="b")
    story.at(10, up="a")
    assert story.at(39, up="a") == "b"
    assert story.at(41) == "b"
    assert story.held == {"a": 69}


def test_zero_seconds_are_at_once() -> None:
    story = Story(stable=0)
    assert story.at(0, up="b") == "b"
    assert story.at(1, up="a") == "a"


@pytest.mark.parametrize(
    ("said", "up", "serves", "held"),
    [
        pytest.param("b", "ab", "b", {"a": 30}, id="another serves: it waits again"),
        pytest.param("a", "ab", "a", {}, id="it served"),
        pytest.param("b", "a", "a", {}, id="who served is gone"),
        pytest.param("gone", "ab", "a", {}, id="who served is no variant any more"),
        pytest.param(None, "ab", "a", {}, id="nothing served"),
    ],
)
def test_after_a_restart_the_status_says_who_serves(said, up, serves, held) -> None:
    story = Story(serving=said)
    assert story.at(0, up=up) == serves
    assert story.held == held


steps = st.lists(
    st.tuples(st.floats(0.1, 900), st.tuples(*(st.booleans() for _ in ORDER)), st.integers(0, 2)), max_size=60
)


@settings(max_examples=150, deadline=None)
@given(steps=steps, stable=st.sampled_from([1, 10, 30, 120, 600]))
def test_something_serves_whenever_something_answers_and_nothing_flaps(steps, stable) -> None:
    now, memory, since = 0.0, Memory(), dict.fromkeys(ORDER, None)
    backs, before = [], None
    for wait, up, blink in steps:
        now += wait
        for n, name in enumerate(ORDER):
            if not up[n]:
                since[name] = None
            elif since[name] is None or n == blink:
                since[name] = now
        decision = decide(memory, list(since.items()), stable=stable, now=now)
        memory, serving = decision.memory, decision.serving
        assert (serving is None) == (not any(up))
        assert serving is None or since[serving] is not None
        assert serving not in decision.held
        assert all(ORDER.index(name) < ORDER.index(serving) for name in decision.held)
        assert all(now < hold.until <= now + LONGEST_WAIT for hold in decision.held.values())
        lost = before is not None and since[before] is None
        if serving is not None and before is not None and serving != before and not lost:
            assert now - since[serving] >= stable, "who serves and answers gives way only to one that stayed"
            backs.append((now, serving))
        before = serving or before
    for name in ORDER:
        times = [t for t, who in backs if who == name]
        assert all(later - earlier >= stable for earlier, later in itertools.pairwise(times))


@given(period=st.floats(2, 590), days=st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_a_machine_that_comes_and_goes_for_days_is_soon_left_alone(period, days) -> None:
    memory, switches, serving, now = Memory("b"), 0, "b", 0.0
    for _ in range(min(int(days * 86_400 / period), 500)):
        for up in (True, False):
            begun = now if up else None
            for share in (0.0, 0.999):
                decision = decide(memory, [("a", begun), ("b", -1.0)], stable=30, now=now + share * period)
                memory = decision.memory
                switches += decision.serving != serving
                serving = decision.serving
            now += period if up else 1.0
    assert switches <= 12, "five waits from 30 s to 480 s are shorter than a run below 600 s"


def test_losses_are_bounded() -> None:
    assert Past(None, 10**6).wait(30) == LONGEST_WAIT
    assert Past(None, 3).wait(0) == 0
