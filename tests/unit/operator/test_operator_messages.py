"""What others say is shown as one plain, bounded line: for texts made to break a terminal, a log or a status."""

import json
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hearth_api.conditions import Condition, ConditionStatus, ConditionType
from hearth_api.reasons import Reason
from hearth_api.wire.ingest import RunReport
from hearth_operator.errors import InvalidSpecError, UnreachableError, outcome_of
from hearth_operator.facts import EndpointFacts, PodFacts, RayApp, Reach
from hearth_operator.reconcile.loop import failure_status
from hearth_operator.reconcile.node import pod_facts
from hearth_operator.status.conditions import Verdict, write_conditions
from hearth_operator.status.messages import MESSAGE_LENGTH, clean_message, plain
from hearth_operator.status.model import VariantFacts, model_status
from hearth_operator.status.node import node_status
from hearth_operator.status.source import JobFacts, source_status
from support.operator_gen import managed_node, model, source

NOW = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)
KEY = "hearth_ab2c3d4e5f_" + "s3cr3tS3CR3T" * 3
TRACE = (
    'Traceback (most recent call last):\n  File "/x/replica.py", line 7, in call\n    raise ValueError("no")\n'
    "ValueError: no such layer"
)
PIECES = st.sampled_from(
    [
        "\x1b[31m", "\x1b[0m", "\x1b]0;title\x07", "\x1b]8;;http://x\x1b\\", "\x9b1;31m", "\x1b", "\x1b[", "\x00", "\x08",
        "\r\n", "\n", "\t", "\u2028", "\u202e", "\u200b", "\ud800", "\N{PILE OF POO}", "\\n", TRACE,
        "Traceback (most recent call last):", 'File "a.py", line 1, in f', 'File "a.py", line 1', "ValueError: no", " ",
        "  ", "…", "Bearer abcdefghijkl", KEY, "eyJhbGciOiJI.eyJzdWIiOiJ4.c2ln", "x" * 3000, "-----BEGIN RSA PRIVATE KEY-----",
        "pid=1, ip=1.2.3.4", "0xdeadbeef", "AError" * 200,
    ]
)  # fmt: skip
HOSTILE = st.lists(PIECES | st.text(max_size=40), max_size=12).map("".join)


def assert_plain(text: str, *, limit: int = MESSAGE_LENGTH) -> None:
    assert len(text) <= limit
    assert all(c.isprintable() for c in text), repr(text)
    assert "Traceback (most recent call last)" not in text
    assert 'File "' not in text or ", line " not in text.partition('File "')[2][:40]
    assert KEY not in text
    assert "eyJhbGciOiJI.eyJzdWIiOiJ4" not in text
    assert text == text.strip()
    text.encode()


@settings(max_examples=150, deadline=None)
@given(HOSTILE)
def test_any_text_becomes_one_plain_line_and_cleaning_twice_is_cleaning_once(text: str) -> None:
    once = plain(text)
    assert_plain(once)
    assert plain(once) == once
    assert_plain(clean_message(text), limit=500)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ""),
        ("the node has 3 cores; 4 are asked for", "the node has 3 cores; 4 are asked for"),
        ("größer als 3 µm – nämlich 4", "größer als 3 µm – nämlich 4"),
        ("\x1b[31mred\x1b[0m and\r\n  two lines", "red and two lines"),
        (f"deploying failed: {TRACE}", "deploying failed: ValueError: no such layer"),
        (TRACE.replace("\n", " "), "ValueError: no such layer"),
        ("see \x1b]8;;http://evil\x1b\\here\x1b]8;;\x1b\\", "see here"),
        ("refused: Authorization: Bearer abcdefghijkl", "refused: Authorization: [redacted]"),
        ("a\u202eb\u200bc", "abc"),
        ("x" * 5000, "x" * (MESSAGE_LENGTH - 1) + "…"),
    ],
)
def test_what_is_left_says_what_went_wrong(text: str, said: str) -> None:
    assert plain(text) == said


