"""The checker of Events and rollbacks of the kill tests: good histories pass, and every kind of bad one does not."""

from typing import Any

from support.operator_kills import Put, check_puts
from support.operator_told import Bad, Told, Written, check_events, check_rollbacks, rolled_back

LOADING, SERVING = ("False", "Loading"), ("True", "Serving")


def written(version: int, **conditions: tuple[str, str]) -> Written:
    return Written(uid="u", version=version, conditions=conditions)


def told(version: int, reason: str, *, teller: str = "a", type_: str = "Available") -> Told:
    return Told(uid="u", version=version, type=type_, reason=reason, teller=teller)


STATUSES = [written(10, Available=LOADING), written(20, Available=SERVING), written(25, Available=SERVING)]


def test_each_transition_told_once_before_it_is_written_passes() -> None:
    first = written(5, Available=("Unknown", "NotObserved"))
    assert check_events([first, *STATUSES], [told(8, "Loading"), told(15, "Serving")], killed=()) == []


def test_one_told_before_a_kill_and_written_by_the_next_life_passes() -> None:
    assert check_events(STATUSES, [told(8, "Loading", teller="b"), told(15, "Serving")], killed={"b"}) == []
    gone = told(12, "Failed", teller="b")
    assert check_events(STATUSES, [told(8, "Loading", teller="b"), gone, told(15, "Serving")], killed={"b"}) == []


def test_one_told_before_a_kill_after_which_another_status_came_first_passes_and_is_told_again() -> None:
    other = Written(uid="u", version=14, conditions={"Available": LOADING}, status="another message")
    events = [told(8, "Loading", teller="b"), told(12, "Serving", teller="b"), told(15, "Serving")]
    statuses = [STATUSES[0], other, Written(uid="u", version=20, conditions={"Available": SERVING}, status="x")]
    assert check_events(statuses, events, killed={"b"}) == []
    assert check_events(statuses, events, killed=())


def test_an_event_that_lacks_or_comes_after_its_status() -> None:
    [wrong] = check_events(STATUSES, [told(15, "Serving")], killed={"a"})
    assert "no Event of ('Available', 'Loading')" in wrong
    late = check_events(STATUSES, [told(12, "Loading"), told(15, "Serving")], killed=())
    assert any("no Event" in w for w in late)
    assert any("not written" in w for w in late)


def test_an_event_that_comes_twice() -> None:
    twice = [told(8, "Loading", teller="b"), told(9, "Loading"), told(15, "Serving")]
    [wrong] = check_events(STATUSES, twice, killed={"b"})
    assert "2 Events of ('Available', 'Loading')" in wrong


def test_an_event_of_what_was_never_written_by_one_who_lived_on() -> None:
    events = [told(8, "Loading"), told(12, "Failed"), told(15, "Serving")]
    assert check_events(STATUSES, events, killed=())
    assert check_events(STATUSES, events, killed={"a"}) == [], "killed, and written by the next with the same name"
    assert check_events(STATUSES, [*events, told(30, "Loading", teller="a")], killed={"a"}), "it told more later"
    assert check_events([], [told(8, "Loading")], killed=())


def application(count: int, *, source: str = "good") -> dict[str, Any]:
    return {"name": "m.only", "args": {"source": source}, "deployments": [{"user_config": {"maxTokens": count}}]}


def puts(*applications: dict[str, Any]) -> list[Put]:
    return [Put(machine="a", life=1, document={"applications": [a]}) for a in applications]


BAD = [Bad(app="m.only", count=2, before=1, good={"source": "good"})]
BACK = {("m.only", 2): 1}


def test_a_bad_revision_taken_back_and_mended_passes() -> None:
    history = puts(application(1), application(2, source="bad"), application(1), application(3))
    assert check_rollbacks(history, BAD) == []
    assert check_puts(history, bad=BACK) == []
    assert rolled_back(history, BAD) == 1
    assert rolled_back(puts(application(1), application(2, source="bad"), application(3)), BAD) == 0


def test_a_bad_revision_that_is_tried_again() -> None:
    again = puts(application(1), application(2, source="bad"), application(1), application(2, source="bad"))
    [wrong] = check_rollbacks(again, BAD)
    assert "tries m.only of 2 again" in wrong


def test_another_revision_than_the_last_good_one_is_put_back() -> None:
    [wrong] = check_rollbacks(puts(application(2, source="bad"), application(1, source="older")), BAD)
    assert "another m.only back" in wrong
    assert check_puts(puts(application(2, source="bad"), application(0)), bad=BACK)
    assert check_puts(puts(application(3), application(1)), bad=BACK), "3 was not bad"
