"""The writer of a Ray endpoint: revisions, rollback, surge, swap, refusals, other writers, guards; over fakes in memory."""

import json
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from hearth_api.reasons import Reason
from hearth_operator.errors import UnreachableError
from hearth_operator.facts import RayNode, ServingFacts
from hearth_operator.plan.revisions import owner_of, surge_of
from hearth_operator.reconcile.endpoint import reconcile_endpoint, register
from hearth_operator.reconcile.glance import Glance
from hearth_operator.reconcile.world import EndpointState, ServingState, World
from hearth_operator.settings import Settings
from support.fake_kube import FakeKube, FakeRay
from support.operator_gen import external_node, managed_node, model, variant

URL = "http://ray"
GOOD, BAD = "package://good", "package://bad"


class Stage:
    """One endpoint with one node, driven heartbeat by heartbeat."""

    def __init__(self, node=None) -> None:
        self.kube, self.ray, self.now = FakeKube(), FakeRay(), 0.0
        self.node = node or managed_node("home", memory="6Gi", cpu="4")
        self.kube.put(self.node)
        self.proves = True
        self.restart()

    def restart(self) -> None:
        """The operator starts anew: only what is outside it is left."""
        self.world = World()
        self.state = EndpointState(nodes={self.node.metadata.name}, serve_url="https://x:8000")
        self.world.endpoints[URL] = self.state
        self.ctx = SimpleNamespace(
            settings=Settings(namespace="n", control_image="c", serve_image="s"),
            kube=self.kube,
            ray=lambda _url, _token: self.ray,
            clock=lambda: self.now,
            random_bytes=lambda n: b"\x07" * n,
            world=self.world,
            wake=lambda _key, delay=0.0: None,
            wake_fleet=lambda: None,
            glance=Glance(),
        )

    async def beat(self, times: int = 1, *, seconds: float = 4.0) -> None:
        for _ in range(times):
            self.now += seconds
            await reconcile_endpoint(self.ctx, URL)
            for name, app in self.state.facts.apps.items():
                if self.proves and app.replicas:
                    proven = ServingState(facts=ServingFacts(alive=True), replicas=app.replicas)
                    self.world.serving[name] = proven
                else:
                    self.world.serving.pop(name, None)

    def source(self, app: str = "chat.cpu") -> str:
        return self.ray.apps[app]["args"]["model"]["source"]

    async def serve(self, *variants, name: str = "chat", source: str = GOOD, **spec) -> None:
        """Apply a model; it has been looked at before, so what is kept of it is read."""
        self.apply(*variants, name=name, source=source, **spec)
        await self.beat(4)

    async def change(self, *variants, beats: int, **more) -> None:
        """Apply a change that is seen, and let some heartbeats pass."""
        self.apply(*variants, **more)
        self.state.dirty = True
        await self.beat(beats)

    async def fail(self) -> None:
        """A good revision, then a bad one."""
        await self.serve()
        self.ray.failing[BAD] = "no"
        await self.change(source=BAD, beats=4)

    def apply(self, *variants, name: str = "chat", source: str = GOOD, **spec) -> None:
        condition = {"type": "Ready", "status": "True", "reason": "Ready", "message": ""}
        status = {"conditions": [condition | {"lastTransitionTime": "2026-10-01T00:00:00Z"}]}
        chosen = variants or (variant(model={"source": source}),)
        self.kube.put(model(name, *chosen, status=status, **spec))


@pytest.fixture
def stage() -> Stage:
    return Stage()


def kept(stage: Stage, name: str = "chat") -> dict:
    data = stage.kube.objects["ConfigMap", f"hearth-rollout-{name}"]["data"]
    return {key: json.loads(value) for key, value in data.items()}


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


# Guards


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

    def misspelt(m, v, n):
        app = build(m, v, n)
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
    raw = annotated.model_dump(mode="json", by_alias=True, exclude_none=True)
    raw["metadata"]["annotations"] = {"hearth.banjonet.com/take-over": "somebody"}
    stage.kube.objects["InferenceNode", "home"] = raw
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


# Any history

SOURCES = ("package://s0", "package://s1", "package://s2")
ACTIONS = st.one_of(
    st.tuples(
        st.just("change"), st.sampled_from(["a", "b"]), st.sampled_from(SOURCES), st.sampled_from(["0.1", "0.9"])
    ),
    st.tuples(st.sampled_from(["fail", "heal", "stick", "refuse"]), st.sampled_from(SOURCES)),
    st.tuples(st.sampled_from(["operator dies", "ray forgets", "api away", "api back", "ray away", "ray back"])),
)


def act(stage: Stage, action: tuple[str, ...]) -> None:
    ray = stage.ray
    match action:
        case ("change", name, source, temperature):
            stage.apply(name=name, source=source, sampling={"temperature": temperature}, progressDeadlineSeconds=60)
            stage.state.dirty = True
        case ("fail", source):
            ray.failing[source] = "no"
        case ("heal", source):
            ray.failing.pop(source, None)
            ray.stuck.discard(source)
            ray.refusing.discard(source)
        case ("stick", source):
            ray.stuck.add(source)
        case ("refuse", source):
            ray.refusing.add(source)
        case ("operator dies",):
            stage.restart()
        case ("ray forgets",):
            ray.apps, ray.old = {}, {}
        case ("api away",) | ("api back",):
            stage.kube.down = action[0] == "api away"
        case _:
            ray.error = UnreachableError("Unreachable", "gone") if action[0] == "ray away" else None


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(ACTIONS, st.integers(0, 5)), max_size=14))
async def test_after_any_history_it_comes_to_rest_and_serves_what_it_can(history) -> None:
    with capture_logs():  # thousands of lines otherwise
        await _live_through(history)


async def _live_through(history) -> None:
    stage = Stage(managed_node("home", memory="6Gi", cpu="4"))
    for action, beats in history:
        act(stage, action)
        await stage.beat(beats)
    stage.kube.down, stage.ray.error, stage.state.dirty = False, None, True
    await stage.beat(60)
    puts = stage.ray.puts[:]
    stage.kube.writes.clear()
    stage.state.failed.clear()  # tries of what never served go on for good
    await stage.beat(20, seconds=0.5)
    assert (stage.ray.puts, stage.kube.writes) == (puts, []), "at rest"
    for (kind, name), raw in stage.kube.objects.items():
        if kind == "ModelDeployment":
            _check(stage, f"{name}.cpu", raw["spec"]["variants"][0]["model"]["source"])


def _check(stage: Stage, app: str, wanted: str) -> None:
    sick = {*stage.ray.failing, *stage.ray.stuck, *stage.ray.refusing}
    there = stage.ray.apps.get(app)
    if there is None:
        assert app in stage.state.refused, "Ray said no to it, and is not asked twice"
        return
    source = there["args"]["model"]["source"]
    record = stage.state.records[app]
    if wanted not in sick:
        assert source == wanted or record.bad or app in stage.state.refused, "what could serve is there, or failed once"
    if record.good is not None and source != wanted:
        assert app in stage.state.setbacks, "and says why it is not the wanted one"
    if record.good is not None and record.good["args"]["model"]["source"] not in sick:
        assert source not in sick or app not in stage.state.setbacks, "what served once serves"