@pytest.mark.parametrize(
    "unit",
    [
        "\x1b]",
        "\x1b[",
        "\x9b",
        "AError",
        "a.",
        'File "',
        'File "x", line 1',
        "\n",
        "x",
        "Bearer ",
        "é",
        "Traceback (most recent call last)",
    ],
    ids=ascii,
)
def test_a_megabyte_of_anything_is_read_in_a_moment(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    begun = time.process_time()
    assert_plain(plain(text))
    clean_message(text)
    assert time.process_time() - begun < 1.0


# Every way that foreign text takes into a status


def assert_status_is_plain(conditions: tuple[Condition, ...]) -> None:
    assert conditions
    for condition in conditions:
        assert_plain(condition.message, limit=MESSAGE_LENGTH + 40)  # Ready repeats one with its type in front


EXAMPLES = settings(max_examples=25, deadline=None)


@EXAMPLES
@given(HOSTILE)
def test_a_verdict(text: str) -> None:
    for status in ConditionStatus:
        verdicts = {ConditionType.AVAILABLE: Verdict(status, Reason.DEPLOY_FAILED, text)}
        required = (ConditionType.AVAILABLE,)
        assert_status_is_plain(write_conditions(verdicts, before=(), required=required, generation=1, now=NOW))


@EXAMPLES
@given(HOSTILE, st.sampled_from([InvalidSpecError, UnreachableError, ValueError]))
def test_an_error(text: str, kind: type[Exception]) -> None:
    error = (
        kind("InvalidSpec" if kind is InvalidSpecError else "Unreachable", text)
        if kind is not ValueError
        else kind(text)
    )
    raw = {"kind": "ModelDeployment", "metadata": {"name": "m", "generation": 1}}
    status = failure_status(raw, error, outcome_of(error), now=NOW)
    assert_status_is_plain(status.conditions)


@EXAMPLES
@given(HOSTILE)
def test_a_machine_and_its_pod(text: str) -> None:
    waiting = {"containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": text}}}]}
    for facts, pod in (
        (EndpointFacts(reach=Reach.OFFLINE, message=text), PodFacts()),
        (EndpointFacts(reach=Reach.REFUSED, message=text), PodFacts()),
        (EndpointFacts(), pod_facts([{"status": waiting}])),
        (EndpointFacts(reach=Reach.REACHABLE, version=text[:64]), PodFacts()),
    ):
        status = node_status(
            managed_node(), facts=facts, pod=pod, pin={}, urls=("http://r", "https://s"), memory=1, millicores=1,
            planned=0, models=(), now=NOW,
        )  # fmt: skip
        assert_status_is_plain(status.conditions)


@EXAMPLES
@given(HOSTILE)
def test_a_model_and_its_variants(text: str) -> None:
    wanted = model()
    known = {"variant": wanted.spec.variants[0], "node": "home", "fits": True, "reach": Reach.REACHABLE}
    for facts in (
        VariantFacts(**known, app=RayApp("chat.cpu", "DEPLOY_FAILED", message=text)),
        VariantFacts(**known, app=RayApp("chat.cpu", "DEPLOYING", message=text), overdue=True),
        VariantFacts(**known, invalid=text),
        VariantFacts(**{**known, "reach": Reach.OFFLINE}, reach_message=text),
        VariantFacts(**{**known, "fits": False, "node": None}, fit_reason=Reason.NO_CAPACITY, fit_message=text),
    ):
        status = model_status(wanted, facts=[facts], refused=None, now=NOW)
        assert_status_is_plain(status.conditions)
        assert_plain(status.variants[0].message or "")
        json.dumps(status.to_json_object()).encode()


@EXAMPLES
@given(HOSTILE)
def test_a_run(text: str) -> None:
    counts = {"added": 0, "updated": 0, "deleted": 0, "unchanged": 0, "quarantined": 0, "failed": 1}
    report = {"outcome": "PartiallyFailed", "started": NOW, "finished": NOW, "counts": counts, "first_error": text}
    parsed = RunReport.model_validate(
        {key: value for key, value in report.items() if key in _names(RunReport)}, extra="ignore"
    )
    for job in (
        JobFacts(name="j", started=NOW, finished=NOW, message=text),
        JobFacts(
            name="j", started=NOW, finished=NOW, succeeded=True, report=parsed.model_copy(update={"first_error": text})
        ),
    ):
        status = source_status(source(), jobs=[job], blocked=None, last_run_now=None, now=NOW)
        assert_status_is_plain(status.conditions)
        assert status.last_run is not None
        assert_plain(status.last_run.first_error or "", limit=1024)


def _names(kind: type) -> set[str]:
    return {name for field, info in kind.model_fields.items() for name in (field, info.alias)}  # type: ignore[attr-defined]
