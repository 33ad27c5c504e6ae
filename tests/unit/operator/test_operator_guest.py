"""A good guest: when a machine is left to its owner and when models come back, by its rules and in virtual time."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearth_api.conditions import Condition, ConditionStatus, ConditionType
from hearth_api.kinds.node import Availability, OwnerHours
from hearth_api.reasons import Reason
from hearth_api.wire.machine import GpuFacts, MachineFacts
from hearth_operator.clients.http import HttpStatusError
from hearth_operator.errors import UnreachableError
from hearth_operator.facts import GuestFacts
from hearth_operator.plan.guest import Phase, Stay, is_within, reasons_to_go, step, untold
from hearth_operator.reconcile.guest import _remembered
from hearth_operator.reconcile.machine_metrics import MachineCollector
from hearth_operator.reconcile.world import GuestWatch, WakeWatch
from hearth_operator.status.guest import judge_guest
from support.metrics import LIVE_SERIES
from support.operator_gen import external_node
from unit.operator.test_operator_truth import House, quiet, story

__all__ = ["quiet"]
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)  # a Monday
GI = 2**30


def machine(**told: Any) -> MachineFacts:
    quiet_machine = {
        "system": "Linux", "time": NOW, "boot_time": NOW, "cpus": 8, "load": 0.1, "memory_total": 64 * GI,
        "memory_available": 40 * GI, "sessions": 0, "owner_idle_seconds": 9000.0, "on_battery": False,
    }  # fmt: skip
    return MachineFacts.model_validate(quiet_machine | told)


def card(others: int | None, **told: Any) -> GpuFacts:
    return GpuFacts(name="RTX 4090", memory_total=24 * GI, memory_used=GI, memory_others=others, **told)


def why(rules: Availability, facts: MachineFacts, **given: Any) -> list[Reason]:
    said = {"now": NOW, "away": False, "needed": 0} | given
    return [reason for reason, _ in reasons_to_go(rules, facts, **said)]


EVERYTHING = Availability(
    owner_active_seconds=300,
    others_gpu_memory="2Gi",
    free_memory="4Gi",
    on_battery=True,
    hours=(OwnerHours(begin="18:00", end="23:00"),),
)


def test_a_quiet_machine_is_no_reason_to_go() -> None:
    assert why(EVERYTHING, machine(gpus=(card(GI),))) == []
    assert (
        why(Availability(), machine(owner_idle_seconds=0, memory_available=0, on_battery=True, gpus=(card(20 * GI),)))
        == []
    )


@pytest.mark.parametrize(
    ("told", "now", "reason"),
    [
        ({"owner_idle_seconds": 299}, NOW, Reason.OWNER_ACTIVE),
        ({"gpus": (card(0), card(3 * GI))}, NOW, Reason.GPU_IN_USE),
        ({"memory_available": 4 * GI - 1}, NOW, Reason.MEMORY_SHORT),
        ({"on_battery": True}, NOW, Reason.ON_BATTERY),
        ({}, NOW.replace(hour=18), Reason.OWNER_HOURS),
    ],
)
def test_each_rule_is_a_reason(told: dict[str, Any], now: datetime, reason: Reason) -> None:
    assert why(EVERYTHING, machine(**told), now=now) == [reason]


def test_what_a_machine_cannot_tell_is_no_reason_and_is_said() -> None:
    blind = machine(owner_idle_seconds=None, on_battery=None, gpus=(card(None),))
    assert why(EVERYTHING, blind) == []
    assert untold(EVERYTHING, blind) == ("ownerActiveSeconds", "othersGpuMemory", "onBattery")
    assert untold(EVERYTHING, machine(gpus=(card(0),))) == ()
    facts = GuestFacts(yields=False, reason=Reason.HOSTING, untold=("onBattery",))
    assert "onBattery" in judge_guest(facts).message


def test_coming_back_needs_the_memory_that_it_takes() -> None:
    facts = machine(memory_available=20 * GI)
    assert why(EVERYTHING, facts, needed=30 * GI) == [], "its models are there: what is free is free beside them"
    assert why(EVERYTHING, facts, away=True, needed=30 * GI) == [Reason.MEMORY_SHORT]
    assert why(EVERYTHING, facts, away=True, needed=16 * GI) == []


@pytest.mark.parametrize(
    ("hours", "at", "within"),
    [
        ({"begin": "18:00", "end": "23:00"}, "2026-11-23T17:59", False),
        ({"begin": "18:00", "end": "23:00"}, "2026-11-23T18:00", True),
        ({"begin": "18:00", "end": "23:00"}, "2026-11-23T23:00", False),
        ({"begin": "22:00", "end": "02:00", "days": ["Sun"]}, "2026-11-23T01:59", True),
        ({"begin": "22:00", "end": "02:00", "days": ["Mon"]}, "2026-11-23T01:59", False),
        ({"begin": "22:00", "end": "02:00", "days": ["Mon"]}, "2026-11-23T22:00", True),
        ({"begin": "00:00", "end": "24:00", "days": ["Sat", "Sun"]}, "2026-11-22T23:59", True),
        ({"begin": "00:00", "end": "24:00", "days": ["Sat", "Sun"]}, "2026-11-23T00:00", False),
    ],
)
def test_hours_also_over_midnight(hours: dict[str, Any], at: str, within: bool) -> None:
    berlin = datetime.fromisoformat(f"{at}+01:00")
    assert is_within(OwnerHours.model_validate(hours), now=berlin.astimezone(UTC), zone="Europe/Berlin") is within


def test_a_zone_that_nobody_knows_is_told() -> None:
    with pytest.raises(ValueError, match=r"availability\.timeZone 'Mars/Base' is not known"):
        is_within(OwnerHours(begin="01:00", end="02:00"), now=NOW, zone="Mars/Base")


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(1, 200)), max_size=60))
def test_it_goes_at_once_and_comes_back_only_after_a_quiet_time(moments: list[tuple[bool, bool, int]]) -> None:
    rules = Availability(drain_seconds=30, return_seconds=300)
    stay, now, disturbed = Stay(), NOW, NOW - timedelta(days=1)
    for calls, computing, seconds in moments:
        now += timedelta(seconds=seconds)
        disturbed = now if calls else disturbed
        before, stay = (
            stay,
            step(stay, (Reason.OWNER_ACTIVE, "x") if calls else None, rules, now=now, computing=computing),
        )
        if calls:
            assert stay.yields
        if before.yields and not stay.yields:
            assert now - disturbed >= timedelta(seconds=rules.return_seconds)
        if stay.phase is Phase.DRAINING:
            assert computing
            assert stay.since is not None
            assert now - stay.since < timedelta(seconds=rules.drain_seconds)
        if before.phase is Phase.AWAY:
            assert stay.phase is not Phase.DRAINING


def test_a_new_operator_leaves_a_machine_alone_that_was_left() -> None:
    told = Condition(
        type=ConditionType.YIELDING,
        status=ConditionStatus.TRUE,
        reason="GpuInUse",
        message="a game",
        last_transition_time=NOW,
        observed_generation=1,
    )
    node = external_node()
    left = node.model_copy(update={"status": node.status.model_copy(update={"conditions": (told,)})})
    assert _remembered(left) == Stay(phase=Phase.AWAY, reason=Reason.GPU_IN_USE, message="a game", since=NOW)
    assert _remembered(node) == Stay()


def test_the_condition() -> None:
    asked = {"yields": False, "reason": Reason.HOSTING}
    silent = (Reason.MACHINE_SILENT, "no answer")
    for facts, said in (
        (GuestFacts(**asked), ("False", "Hosting")),
        (GuestFacts(**asked, asked=False), ("Unknown", "NotObserved")),
        (GuestFacts(**asked, trouble=silent), ("Unknown", "MachineSilent")),
        (GuestFacts(yields=True, reason=Reason.GPU_IN_USE, trouble=silent), ("True", "GpuInUse")),
    ):
        verdict = judge_guest(facts)
        assert (verdict.status.value, verdict.reason.value) == said


def test_figures_of_machines() -> None:
    facts = machine(gpus=(card(0, utilization=50, power_watts=120),), power_watts=30)
    told = GuestWatch(url="u", facts=facts, stay=Stay(phase=Phase.AWAY))
    silent = GuestWatch(url="u", facts=facts, trouble=(Reason.MACHINE_SILENT, ""))
    woken = {"gpu": WakeWatch(counts={"sent": 2, "failed": 1}), "mac": WakeWatch()}
    families = {
        f.name: f.samples for f in MachineCollector(lambda: {"gpu": told, "mac": silent}, lambda: woken).collect()
    }
    assert {s.name: set(s.labels) for samples in families.values() for s in samples} == {
        name: labels for name, labels in LIVE_SERIES.items() if name.startswith(("hearth_machine_", "hearth_node_"))
    }
    assert [(s.labels["node"], s.value) for s in families["hearth_node_yielding"]] == [("gpu", 1.0), ("mac", 0.0)]
    assert [(s.labels["node"], s.labels["result"], s.value) for s in families["hearth_node_wakes"]] == [
        ("gpu", "failed", 1),
        ("gpu", "sent", 2),
    ]
    assert [s.value for s in families["hearth_machine_gpu_utilization_ratio"]] == [0.5]
    assert {s.labels["part"]: s.value for s in families["hearth_machine_power_watts"]} == {"processor": 30, "gpu0": 120}


class Front:
    """What the desk tells of itself."""

    def __init__(self) -> None:
        self.facts = machine()
        self.error: Exception | None = None

    async def machine(self) -> MachineFacts:
        if self.error is not None:
            raise self.error
        return self.facts


@pytest.fixture
def house() -> House:
    external = {
        "dashboardURL": "https://hearth-node-desk.lan:8265",
        "serveURL": "https://hearth-node-desk.lan:8000",
        "raySecretRef": {"name": "hearth-ray-desk"},
        "serveSecretRef": {"name": "hearth-serve-desk"},
        "rayNodeLabels": {"hearth-node": "desk"},
    }
    guest = {"ownerActiveSeconds": 60, "othersGpuMemory": "2Gi", "returnSeconds": 120, "drainSeconds": 20}
    accelerator = {"type": "CUDA", "memory": "24Gi"}
    made = House(nodes=[external_node("desk", external=external, accelerator=accelerator, availability=guest)])
    front = Front()
    made.front = lambda _url, _access: front
    made.desk = front  # type: ignore[attr-defined]
    return made


def yielding(house: House) -> tuple[str, str]:
    status = house.kube.objects["InferenceNode", "desk"].get("status") or {}
    found = next((c for c in status.get("conditions", ()) if c["type"] == "Yielding"), {})
    return found.get("status", ""), found.get("reason", "")


def on_the_desk(house: House) -> set[str]:
    return set(house.machines["desk"].ray.apps)


def test_the_owner_plays_and_the_model_moves_and_comes_back(house: House) -> None:
    async def body(house: House) -> None:
        front = house.desk  # type: ignore[attr-defined]
        await house.settle()
        assert yielding(house) == ("False", "Hosting")
        house.machines["desk"].busy = 1  # an answer is being written
        front.facts = machine(gpus=(card(12 * GI),))
        await house.until(lambda: house.status["serving"] == "rack", seconds=15)
        assert house.variant("desk") == ("Suspended", "GpuInUse")
        assert yielding(house) == ("True", "GpuInUse")
        assert "chat.desk" in on_the_desk(house), "what was begun may end"
        assert house.condition("Degraded")["reason"] == "FallbackServing"
        assert await house.until(lambda: not on_the_desk(house), seconds=40) > 3
        house.machines["desk"].busy = 0
        front.error = UnreachableError("Unreachable", "no answer")
        await house.until(lambda: "cannot be asked" in str(house.kube.objects["InferenceNode", "desk"]), seconds=90)
        assert yielding(house) == ("True", "GpuInUse"), "that nobody answers is no reason to come back"
        front.error = None
        front.facts = machine()
        took = await house.until(lambda: house.status["serving"] == "desk", seconds=400)
        assert took >= 120
        assert yielding(house) == ("False", "Hosting")
        assert [serving for _, serving in house.changes if serving] == ["desk", "rack", "desk"]

    story(house, body)


def test_a_machine_that_tells_nothing_serves_and_says_so(house: House) -> None:
    async def body(house: House) -> None:
        house.desk.error = HttpStatusError(method="GET", url="u", status=404, text="")  # type: ignore[attr-defined]
        await house.settle()
        await house.until(lambda: yielding(house) == ("Unknown", "MachineSilent"), seconds=90)

    story(house, body)
