"""The writer of a Ray endpoint: refusals, other writers, absences, and nodes that share a Ray."""

import pytest

from hearth_operator.errors import UnreachableError
from hearth_operator.facts import RayNode
from hearth_operator.reconcile.endpoint import register
from support.fake_kube import as_stored
from support.operator_gen import external_node, variant
from support.operator_writer import BAD, GOOD, URL, Stage


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_one_application_that_ray_refuses_does_not_hold_up_the_others(stage) -> None:
    await stage.serve()
    stage.ray.refusing.add(BAD)
    stage.apply(source=BAD)
    stage.apply(name="new")
    await stage.change(name="wrong", source=BAD, beats=4)
    assert (stage.source(), stage.source("new.cpu")) == (GOOD, GOOD)
    assert sorted(stage.state.setbacks) == ["chat.cpu", "wrong.cpu"]
    assert "400" in stage.state.setbacks["wrong.cpu"].message
    puts = len(stage.ray.puts)
    await stage.beat(20)
    assert len(stage.ray.puts) == puts


async def test_what_our_own_check_refuses_is_never_put(stage, monkeypatch) -> None:
    from hearth_operator.reconcile import document

    await stage.serve()
    build = document.build_application

    def misspelt(m, v, n, **more):
        app = build(m, v, n, **more)
        if m.metadata.name == "typo":
            app["deployments"][0]["ray_actor_options"]["label_selectr"] = {}
        return app

    monkeypatch.setattr(document, "build_application", misspelt)
    stage.apply(name="typo")
    await stage.change(name="fine", beats=3)
    assert sorted(stage.ray.apps) == ["chat.cpu", "fine.cpu"]
    assert "label_selectr is no field that Ray knows" in stage.state.setbacks["typo.cpu"].message


async def test_an_application_is_dropped_only_when_its_resource_is_gone(stage) -> None:
    await stage.serve()
    stage.kube.hidden.add("chat")  # a list that lacks it
    stage.state.dirty = True
    await stage.beat(2)
    assert list(stage.ray.apps) == ["chat.cpu"]
    stage.kube.hidden.clear()
    stage.kube.drop("ModelDeployment", "chat")
    stage.state.dirty = True
    await stage.beat(2)
    assert list(stage.ray.apps) == []


async def test_another_operator_on_the_same_ray_is_left_alone_until_somebody_decides() -> None:
    node = external_node("home", external={"dashboardURL": URL})
    stage = Stage(node)
    stage.ray.raylets = (RayNode("n1", alive=True, labels={}, cpus=8.0, memory=0),)
    other = Stage()
    await other.serve(name="theirs")
    theirs = other.ray.apps["theirs.cpu"]
    theirs["deployments"][0]["user_config"]["owner"] = "somebody"
    stage.ray.apps, stage.ray.pids = {"theirs.cpu": theirs}, {"theirs.cpu": 9}
    stage.apply()
    await stage.beat(5)
    assert stage.ray.puts == []
    assert "another Hearth (somebody) writes to this Ray" in stage.state.facts.taken
    annotated = external_node("home", external={"dashboardURL": URL})
    there = as_stored(annotated)
    there["metadata"]["annotations"] = {"hearth.banjonet.com/take-over": "somebody"}
    stage.kube.objects["InferenceNode", "home"] = there
    await stage.beat(2)
    assert list(stage.ray.apps) == ["chat.cpu"], "taken over: what no resource here asks for is removed"
    assert stage.state.facts.taken == ""


async def test_a_replica_on_another_raylet_is_told_and_is_no_good_revision(stage) -> None:
    stage.ray.raylets = (
        *stage.ray.raylets,
        RayNode("n2", alive=True, labels={"hearth-node": "studio"}, cpus=4.0, memory=0),
    )
    stage.ray.node_ids = ("n2",)
    await stage.serve()
    assert ("ConfigMap", "hearth-rollout-chat") not in stage.kube.objects


async def test_the_heartbeat_goes_on_while_the_api_server_is_away(stage) -> None:
    await stage.serve()
    stage.kube.down = True
    stage.ray.apps.clear()
    await stage.beat(15)
    assert stage.state.facts.reachable
    stage.kube.down = False
    await stage.beat()
    assert stage.source() == GOOD


async def test_what_cannot_be_kept_holds_up_nothing(stage) -> None:
    await stage.beat()
    stage.kube.refuses.add("ConfigMap")
    stage.state.dirty = True
    await stage.fail()
    assert stage.source() == GOOD, "taken back all the same"
    assert stage.state.facts.reachable


async def test_a_ray_that_went_away_gets_the_last_good_revision_not_the_bad_one(stage) -> None:
    await stage.fail()
    stage.ray.error = UnreachableError("Unreachable", "gone")
    await stage.beat(3)
    assert not stage.state.facts.reachable
    stage.ray.error, stage.ray.apps, stage.ray.old = None, {}, {}
    await stage.beat(2)
    assert stage.source() == GOOD


async def test_what_ray_keeps_otherwise_than_it_was_put_is_told(stage) -> None:
    stage.ray.forgets = ("label_selector",)
    stage.apply()
    await stage.beat(6)
    puts = len(stage.ray.puts)
    await stage.beat(10)
    assert len(stage.ray.puts) == puts
    assert stage.state.astray == {"chat.cpu": "Ray did not keep label_selector of the application"}


# Nodes that share a Ray


def test_nodes_that_share_a_ray_do_not_take_turns_in_how_it_is_reached() -> None:
    stage = Stage()
    first, second = external_node("a"), external_node("b")
    stage.world.endpoints.clear()
    for _ in range(3):
        for node, token in ((second, "t2"), (first, "t1")):
            state = register(stage.ctx, node, urls=(URL, f"https://{node.metadata.name}:8000"), token=token)
    assert (state.nodes, state.token, state.serve_url) == ({"a", "b"}, "t1", "https://a:8000")
    state.dirty = False
    register(stage.ctx, second, urls=(URL, "https://b:8000"), token="t2")
    register(stage.ctx, first, urls=(URL, "https://a:8000"), token="t1")
    assert not state.dirty
    register(stage.ctx, first, urls=("http://moved", "https://a:8000"), token="t1")
    assert state.nodes == {"b"}


async def test_two_nodes_of_one_ray_are_one_document() -> None:
    stage = Stage(external_node("home", external={"dashboardURL": URL, "rayNodeLabels": {"hearth-node": "home"}}))
    other = external_node("other", external={"dashboardURL": URL, "rayNodeLabels": {"hearth-node": "other"}})
    stage.kube.put(other)
    stage.state.nodes.add("other")
    stage.ray.raylets = tuple(
        RayNode(n, alive=True, labels={"hearth-node": n}, cpus=4.0, memory=0) for n in ("home", "other")
    )
    stage.ray.node_ids = ()
    stage.apply(variant("a", node="home"), variant("b", node="other"))
    await stage.beat(3)
    assert [[a["name"] for a in p["applications"]] for p in stage.ray.puts] == [["chat.a", "chat.b"]]
