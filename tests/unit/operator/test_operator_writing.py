"""The writer of a Ray endpoint: what served is kept, what failed is taken back, and how the next one comes."""

import pytest

from hearth_api.reasons import Reason
from hearth_operator.facts import RayNode
from hearth_operator.plan.revisions import owner_of, surge_of
from support.operator_gen import managed_node, variant
from support.operator_writer import BAD, GOOD, Stage, kept


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_what_served_is_kept_once_and_nothing_is_written_while_nothing_changes(stage) -> None:
    await stage.serve()
    assert kept(stage)["cpu"]["good"]["args"]["model"]["source"] == GOOD
    assert owner_of(stage.ray.apps["chat.cpu"]) == "07" * 8
    assert len(stage.ray.puts) == 1
    stage.kube.writes.clear()
    await stage.beat(50)
    assert (len(stage.ray.puts), stage.kube.writes, stage.state.dirty) == (1, [], False)
    stage.restart()
    await stage.beat(5)
    assert (len(stage.ray.puts), stage.kube.writes, stage.state.dirty) == (1, [], False)


async def test_a_bad_revision_is_taken_back_and_not_tried_again(stage) -> None:
    await stage.serve()
    stage.ray.failing[BAD] = "hearth_serve.errors.WeightsMissingError: no such package: bad"
    await stage.change(source=BAD, beats=4)
    assert [p["applications"][0]["args"]["model"]["source"] for p in stage.ray.puts] == [GOOD, BAD, GOOD]
    setback = stage.state.setbacks["chat.cpu"]
    assert (setback.reason, setback.message) == (Reason.WEIGHTS_MISSING, "no such package: bad")
    await stage.beat(20)
    assert len(stage.ray.puts) == 3
    stage.restart()  # a new operator knows it from the ConfigMap
    await stage.beat(20)
    assert len(stage.ray.puts) == 3
    assert stage.state.setbacks["chat.cpu"].message == "no such package: bad"


async def test_another_revision_or_a_restart_is_tried_after_a_bad_one(stage) -> None:
    await stage.fail()
    stage.ray.failing.clear()
    await stage.change(variant(model={"source": BAD}, threads=2), beats=4)
    assert stage.source() == BAD
    assert stage.state.setbacks == {}
    assert "bad" not in kept(stage)["cpu"]


async def test_a_restart_that_is_asked_for_tries_a_bad_revision_again(stage) -> None:
    await stage.fail()
    puts = len(stage.ray.puts)
    stage.ray.failing.clear()
    await stage.change(source=BAD, meta={"annotations": {"hearth.banjonet.com/restart": "now"}}, beats=4)
    assert len(stage.ray.puts) == puts + 1
    assert (stage.source(), stage.state.setbacks) == (BAD, {})


async def test_a_former_revision_whose_room_was_taken_is_not_put_back() -> None:
    stage = Stage(managed_node("home", memory="4Gi", cpu="4"))  # 2.75 GiB for models
    await stage.serve(variant(model={"source": GOOD}, memory="2Gi"))
    stage.ray.stuck.add(BAD)
    await stage.change(variant(model={"source": BAD}, memory="1Gi"), progressDeadlineSeconds=60, beats=3)
    await stage.change(name="late", source="package://late", beats=20)
    assert (stage.source(), stage.source("late.cpu")) == (BAD, "package://late")
    assert stage.state.setbacks["chat.cpu"].outcome == "there is no room any more for the last good one"
    stage.kube.drop("ModelDeployment", "late")
    stage.state.dirty = True
    await stage.beat(2)
    assert stage.source() == GOOD
    assert stage.state.setbacks["chat.cpu"].outcome == "the last good one was put back"


async def test_beside_the_old_one_where_both_fit_and_the_old_one_serves_on(stage) -> None:
    await stage.serve()
    replica = stage.ray.pids["chat.cpu"]
    stage.ray.failing[BAD] = "no"
    await stage.change(source=BAD, beats=1)
    assert surge_of(stage.ray.apps["chat.cpu"])
    assert stage.ray.old["chat.cpu"] == GOOD
    await stage.beat(4)
    assert stage.source() == GOOD
    assert stage.ray.pids["chat.cpu"] == replica, "the old replica never stopped"


