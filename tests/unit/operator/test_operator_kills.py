"""The checker of the kill tests: a good history passes, and every kind of bad one does not."""

from typing import Any

from support.operator_kills import Put, check_end, check_jobs, check_observed, check_puts, check_restarts


def application(count: int, *, restart: str | None = None, context: int = 256) -> dict[str, Any]:
    args: dict[str, Any] = {"contextTokens": context}
    if restart is not None:
        args["restart"] = restart
    return {"name": "chat.only", "args": args, "deployments": [{"user_config": {"maxTokens": count}}]}


def puts(*applications: dict[str, Any], life: int = 1, machine: str = "a") -> list[Put]:
    return [Put(machine=machine, life=life, document={"applications": [a]}) for a in applications]


def test_a_good_history_passes() -> None:
    good = [*puts(application(1), application(2, restart="x")), *puts(application(2, restart="x"), life=2)]
    assert check_puts(good) == []
    assert check_restarts(good, {"chat": 1}) == []
    assert check_observed([("u", -1), ("u", 1), ("v", 1), ("u", 1), ("u", 2)]) == []
    assert check_jobs({"inbox": {"1", "2"}}, {"inbox": 2}) == []
    assert check_end({"a": {"chat.only": (2, 256)}}, {"a": [application(2)], "b": []}) == []


def test_a_document_put_twice_in_one_life() -> None:
    [wrong] = check_puts(puts(application(1), application(1)))
    assert "repeats" in wrong


def test_a_spec_that_goes_back_also_through_a_machine_without_it() -> None:
    gone = Put(machine="a", life=2, document={"applications": []})
    [wrong] = check_puts([*puts(application(3)), gone, *puts(application(2), life=3)])
    assert "back from 3 to 2" in wrong
    assert check_puts([*puts(application(3)), *puts(application(2), machine="b")]) == []


def test_restarts_that_lack_are_doubled_or_come_again() -> None:
    assert check_restarts(puts(application(1)), {"chat": 1})
    assert check_restarts(puts(application(1, restart="x"), application(1, restart="y")), {"chat": 1})
    again = puts(application(1, restart="x"), application(1, restart="y"), application(1, restart="x"))
    assert check_restarts(again, {"chat": 3})
    assert check_restarts(puts(application(1, restart="x")), {})


def test_an_observed_generation_that_falls() -> None:
    assert check_observed([("u", 3), ("v", 1), ("u", 2)]) == ["u observed generation 2 after 3"]


def test_jobs_that_lack_or_are_too_many() -> None:
    assert check_jobs({}, {"inbox": 1})
    assert check_jobs({"inbox": {"1", "2"}}, {"inbox": 1})
    assert check_jobs({"nobody": {"1"}}, {})


def test_an_end_that_lacks_keeps_or_mistakes_something() -> None:
    want = {"a": {"chat.only": (2, 256)}}
    assert check_end(want, {"a": []})
    assert check_end({}, {"a": [application(2)]})
    assert check_end(want, {"a": [application(1)]})
    assert check_end(want, {"a": [application(2, context=512)]})
    assert check_end(want, {"b": [application(2)], "a": [application(2)]})
