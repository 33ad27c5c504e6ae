"""Planners as tables and properties."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearth_api.reasons import Reason
from hearth_api.wire.serve import ServeArgs, ServeTunables
from hearth_operator.errors import InvalidSpecError
from hearth_operator.facts import RayApp
from hearth_operator.manifests.node import build_node
from hearth_operator.manifests.source import build_source
from hearth_operator.plan.actions import key_of, plan_objects
from hearth_operator.plan.aliases import taken_by
from hearth_operator.plan.capacity import allocatable, place, planned_memory
from hearth_operator.plan.difference import covers
from hearth_operator.plan.keys import may_make_kek
from hearth_operator.plan.runs import next_run
from hearth_operator.plan.serve_document import build_application, plan_put
from hearth_operator.settings import Settings
from support.operator_gen import external_node, managed_node, model, source, variant

SETTINGS = Settings(namespace="hearth", control_image="control:1", serve_image="serve:1")
URL = "https://hearth-node-home.hearth.svc:8000"


@pytest.mark.parametrize(
    ("live", "wanted", "same"),
    [
        pytest.param({"a": 1, "b": 2}, {"a": 1}, True, id="a default of the server is no difference"),
        pytest.param({"a": 1}, {"a": 2}, False, id="another value is"),
        pytest.param({"cpu": "1"}, {"cpu": "1000m"}, True, id="the same quantity in other words"),
        pytest.param({"cpu": 1.0}, {"cpu": 1}, True, id="one as a float"),
        pytest.param({"l": [1, 2]}, {"l": [1]}, False, id="an entry too many"),
        pytest.param({}, {"l": [], "m": {}, "n": None}, True, id="empty equals absent"),
        pytest.param({"a": True}, {"a": 1}, False, id="true is not one"),
        pytest.param({"e": {"x": 1}}, {"e": {}}, True, id="an emptyDir may have defaults"),
        pytest.param({}, {"suspend": False}, True, id="false may be left out"),
        pytest.param({"a": "1"}, {"a": {"b": 1}}, False, id="another shape"),
    ],
)
def test_what_counts_as_a_difference(live, wanted, same) -> None:
    assert covers(live, wanted) is same


def test_planning_creates_what_is_missing_and_says_so() -> None:
    objects = build_node(managed_node(), settings=SETTINGS).all()
    assert [a.sentence for a in plan_objects(objects, {})] == [
        "create PersistentVolumeClaim hearth-node-home",
        "create Service hearth-node-home",
        "create Deployment hearth-node-home",
    ]


@given(
    memory=st.integers(1, 64),
    suspend=st.booleans(),
    claims=st.lists(st.from_regex(r"[a-z]{1,8}", fullmatch=True), unique=True, max_size=3),
    schedule=st.sampled_from([None, "0 3 * * *"]),
)
def test_planning_after_a_successful_apply_is_empty(memory, suspend, claims, schedule) -> None:
    node = managed_node(memory=f"{memory}Gi", suspend=suspend, managed={"volumes": [{"claimName": c} for c in claims]})
    extra = {"schedule": schedule} if schedule else {}
    wanted = [
        *build_node(node, settings=SETTINGS).all(),
        *build_source(source(suspend=suspend, **extra), settings=SETTINGS),
    ]
    live = {}
    for manifest in wanted:
        there = json.loads(json.dumps(manifest))
        there["metadata"] |= {"uid": "u", "resourceVersion": "1", "managedFields": []}
        there.setdefault("spec", {})["defaulted"] = {"by": "server"}
        live[key_of(manifest)] = there
    assert plan_objects(wanted, live) == ()


def test_drift_is_planned_away() -> None:
    wanted = build_node(managed_node(), settings=SETTINGS).all()
    live = {key_of(m): copy.deepcopy(m) for m in wanted}
    live["Deployment", "hearth-node-home"]["spec"]["replicas"] = 5
    assert [a.sentence for a in plan_objects(wanted, live)] == ["update Deployment hearth-node-home"]


# Placement


@pytest.mark.parametrize(
    ("node", "memory"),
    [
        pytest.param(managed_node(memory="3Gi"), 3 * 1024**3 - 1280 * 1024**2, id="the pod's memory less Ray's own"),
        pytest.param(managed_node(memory="1Gi"), 0, id="never less than nothing"),
        pytest.param(
            external_node(reserve={"memory": "40Gi"}), 400 * 1024**3, id="the accelerator's memory less the reserve"
        ),
    ],
)
def test_allocatable(node, memory) -> None:
    assert allocatable(node).memory == memory


def test_models_that_fit_are_placed_with_the_sum() -> None:
    placed = place(
        [model("a"), model("b", created="2026-10-02T00:00:00Z", variants=[variant(memory="512Mi")])],
        {"home": managed_node()},
        ready={"home"},
    )
    assert placed["a.cpu"].fits
    assert placed["b.cpu"].message == "b.cpu: 512Mi of 1792Mi on home (declared in resources.memory)"
    assert planned_memory(placed.values(), "home") == 1536 * 1024**2


def test_the_younger_model_is_the_one_that_does_not_fit_and_is_told_the_numbers() -> None:
    young = model("young", variant(memory="2Gi"), created="2026-10-02T00:00:00Z")
    placed = place([young, model("old")], {"home": managed_node()}, ready={"home"})
    assert placed["old.cpu"].fits
    refused = placed["young.cpu"]
    assert (refused.fits, refused.reason) == (False, Reason.INSUFFICIENT_MEMORY)
    assert refused.message == (
        "young.cpu needs 2Gi of memory (declared in resources.memory), home has 1792Mi for models (0 kept in reserve) and already holds "
        "old.cpu 1Gi: 3Gi in sum, 768Mi would fit"
    )


def test_cores_and_gpus_count_too() -> None:
    greedy = model("greedy", variant(cpu="3"))
    assert "needs 3 cores" in place([greedy], {"home": managed_node()}, ready=set())["greedy.cpu"].message
    gpu = model("gpu")
    gpu = gpu.model_copy(
        update={
            "spec": gpu.spec.model_copy(
                update={
                    "variants": (
                        gpu.spec.variants[0].model_copy(
                            update={"resources": gpu.spec.variants[0].resources.model_copy(update={"gpus": 1})}
                        ),
                    )
                }
            )
        }
    )
    assert "needs 1 GPUs" in place([gpu], {"home": managed_node()}, ready=set())["gpu.cpu"].message


def test_an_unknown_node_and_an_unmatched_selector_are_named() -> None:
    placed = place(
        [model("a", variant(node="moon")), model("b", variant(node={"selector": {"tier": "fast"}}))],
        {"home": managed_node()},
        ready={"home"},
    )
    assert placed["a.cpu"].message == "variant cpu: no InferenceNode is called moon"
    assert placed["b.cpu"].message == "variant cpu: no InferenceNode has the labels tier=fast"
    assert {p.reason for p in placed.values()} == {Reason.NODE_NOT_FOUND}


def test_a_selector_takes_the_first_ready_node_with_room_and_stays_there() -> None:
    nodes = {
        n: managed_node(n, labels={"tier": "fast"}, memory=m) for n, m in (("a", "2Gi"), ("b", "8Gi"), ("c", "8Gi"))
    }
    wanted = model("m", variant(node={"selector": {"tier": "fast"}}, memory="2Gi"))
    assert place([wanted], nodes, ready={"a", "b", "c"})["m.cpu"].node == "b"
    assert place([wanted], nodes, ready={"a", "c"})["m.cpu"].node == "c"
    there = {"variants": [{"name": "cpu", "node": "c", "engine": "LlamaCpp", "state": "Available"}]}
    settled = model("m", variant(node={"selector": {"tier": "fast"}}, memory="2Gi"), status=there)
    assert place([settled], nodes, ready={"b", "c"})["m.cpu"].node == "c"


def test_a_suspended_model_takes_no_room() -> None:
    placed = place(
        [model("s", suspend=True), model("big", variant(memory="1700Mi"))], {"home": managed_node()}, ready=set()
    )
    assert set(placed) == {"big.cpu"}
    assert placed["big.cpu"].fits


def test_an_undeclared_need_counts_as_nothing_and_says_so() -> None:
    placed = place([model("a", variant(memory=None))], {"home": managed_node()}, ready=set())
    assert (placed["a.cpu"].fits, placed["a.cpu"].reason) == (True, Reason.SIZE_UNKNOWN)


@given(st.permutations(["a", "b", "c", "d"]))
def test_placement_does_not_depend_on_the_order_of_the_list(order) -> None:
    models = {n: model(n, variant(memory="800Mi"), created=f"2026-10-0{i + 1}T00:00:00Z") for i, n in enumerate("abcd")}
    placed = place([models[n] for n in order], {"home": managed_node()}, ready={"home"})
    assert [n for n in "abcd" if placed[f"{n}.cpu"].fits] == ["a", "b"]


# Names


def test_the_older_resource_keeps_an_alias_and_a_name_beats_every_alias() -> None:
    old = model("old", aliases=["gpt"], created="2026-10-01T00:00:00Z")
    young = model("young", aliases=["gpt"], created="2026-10-02T00:00:00Z")
    thief = model("thief", aliases=["young"], created="2026-09-01T00:00:00Z")
    assert taken_by([young, thief, old]) == {"young": ("gpt", "old"), "thief": ("young", "young")}


# The Serve document


def app(m, node=None):
    return build_application(m, m.spec.variants[0], node or managed_node())


def live(application, *, status="RUNNING"):
    return RayApp(name=application["name"], status=status, replicas=("r",), config=application)


def put(wanted, there, *, held=(), broken=(), last=None):
    return plan_put(
        wanted,
        {a.name: a for a in there},
        held=frozenset(held),
        broken=frozenset(broken),
        serve_url=URL,
        last_digest=last,
    )


def test_an_application_carries_what_reloads_in_args_and_the_rest_in_user_config(golden) -> None:
    m = model("chat", sampling={"temperature": "0.7", "maxTokens": 100, "systemPrompt": "Be brief."})
    built = app(m)
    golden("application", built)
    ServeArgs.model_validate(built["args"])
    ServeTunables.model_validate(built["deployments"][0]["user_config"])
    assert built["deployments"][0]["ray_actor_options"]["label_selector"] == {"hearth-node": "home"}
    louder = app(model("chat", sampling={"temperature": "1"}))
    assert louder["args"] == built["args"]


def test_vllm_asks_for_cards_and_tells_the_replica_over_how_many_it_is_split() -> None:
    split = {"engine": "VLLM", "tensorParallel": 2, "resources": {"cpu": "1", "memory": "40Gi", "gpus": 2}}
    wanted = model("big", variant("cards", node="gpu", **{**split, "memory": None}) | split)
    card = external_node("gpu", accelerator={"type": "CUDA", "memory": "48Gi"})
    app = build_application(wanted, wanted.spec.variants[0], card)
    assert (app["args"]["tensorParallel"], app["args"]["engine"]) == (2, "VLLM")
    one = model("one", variant("card", node="gpu", engine="VLLM"))
    assert "tensorParallel" not in build_application(one, one.spec.variants[0], card)["args"]
    with pytest.raises(InvalidSpecError, match="VLLM needs accelerator CUDA, and InferenceNode studio is Metal"):
        build_application(one, one.spec.variants[0], external_node())


def test_a_claim_becomes_the_path_where_the_node_mounts_it() -> None:
    m = model("chat", variant(model={"source": "pvc://weights/llama/q4.gguf"}))
    node = managed_node(managed={"volumes": [{"claimName": "weights"}]})
    assert app(m, node)["args"]["model"]["source"] == "file:///models/weights/llama/q4.gguf"
    with pytest.raises(InvalidSpecError, match="does not mount"):
        app(m)


def test_on_metal_all_layers_go_to_the_gpu_unless_said_otherwise() -> None:
    assert app(model("a"), external_node())["args"]["gpuLayers"] == 1000
    assert app(model("a", variant(gpuLayers=7)), external_node())["args"]["gpuLayers"] == 7
    assert app(model("a"))["args"]["gpuLayers"] == 0


def test_nothing_wanted_and_nothing_there_never_starts_serve() -> None:
    assert not put([], []).put


def test_a_new_application_is_put_with_tls() -> None:
    plan = put([app(model("chat"))], [])
    assert plan.sentences == ("deploy chat.cpu",)
    assert plan.document["http_options"]["ssl_certfile"] == "/var/run/secrets/hearth/serve/tls.crt"


def test_what_ray_already_has_is_not_put_again() -> None:
    assert not put([app(model("chat"))], [live(app(model("chat")))]).put


def test_a_lost_application_is_put_again_even_though_the_document_is_the_same() -> None:
    wanted = [app(model("chat"))]
    digest = put(wanted, []).digest
    assert put(wanted, [], last=digest).sentences == ("deploy chat.cpu",)


def test_an_echo_in_other_words_is_not_put_for_ever() -> None:
    wanted = app(model("chat"))
    echoed = copy.deepcopy(wanted)
    echoed["deployments"][0]["max_queued_requests"] = "64 of them"
    first = put([wanted], [live(echoed)])
    assert first.sentences == ("change chat.cpu",)
    assert not put([wanted], [live(echoed)], last=first.digest).put


def test_an_application_whose_resource_is_gone_is_removed() -> None:
    plan = put([], [live(app(model("gone")))])
    assert plan.sentences == ("remove gone.cpu",)
    assert plan.document["applications"] == []


@pytest.mark.parametrize(
    ("held", "broken"),
    [
        pytest.param(["kept.cpu"], [], id="its resource asks for it, though it cannot be built now"),
        pytest.param([], ["kept"], id="its resource cannot be read"),
    ],
)
def test_an_application_whose_resource_exists_is_never_dropped(held, broken) -> None:
    plan = put([app(model("chat"))], [live(app(model("kept")))], held=held, broken=broken)
    assert [a["name"] for a in plan.document["applications"]] == ["chat.cpu", "kept.cpu"]
    assert plan.sentences == ("deploy chat.cpu",)


def test_somebody_elses_application_is_kept_as_it_is() -> None:
    foreign = RayApp(name="theirs", status="RUNNING", config={"name": "theirs", "import_path": "my.app:x"})
    plan = put([app(model("chat"))], [foreign])
    assert plan.document["applications"][1] == foreign.config


def test_an_imperative_application_is_not_part_of_the_document() -> None:
    assert put([], [RayApp(name="adhoc", status="RUNNING")]).document["applications"] == []


@given(st.permutations(["a", "b", "c"]), st.permutations(["b", "x", "y"]))
def test_the_document_is_a_pure_function_of_its_inputs(order, there) -> None:
    built = {n: app(model(n)) for n in "abcxy"}
    plans = [
        put([built[n] for n in wanted], [live(built[n]) for n in present], held=["x.cpu"])
        for wanted, present in ((order, there), (sorted(order), sorted(there)))
    ]
    assert plans[0] == plans[1]


@given(st.sets(st.sampled_from("abcdef")), st.sets(st.sampled_from("abcdef")))
def test_after_a_put_there_is_nothing_to_put(wanted, present) -> None:
    built = {n: app(model(n)) for n in "abcdef"}
    first = put([built[n] for n in sorted(wanted)], [live(built[n]) for n in sorted(present)])
    after = (
        [live(a) for a in first.document["applications"]] if first.put else [live(built[n]) for n in sorted(present)]
    )
    assert not put([built[n] for n in sorted(wanted)], after, last=first.digest if first.put else None).put


def test_a_failed_application_is_taken_out_to_be_tried_again() -> None:
    bad, good = app(model("bad")), app(model("good"))
    there = [live(bad, status="DEPLOY_FAILED"), live(good)]
    plan = plan_put(
        [bad, good],
        {a.name: a for a in there},
        held=frozenset({"bad.cpu"}),
        broken=frozenset(),
        serve_url=URL,
        last_digest=None,
        again=frozenset({"bad.cpu"}),
    )
    assert plan.sentences == ("remove bad.cpu to try it again",)
    assert [a["name"] for a in plan.document["applications"]] == ["good.cpu"]
    assert put([bad, good], [live(good)]).sentences == ("deploy bad.cpu",)


# Runs and keys


@pytest.mark.parametrize(
    ("status", "annotation", "active", "suspend", "run"),
    [
        pytest.param(None, None, False, False, "first", id="a new source starts once by itself"),
        pytest.param({"lastRunNow": "first"}, None, False, False, None, id="and only once"),
        pytest.param(None, "a", False, False, "a", id="a new source that is asked runs once, not twice"),
        pytest.param({"lastRunNow": "a"}, "b", False, False, "b", id="a new value starts a run"),
        pytest.param({"lastRunNow": "b"}, "b", False, False, None, id="the same value does not"),
        pytest.param({"lastRunNow": "a"}, "b", True, False, None, id="not beside another run"),
        pytest.param({"lastRunNow": "a"}, "b", False, True, None, id="not while suspended"),
        pytest.param({"lastRunNow": "a"}, "", False, False, None, id="an empty value asks for nothing"),
        pytest.param({"lastRun": {"job": "j", "outcome": "Succeeded"}}, None, False, False, None, id="it ran before"),
    ],
)
def test_when_a_run_starts(status, annotation, active, suspend, run) -> None:
    annotations = {} if annotation is None else {"hearth.banjonet.com/run-now": annotation}
    assert next_run(source(status=status, annotations=annotations, suspend=suspend), active=active) == run


@pytest.mark.parametrize(
    ("bases", "state", "allowed"),
    [
        ([], None, True),
        ([{"metadata": {"name": "w"}, "status": {}}], None, True),
        ([{"metadata": {"name": "w"}, "status": {"documents": 1}}], None, False),
        ([{"metadata": {"name": "w"}, "status": {"collection": "c"}}], None, False),
        ([], {"data": {"storesHoldData": "true"}}, False),
    ],
)
def test_a_key_encryption_key_is_never_made_beside_old_data(bases, state, allowed) -> None:
    assert may_make_kek(bases, state)[0] is allowed