@pytest.mark.parametrize(
    ("memory", "version", "cpus", "surges"),
    [
        pytest.param("6Gi", "2.60.0", 4.0, True, id="both fit"),
        pytest.param("3Gi", "2.60.0", 4.0, False, id="not enough memory"),
        pytest.param("6Gi", "2.60.0", 0.9, False, id="not enough cores on the raylet"),
        pytest.param("6Gi", "2.59.1", 4.0, False, id="a Ray that does not know max_surge_percent"),
    ],
)
async def test_when_a_new_revision_surges(memory, version, cpus, surges) -> None:
    stage = Stage(managed_node("home", memory=memory, cpu="4"))
    stage.ray.version_text = version
    stage.ray.raylets = (RayNode("n1", alive=True, labels={"hearth-node": "home"}, cpus=cpus, memory=0),)
    await stage.serve()
    await stage.change(source="package://next", beats=3)
    assert stage.source() == "package://next"
    assert surge_of(stage.ray.apps["chat.cpu"]) is surges


async def test_two_surges_count_each_others_copies() -> None:
    stage = Stage(managed_node("home", memory="5Gi", cpu="8"))  # 3.75 GiB for models: two and one copy
    await stage.serve()
    await stage.serve(name="other")
    stage.apply(source="package://a")
    await stage.change(source="package://b", name="other", beats=1)
    surging = [surge_of(app) for app in stage.ray.apps.values()]
    assert sorted(surging) == [False, True]


async def test_what_never_gets_ready_is_taken_back_after_the_deadline(stage) -> None:
    await stage.serve(progressDeadlineSeconds=60)
    stage.ray.stuck.add(BAD)
    await stage.change(source=BAD, progressDeadlineSeconds=60, beats=13)
    assert stage.source() == BAD
    await stage.beat(6)
    assert stage.source() == GOOD
    setback = stage.state.setbacks["chat.cpu"]
    assert (setback.reason, setback.message) == (Reason.DEADLINE_EXCEEDED, "it did not serve within 60 s")


async def test_a_replica_that_computes_nothing_is_no_good_revision(stage) -> None:
    await stage.serve(progressDeadlineSeconds=60)
    stage.proves = False
    await stage.change(source=BAD, progressDeadlineSeconds=60, beats=20)
    assert stage.source() == GOOD


async def test_a_first_revision_that_fails_has_nothing_to_go_back_to(stage) -> None:
    stage.ray.failing[BAD] = "no"
    stage.apply(source=BAD)
    await stage.beat(6)
    assert stage.source() == BAD
    assert stage.state.setbacks == {}


async def test_tunables_are_changed_in_place_without_a_surge(stage) -> None:
    await stage.serve(sampling={"temperature": "0.1"})
    replica = stage.ray.pids["chat.cpu"]
    await stage.change(sampling={"temperature": "0.9"}, beats=2)
    config = stage.ray.apps["chat.cpu"]["deployments"][0]
    assert config["user_config"]["temperature"] == 0.9
    assert "max_surge_percent" not in config
    assert stage.ray.pids["chat.cpu"] == replica
    await stage.change(beats=2)
    assert "temperature" not in stage.ray.apps["chat.cpu"]["deployments"][0]["user_config"], "a field that is gone"


# Swapping through another variant


def two(source: str, *, other: str = GOOD) -> tuple[dict, dict]:
    big = {"memory": "2Gi", "cpu": "500m"}
    return variant("a", model={"source": source}, **big), variant("b", model={"source": other}, **big)


async def test_the_old_one_goes_only_while_another_variant_serves() -> None:
    stage = Stage(managed_node("home", memory="6Gi", cpu="4"))
    await stage.serve(*two(GOOD))
    await stage.change(*two("package://new", other="package://new"), beats=1)
    assert (stage.source("chat.a"), stage.source("chat.b")) == ("package://new", GOOD)
    await stage.beat(3)
    assert (stage.source("chat.a"), stage.source("chat.b")) == ("package://new", "package://new")


async def test_a_change_waits_for_a_variant_that_loads_but_not_for_ever() -> None:
    stage = Stage(managed_node("home", memory="6Gi", cpu="4"))
    await stage.serve(*two(GOOD), progressDeadlineSeconds=60)
    stage.ray.stuck.add("package://slow")
    await stage.change(*two(GOOD, other="package://slow"), progressDeadlineSeconds=600, beats=2)
    await stage.change(*two("package://new", other="package://slow"), progressDeadlineSeconds=600, beats=5)
    assert stage.source("chat.a") == GOOD
    await stage.beat(160)
    assert stage.source("chat.a") == "package://new"


async def test_a_change_does_not_wait_for_a_variant_that_failed() -> None:
    stage = Stage(managed_node("home", memory="6Gi", cpu="4"))
    stage.ray.failing["package://broken"] = "no"
    await stage.serve(*two(GOOD, other="package://broken"))
    await stage.change(*two("package://new", other="package://broken"), beats=2)
    assert stage.source("chat.a") == "package://new"
