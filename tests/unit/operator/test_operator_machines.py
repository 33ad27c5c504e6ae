"""A node of several Ray nodes: replicas on it, their room on each machine, and what is said while one is away."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hearth_api.conditions import find_condition
from hearth_api.kinds.model import VariantState
from hearth_api.reasons import Reason
from hearth_operator.facts import EndpointFacts, PodFacts, RayApp, RayNode, Reach, ServingFacts
from hearth_operator.plan.capacity import allocatable, place, planned_memory
from hearth_operator.plan.revisions import plain, reloads
from hearth_operator.plan.rollout import Load, copy_memory, fits_twice
from hearth_operator.plan.serve_document import build_application
from hearth_operator.plan.serve_schema import check_application
from hearth_operator.reconcile import probing
from hearth_operator.reconcile.world import ServingState
from hearth_operator.status.model import VariantFacts, model_status
from hearth_operator.status.node import judge_reach
from support.operator_gen import external_node, managed_node, model, variant

NOW = datetime(2026, 11, 1, tzinfo=UTC)
GI = 1024**3


def fleet_node(machines: int = 2, memory: str = "24Gi", **more):
    external = {"rayNodes": machines, "rayNodeLabels": {"pool": "cuda"}}
    return external_node("pool", external=external, accelerator={"type": "CUDA", "memory": memory}, **more)


def wanted(name: str, memory: str, *, replicas: int = 1, **spec):
    return model(name, variant(node="pool", memory=memory, replicas=replicas), **spec)


def fitting(node, *models) -> dict[str, bool]:
    return {app: p.fits for app, p in place(models, {"pool": node}, ready={"pool"}).items()}


def test_each_machine_has_the_memory_of_the_accelerator() -> None:
    node = fleet_node(2, "24Gi", reserve={"memory": "4Gi"})
    assert fitting(node, wanted("a", "20Gi"), wanted("b", "20Gi", created="2026-10-02T00:00:00Z")) == {
        "a.cpu": True,
        "b.cpu": True,
    }
    assert fitting(node, wanted("a", "21Gi")) == {"a.cpu": False}, "no machine is that large"
    three = [wanted(n, "12Gi", created=f"2026-10-0{i}T00:00:00Z") for i, n in enumerate("abc", start=1)]
    assert fitting(node, *three) == {"a.cpu": True, "b.cpu": True, "c.cpu": False}


def test_replicas_take_their_memory_each_and_are_reserved_together() -> None:
    plan = place([wanted("a", "10Gi", replicas=3)], {"pool": fleet_node(2)}, ready={"pool"})
    assert plan["a.cpu"].fits
    assert plan["a.cpu"].reserved == 30 * GI == planned_memory(plan.values(), "pool")
    assert "a.cpu: 3 x 10Gi of 24Gi each on pool, 2 Ray nodes" in plan["a.cpu"].message
    plan = place([wanted("a", "10Gi", replicas=5)], {"pool": fleet_node(2)}, ready={"pool"})
    assert plan["a.cpu"].reason is Reason.INSUFFICIENT_MEMORY
    text = plan.explain("a.cpu")
    assert "a.cpu needs 50Gi of memory in 5 replicas" in text
    assert "pool has 24Gi on each of 2 Ray nodes for models" in text
    assert "30Gi on the fullest, 24Gi would fit on the emptiest" in text


def test_replicas_on_one_machine_add_up_in_memory_and_cores() -> None:
    home = managed_node("pool", memory="8Gi", cpu="2")
    assert fitting(home, wanted("a", "3Gi", replicas=2)) == {"a.cpu": True}
    assert fitting(home, wanted("a", "4Gi", replicas=2)) == {"a.cpu": False}
    many = model("a", variant(node="pool", memory="100Mi", cpu="1", replicas=3))
    assert place([many], {"pool": home}, ready={"pool"})["a.cpu"].reason is Reason.NO_CAPACITY


def test_more_replicas_ask_for_more_room_and_keep_what_they_have() -> None:
    held = {"name": "cpu", "node": "pool", "engine": "LlamaCpp", "state": "Available"}
    held |= {"memory": {"estimate": "10Gi", "reserved": "20Gi"}, "replicas": 2}
    two = wanted("a", "10Gi", replicas=5, status={"variants": [held]})
    plan = place([two], {"pool": fleet_node(2)}, ready={"pool"})
    assert not plan["a.cpu"].fits
    assert plan["a.cpu"].reserved == 20 * GI, "what runs keeps its room"


sizes = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 6)), min_size=1, max_size=8)


@settings(max_examples=80, deadline=None)
@given(sizes=sizes, machines=st.integers(1, 4))
def test_no_machine_is_ever_over_committed_and_the_order_of_the_list_says_nothing(sizes, machines) -> None:
    node = fleet_node(machines)
    models = [
        wanted(f"m{i}", f"{size}Gi", replicas=replicas, created=f"2026-10-{i + 1:02}T00:00:00Z")
        for i, (size, replicas) in enumerate(sizes)
    ]
    plan = place(models, {"pool": node}, ready={"pool"})
    placed = [(size, n) for i, (size, n) in enumerate(sizes) if plan[f"m{i}.cpu"].fits]
    # Whatever Ray does within max_replicas_per_node, the sum can never be more than all machines have.
    assert sum(size * n for size, n in placed) <= 24 * machines
    assert all(size <= 24 for size, _ in placed)
    assert planned_memory(plan.values(), "pool") == sum(size * n for size, n in placed) * GI
    again = place(reversed(models), {"pool": node}, ready={"pool"})
    assert again == plan


def test_the_document_spreads_pins_and_is_what_ray_knows() -> None:
    app = build_application(wanted("a", "1Gi"), wanted("a", "1Gi", replicas=3).spec.variants[0], fleet_node(2))
    deployment = app["deployments"][0]
    assert deployment["num_replicas"] == 3
    assert deployment["max_replicas_per_node"] == 2
    assert deployment["ray_actor_options"]["label_selector"] == {"pool": "cuda"}
    assert check_application(app) == ()
    home = build_application(model(), model("a", variant(replicas=2)).spec.variants[0], managed_node())
    assert "max_replicas_per_node" not in home["deployments"][0], "one machine takes them all"


def test_more_replicas_reload_nothing_while_each_machine_keeps_its_share() -> None:
    def app(replicas: int):
        m = wanted("a", "1Gi", replicas=replicas)
        return build_application(m, m.spec.variants[0], fleet_node(4))

    assert not reloads(plain(app(1)), app(4))
    assert reloads(plain(app(4)), app(5)), "Ray starts replicas anew when max_replicas_per_node changes"


def test_a_copy_counts_all_replicas_and_does_not_surge_over_several_machines() -> None:
    m = model("a", variant(memory="1Gi", replicas=2))
    app = build_application(m, m.spec.variants[0], managed_node(memory="6Gi"))
    assert copy_memory(app, None) == 2 * GI
    raylets = [RayNode(node_id="n", alive=True, labels={}, cpus=8, memory=0)]
    load = Load(millicores=1000, gpus=0, memory=2 * GI)
    assert fits_twice(app, managed_node(memory="6Gi", cpu="4"), load, memory=2 * GI, raylets=raylets)
    assert allocatable(fleet_node(2)).machines == 2
    assert not fits_twice(app, fleet_node(2, "99Gi"), load, memory=2 * GI, raylets=raylets)


@pytest.mark.parametrize(
    ("alive", "status", "reason"),
    [(2, "True", Reason.REACHABLE), (1, "True", Reason.RAY_NODES_MISSING), (0, "False", Reason.RAY_NODE_NOT_FOUND)],
)
def test_a_node_says_how_many_of_its_machines_are_there(alive, status, reason) -> None:
    raylets = tuple(RayNode(f"n{i}", alive=i < alive, labels={"pool": "cuda"}, cpus=1, memory=0) for i in range(2))
    other = RayNode("head", alive=True, labels={}, cpus=1, memory=0)
    facts = EndpointFacts(reach=Reach.REACHABLE, version="2.60.0", raylets=(*raylets, other))
    verdict = judge_reach(facts, PodFacts(), pin={"pool": "cuda"}, machines=2, managed=False, seen=True)
    assert (verdict.status.value, verdict.reason) == (status, reason)
    if alive == 1:
        assert verdict.message == "Ray answers; 1 of its 2 nodes here are alive"


def info(pid: int = 1, tokens: int = 1, slots: int = 4):
    return SimpleNamespace(
        model_digest="d", context_tokens=512, slots_total=slots, slots_busy=0, dimensions=None, shape=None, pid=pid,
        tokens_produced=tokens, memory=SimpleNamespace(now=1, peak=1), engine_version="1",
    )  # fmt: skip


@pytest.mark.parametrize(("running", "reason"), [(2, Reason.PREFERRED_SERVING), (1, Reason.REPLICAS_MISSING)])
def test_a_variant_serves_with_the_slots_of_the_replicas_that_run(running, reason) -> None:
    m = wanted("a", "1Gi", replicas=2)
    replicas = tuple(f"r{i}" for i in range(running))
    facts = VariantFacts(
        variant=m.spec.variants[0],
        node="pool",
        reach=Reach.REACHABLE,
        fits=True,
        current=True,
        app=RayApp(name="a.cpu", status="RUNNING", replicas=replicas),
        serving=ServingFacts(info=info(), alive=True),
    )
    status = model_status(m, facts=[facts], refused=None, now=NOW)
    entry = status.variants[0]
    assert (entry.state, entry.replicas, entry.slots) == (VariantState.AVAILABLE, running, 4 * running)
    degraded = find_condition(status.conditions, "Degraded")
    assert degraded.reason == reason
    if running == 1:
        assert degraded.message == "variant cpu: 1 of 2 replicas run"


async def test_each_replicas_counter_is_compared_with_its_own(monkeypatch) -> None:
    asked: list[int] = []

    async def probe(ctx, state, info, access) -> None:
        asked.append(info.pid)
        probing._note_proof(state, ctx.clock())

    monkeypatch.setattr(probing, "_probe", probe)
    ctx = SimpleNamespace(clock=lambda: 0.0, settings=SimpleNamespace(intervals=SimpleNamespace(probe=0.0)))
    state = ServingState()
    for pid, tokens in ((1, 500), (2, 20), (1, 500), (2, 20)):
        await probing._prove(ctx, state, info(pid, tokens), None)
    assert asked == [1, 2, 1, 2], "the counter of another process is no proof"
    await probing._prove(ctx, state, info(2, 21), None)
    assert asked == [1, 2, 1, 2]


def split(name: str, memory: str, *, parts: int = 2, replicas: int = 1):
    v = variant(node="pool", engine="VLLM", tensorParallel=parts, memory=memory, replicas=replicas)
    v["resources"]["gpus"] = parts
    return model(name, v)


def test_a_model_larger_than_a_machine_fits_in_parts() -> None:
    assert fitting(fleet_node(2), split("a", "40Gi")) == {"a.cpu": True}
    assert fitting(fleet_node(2), split("a", "50Gi")) == {"a.cpu": False}
    assert fitting(fleet_node(4), split("a", "40Gi", replicas=2)) == {"a.cpu": True}
    assert fitting(fleet_node(3), split("a", "40Gi", replicas=2)) == {"a.cpu": False}
    assert fitting(fleet_node(1), split("a", "40Gi")) == {"a.cpu": False}, "the cards of one machine count as one"


def test_parts_are_one_placement_group() -> None:
    m = split("a", "40Gi", parts=3)
    app = build_application(m, m.spec.variants[0], fleet_node(2))
    deployment = app["deployments"][0]
    assert deployment["placement_group_bundles"] == [{"CPU": 0.5, "GPU": 1.0}, {"GPU": 1.0}, {"GPU": 1.0}]
    assert deployment["placement_group_bundle_label_selector"] == [{"pool": "cuda"}] * 3
    assert deployment["placement_group_strategy"] == "PACK"
    assert "num_gpus" not in deployment["ray_actor_options"], "its workers take the cards"
    assert "max_replicas_per_node" not in deployment
    assert app["args"]["tensorParallel"] == 3
    assert check_application(app) == ()
    one = build_application(m, m.spec.variants[0], fleet_node(1))["deployments"][0]
    assert one["placement_group_strategy"] == "STRICT_PACK"
    assert reloads(
        plain(app), build_application(split("a", "40Gi"), split("a", "40Gi").spec.variants[0], fleet_node(2))
    )
