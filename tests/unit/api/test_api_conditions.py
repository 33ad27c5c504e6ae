"""Conditions: when times move, and what Ready says."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hearth_api.conditions import (
    MESSAGE_LIMIT,
    Condition,
    ConditionStatus,
    ConditionType,
    find_condition,
    is_true,
    remove_condition,
    set_condition,
    summarize_ready,
)
from hearth_api.reasons import Reason

NOW = datetime(2026, 11, 22, 21, 0, 0, 123456, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
TRUE, FALSE, UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN
FITS, ACCEPTED, READY = ConditionType.FITS, ConditionType.ACCEPTED, ConditionType.READY


def fits(status: ConditionStatus, *, now: datetime = NOW, before: tuple[Condition, ...] = ()) -> tuple[Condition, ...]:
    reason = Reason.FITS if status is TRUE else Reason.NO_CAPACITY
    return set_condition(before, FITS, status=status, reason=reason, message="numbers", generation=3, now=now)


def test_a_new_condition_is_stamped_in_whole_seconds() -> None:
    [condition] = fits(TRUE)
    assert condition.last_transition_time == NOW.replace(microsecond=0)
    assert condition.to_json_object() == {
        "type": "Fits",
        "status": "True",
        "observedGeneration": 3,
        "lastTransitionTime": "2026-11-22T21:00:00Z",
        "reason": "Fits",
        "message": "numbers",
    }


def test_the_time_moves_only_with_the_status() -> None:
    before = fits(FALSE)
    [same] = set_condition(
        before, FITS, status=FALSE, reason=Reason.SIZE_UNKNOWN, message="other", generation=4, now=LATER
    )
    assert same.last_transition_time == before[0].last_transition_time
    assert (same.reason, same.message, same.observed_generation) == ("SizeUnknown", "other", 4)
    [moved] = fits(TRUE, now=LATER, before=before)
    assert moved.last_transition_time == LATER.replace(microsecond=0)


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.tuples(st.sampled_from(list(ConditionType)), st.sampled_from(list(ConditionStatus))), max_size=12))
def test_setting_keeps_one_of_each_type_in_its_place_and_twice_is_once(
    steps: list[tuple[ConditionType, ConditionStatus]],
) -> None:
    conditions: tuple[Condition, ...] = ()
    for number, (type_, status) in enumerate(steps):
        arguments = {"status": status, "reason": Reason.READY, "generation": 1}
        order = [condition.type for condition in conditions]
        conditions = set_condition(conditions, type_, **arguments, now=NOW + timedelta(minutes=number))
        again = set_condition(conditions, type_, **arguments, now=LATER + timedelta(days=1))
        assert again == conditions
        assert [condition.type for condition in conditions][: len(order)] == order
    types = [condition.type for condition in conditions]
    assert len(types) == len(set(types))


def test_a_message_that_is_too_long_loses_its_end() -> None:
    [condition] = set_condition((), FITS, status=TRUE, reason=Reason.FITS, message="x" * 9000, generation=1, now=NOW)
    assert len(condition.message) == MESSAGE_LIMIT
    assert condition.message.endswith("…")


def test_find_remove_and_is_true() -> None:
    conditions = fits(TRUE)
    assert is_true(conditions, "Fits")
    assert not is_true(fits(UNKNOWN), "Fits")
    assert find_condition(conditions, "Ready") is None
    assert remove_condition(conditions, FITS) == ()
    assert remove_condition(conditions, READY) == conditions


def _with(*pairs: tuple[ConditionType, ConditionStatus, Reason]) -> tuple[Condition, ...]:
    conditions: tuple[Condition, ...] = ()
    for type_, status, reason in pairs:
        conditions = set_condition(
            conditions, type_, status=status, reason=reason, message="why", generation=1, now=NOW
        )
    return conditions


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        pytest.param(
            _with((ACCEPTED, TRUE, Reason.ACCEPTED), (FITS, TRUE, Reason.FITS)), (TRUE, "Ready", ""), id="all are True"
        ),
        pytest.param(
            _with((ACCEPTED, TRUE, Reason.ACCEPTED)), (UNKNOWN, "NotObserved", "Fits: not observed yet"),
            id="one is missing",
        ),
        pytest.param(
            _with((FITS, FALSE, Reason.NO_CAPACITY), (ACCEPTED, UNKNOWN, Reason.UNREACHABLE)),
            (UNKNOWN, "Unreachable", "Accepted: why"), id="the first in the order of cause counts",
        ),
        pytest.param(
            _with((ACCEPTED, TRUE, Reason.ACCEPTED), (FITS, FALSE, Reason.NO_CAPACITY)),
            (FALSE, "NoCapacity", "Fits: why"), id="a False one is repeated",
        ),
        pytest.param(
            tuple(
                condition.model_copy(update={"reason": "OfANewerRelease"})
                for condition in _with((ACCEPTED, FALSE, Reason.ALIAS_TAKEN))
            ),
            (FALSE, "InternalError", "Accepted: why"), id="a reason that this release does not know",
        ),
    ],
)  # fmt: skip
def test_ready_sums_up(present: tuple[Condition, ...], expected: tuple[ConditionStatus, str, str]) -> None:
    ready = find_condition(summarize_ready(present, required=(ACCEPTED, FITS), generation=2, now=NOW), "Ready")
    assert ready is not None
    assert (ready.status, ready.reason, ready.message) == expected
    assert ready.observed_generation == 2
