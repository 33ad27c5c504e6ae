"""Revisions of an application as values: what is kept, what counts as a change, what it says in the status."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearth_api.conditions import find_condition
from hearth_api.kinds.model import VariantState
from hearth_api.reasons import Reason
from hearth_operator.facts import EndpointFacts, RayApp, RayNode, Reach, ServingFacts
from hearth_operator.plan.revisions import (
    Record,
    Setback,
    carries,
    dress,
    fingerprint,
    foreign_writer,
    misplaced,
    plain,
    reloads,
)
from hearth_operator.plan.rollout import Sibling, Way, choose_step, judge
from hearth_operator.plan.serve_document import build_application
from hearth_operator.reconcile.trouble import with_trouble
from hearth_operator.reconcile.world import EndpointState
from hearth_operator.status.model import VariantFacts, model_status
from support.operator_gen import managed_node, model, variant

NOW = datetime(2026, 10, 5, 9, 0, tzinfo=UTC)


def app(*variants, **spec):
    m = model("chat", *variants, **spec)
    return build_application(m, m.spec.variants[0], managed_node())


PLAIN = app()
LOUD = app(sampling={"temperature": "0.9"})
OTHER = app(variant(model={"source": "package://other"}))


def live(config, *, status="RUNNING", replicas=("r",), node_ids=("n1",)):
    return RayApp(name="chat.cpu", status=status, replicas=replicas, node_ids=node_ids, config=config)


def test_mark_and_surge_are_no_part_of_a_revision() -> None:
    dressed = dress(LOUD, owner="me", surge=True)
    assert plain(dressed) == LOUD
    assert fingerprint(dressed) == fingerprint(LOUD) != fingerprint(PLAIN)
    assert carries(dressed, LOUD)
    assert not reloads(dressed, LOUD)


@pytest.mark.parametrize(
    ("there", "wanted", "same", "anew"),
    [
        (PLAIN, PLAIN, True, False),
        (PLAIN, LOUD, False, False),
        (LOUD, PLAIN, False, False),
        (PLAIN, OTHER, False, True),
        (app(variant(threads=4)), PLAIN, False, True),
        (app(variant(cpu="1")), PLAIN, False, True),
        ({**PLAIN, "external_scaler_enabled": False}, PLAIN, True, False),
        ({**PLAIN, "runtime_env": {}}, PLAIN, True, False),
        (None, PLAIN, False, True),
    ],
    ids=["same", "tunable new", "tunable gone", "source", "argument gone", "cores", "default", "empty", "absent"],
)
def test_what_is_a_change_and_what_reloads(there, wanted, same, anew) -> None:
    assert (carries(there, wanted), reloads(there, wanted)) == (same, anew)


def test_a_record_comes_back_from_its_text() -> None:
    for record in (Record(), Record(good=PLAIN), Record(good=PLAIN, bad="f", reason="DeployFailed", message="no")):
        assert Record.from_text(record.to_text()) == record
    assert len(Record(good=LOUD, bad="f" * 64, message="m" * 500).to_text()) < 2048


@given(st.one_of(st.text(), st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps)))
def test_a_record_that_somebody_spoilt_is_none(text) -> None:
    Record.from_text(text)


@pytest.mark.parametrize("text", ["", "null", "[]", '{"good": 1, "bad": "x"}', '{"bad": "x"}', '{"good": {"args": 1}}'])
def test_a_record_without_a_good_revision_forbids_nothing(text) -> None:
    assert Record.from_text(text) == Record()


@pytest.mark.parametrize(
    ("record", "there", "alive", "overdue", "expected"),
    [
        pytest.param(Record(), live(OTHER), True, False, (OTHER, False), id="it served"),
        pytest.param(Record(), live(OTHER), False, False, (None, False), id="not proven yet"),
        pytest.param(Record(good=PLAIN), live(OTHER, status="DEPLOYING"), True, False, (PLAIN, False), id="loads"),
        pytest.param(Record(good=PLAIN), live(OTHER, status="DEPLOY_FAILED"), True, False, (PLAIN, True), id="failed"),
        pytest.param(Record(good=PLAIN), live(OTHER, status="DEPLOYING"), False, True, (PLAIN, True), id="too late"),
        pytest.param(
            Record(good=OTHER), live(OTHER, status="UNHEALTHY"), False, True, (OTHER, False), id="served once"
        ),
        pytest.param(Record(), live(OTHER, status="DEPLOY_FAILED"), False, True, (None, False), id="nothing before"),
        pytest.param(Record(good=PLAIN), live(PLAIN), True, True, (PLAIN, False), id="Ray has the former one"),
        pytest.param(Record(good=PLAIN), None, False, True, (PLAIN, False), id="not there"),
        pytest.param(Record(), live(PLAIN), True, False, (PLAIN, False), id="changed before it was noted"),
        pytest.param(Record(), live(PLAIN), False, False, (None, False), id="changed before it was proven"),
    ],
)
def test_when_a_revision_is_good_or_bad(record, there, alive, overdue, expected) -> None:
    failure = Setback(fingerprint="f", reason=Reason.DEPLOY_FAILED, message="no")
    noted = judge(record, there, OTHER, alive=alive, overdue=overdue, failure=failure)
    assert (noted.good, noted.bad is not None) == expected


SIBLING = Sibling(app="chat.b", order=1, able=True, serves=True, settled=True)


@pytest.mark.parametrize(
    ("siblings", "surges", "serves", "waited", "way"),
    [
        ([SIBLING], True, True, False, Way.SURGE),
        ([], False, False, False, Way.SWAP),
        ([], False, True, False, Way.SWAP),
        ([SIBLING], False, True, False, Way.SWAP),
        ([Sibling(app="b", order=1, able=True, serves=False, settled=True)], False, True, False, Way.WAIT),
        ([Sibling(app="b", order=1, able=True, serves=False, settled=True)], False, True, True, Way.SWAP),
        ([Sibling(app="b", order=1, able=False, serves=False, settled=True)], False, True, False, Way.SWAP),
        ([Sibling(app="b", order=0, able=True, serves=True, settled=False)], False, True, False, Way.WAIT),
        ([Sibling(app="b", order=2, able=True, serves=True, settled=False)], False, True, False, Way.SWAP),
    ],
)
def test_how_a_change_comes_to_its_node(siblings, surges, serves, waited, way) -> None:
    step = choose_step(live(PLAIN), OTHER, surges=surges, serves=serves, order=1, siblings=siblings, waited=waited)
    assert step.way is way
    assert step.sentence


@given(
    st.lists(st.booleans(), min_size=2, max_size=5),
    st.lists(st.booleans(), min_size=2, max_size=5),
)
def test_of_variants_that_all_change_never_all_go_at_once(serving, settled) -> None:
    size = min(len(serving), len(settled))
    all_ = [Sibling(app=f"v{i}", order=i, able=True, serves=serving[i], settled=settled[i]) for i in range(size)]
    going = []
    for me in all_:
        others = [s for s in all_ if s is not me]
        if me.settled:
            continue
        step = choose_step(
            live(PLAIN), OTHER, surges=False, serves=me.serves, order=me.order, siblings=others, waited=False
        )
        going += [me.order] if step.way is Way.SWAP else []
    still = [s for s in all_ if s.serves and s.order not in going]
    assert still or not any(s.serves for s in all_), "something serves on"


RAYLETS = (
    RayNode("n1", alive=True, labels={"hearth-node": "home", "ray.io/node-id": "n1"}, cpus=1, memory=0),
    RayNode("n2", alive=True, labels={"hearth-node": "studio"}, cpus=1, memory=0),
)


@pytest.mark.parametrize(("nodes", "wrong"), [(("n1",), False), (("n2",), True), (("n3",), False), ((), False)])
def test_a_replica_on_the_wrong_raylet_is_named(nodes, wrong) -> None:
    said = misplaced(live(PLAIN, node_ids=nodes), RAYLETS)
    assert (said is not None) is wrong
    if said:
        assert said == (
            "chat.cpu is pinned to hearth-node=home, and a replica runs on a raylet with the labels hearth-node=studio"
        )


def test_another_writer_is_told_by_its_mark() -> None:
    ours, theirs = dress(PLAIN, owner="me", surge=None), dress(PLAIN, owner="you", surge=None)
    assert foreign_writer({"a": live(ours), "b": live(PLAIN)}, ours=frozenset({"me"})) is None
    assert foreign_writer({"a": live(ours), "b": live(theirs)}, ours=frozenset({"me"})) == "you"
    assert foreign_writer({"b": live(theirs, status="DELETING")}, ours=frozenset({"me"})) is None
    strange = RayApp(name="x", status="RUNNING", config={"import_path": "my.app:x", "deployments": [1]})
    assert foreign_writer({"x": strange}, ours=frozenset({"me"})) is None


# What it says in the status


def facts(endpoint: EndpointState, there) -> VariantFacts:
    m = model()
    serving = ServingFacts(alive=True)
    known = VariantFacts(
        variant=m.spec.variants[0], node="home", reach=Reach.REACHABLE, fits=True, app=there, current=True,
        serving=serving,
    )  # fmt: skip
    return with_trouble(known, endpoint, "chat.cpu", owner="me")


def status(known: VariantFacts):
    return model_status(model(), facts=[known], refused=None, now=NOW)


def test_a_revision_that_was_taken_back_is_degraded_and_no_longer_on_its_way() -> None:
    endpoint = EndpointState()
    endpoint.setbacks["chat.cpu"] = Setback(fingerprint="f", reason=Reason.WEIGHTS_MISSING, message="no such file")
    made = status(facts(endpoint, live(PLAIN)))
    degraded = find_condition(made.conditions, "Degraded")
    progressing = find_condition(made.conditions, "Progressing")
    assert (degraded.status, degraded.reason) == ("True", "RolledBack")
    assert (progressing.status, progressing.reason) == ("False", "RolledBack")
    assert degraded.message == (
        "variant cpu: the newest revision failed and the last good one was put back: WeightsMissing: no such file"
    )
    assert find_condition(made.conditions, "Ready").status == "True"


@pytest.mark.parametrize(
    ("astray", "reason"),
    [({}, "WrongNode"), ({"chat.cpu": "Ray did not keep label_selector of the application"}, "ConfigDiffers")],
)
def test_a_replica_where_it_should_not_be_is_not_available(astray, reason) -> None:
    nodes = ("n2",) if reason == "WrongNode" else ("n1",)
    endpoint = EndpointState(facts=EndpointFacts(reach=Reach.REACHABLE, raylets=RAYLETS), astray=astray)
    made = status(facts(endpoint, live(PLAIN, node_ids=nodes)))
    assert (made.variants[0].state, made.variants[0].reason) == (VariantState.FAILED, reason)
    assert find_condition(made.conditions, "Available").status == "False"


@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        (EndpointState(facts=EndpointFacts(reach=Reach.REACHABLE, taken="another Hearth")), "EndpointTaken"),
        (EndpointState(error="PUT: 400 no"), "DeployFailed"),
        (
            EndpointState(
                setbacks={"chat.cpu": Setback(fingerprint="f", reason=Reason.INTERNAL_ERROR, message="a bug")}
            ),
            "InternalError",
        ),
    ],
)
def test_what_was_never_put_says_why(endpoint, reason) -> None:
    made = status(facts(endpoint, None))
    assert (made.variants[0].state, made.variants[0].reason) == (VariantState.FAILED, reason)
    assert made.variants[0].message


def test_another_ones_application_by_the_same_name_is_not_ours() -> None:
    endpoint = EndpointState(facts=EndpointFacts(reach=Reach.REACHABLE, taken="another Hearth"))
    theirs, ours = live(dress(PLAIN, owner="you", surge=None)), live(dress(PLAIN, owner="me", surge=None))
    assert status(facts(endpoint, theirs)).variants[0].reason == "EndpointTaken"
    assert status(facts(endpoint, ours)).variants[0].state is VariantState.AVAILABLE
