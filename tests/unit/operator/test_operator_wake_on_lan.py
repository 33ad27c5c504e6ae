"""Wake-on-LAN: who is woken, when and how often, what is said of it; the rule on its own, and in virtual time."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearth_api.conditions import Condition, ConditionStatus, ConditionType
from hearth_api.kinds.node import Availability, InferenceNodeStatus, OwnerHours, WakeStatus
from hearth_api.reasons import Reason
from hearth_operator import names
from hearth_operator.clients.http import HttpStatusError
from hearth_operator.errors import UnreachableError
from hearth_operator.facts import EndpointFacts, PodFacts, Reach, WakeFacts
from hearth_operator.plan.capacity import place
from hearth_operator.plan.guest import Phase, Stay
from hearth_operator.plan.wake_on_lan import EVERY, GRACE, PAUSE, TRIES, Waking, models_in_need, owners_claim
from hearth_operator.reconcile.observe import Fleet
from hearth_operator.reconcile.wake_on_lan import wake_where_due
from hearth_operator.reconcile.world import WakeWatch
from hearth_operator.status.node import judge_reach
from hearth_operator.status.wake_on_lan import say_wake
from support.fake_kube import as_stored
from support.operator_gen import external_node, managed_node, model, variant
from support.operator_still import NOW, StillKube, still_context
from unit.operator.test_operator_truth import SECRET, House, Machine, quiet, story

__all__ = ["quiet"]
MAC = "aa:bb:cc:dd:ee:ff"
GRACE_SECONDS = GRACE.total_seconds()
MINUTE = timedelta(minutes=1)


# --- the rule


@given(st.lists(st.tuples(st.integers(0, 2000), st.booleans()), max_size=120))
def test_never_more_often_than_promised(looks: list[tuple[int, bool]]) -> None:
    waking, now, sent, tried = Waking(), NOW, [], []
    for seconds, answers in looks:
        now += timedelta(seconds=seconds)
        if waking.wait(asked=False, now=now):
            continue
        waking = waking.after("" if answers else "no answer", now=now)
        tried.append(now)
        sent += [now] if answers else []
        assert waking.sent == len(sent)
        assert bool(waking.trouble) is not answers
    assert all(later - sooner >= EVERY for sooner, later in pairwise(tried))
    for number in range(TRIES, len(sent), TRIES):
        assert sent[number] - sent[number - 1] >= PAUSE


def test_the_wait_ends_when_it_is_over_and_no_later() -> None:
    waking = Waking().after("", now=NOW)
    assert waking.wait(asked=False, now=NOW + timedelta(seconds=59)) == timedelta(seconds=1)
    assert not waking.wait(asked=False, now=NOW + EVERY)
    round_over = Waking(sent=TRIES, sent_at=NOW, tried_at=NOW)
    assert round_over.wait(asked=False, now=NOW + EVERY) == PAUSE - EVERY
    assert not round_over.wait(asked=False, now=NOW + PAUSE)


def test_who_asks_waits_a_minute_at_most() -> None:
    waking = Waking(sent=TRIES, sent_at=NOW, tried_at=NOW)
    assert waking.wait(asked=True, now=NOW) == EVERY
    assert not waking.wait(asked=True, now=NOW + EVERY)


def test_a_clock_that_is_set_back_holds_nothing_up() -> None:
    waking = Waking(sent=TRIES, sent_at=NOW, tried_at=NOW)
    assert not waking.wait(asked=False, now=NOW - timedelta(days=1))


def in_need(*models: Any) -> tuple[str, ...]:
    nodes = {"desk": external_node("desk"), "home": managed_node("home", memory="8Gi", cpu="4")}
    placed = place(models, nodes, ready={"home"})
    return tuple(m.metadata.name for m in models_in_need("desk", models, placed, now=NOW))


def test_a_model_needs_a_machine_that_has_its_variant_while_none_serves() -> None:
    on_desk, at_home = variant("desk", node="desk"), variant("cpu", node="home")
    assert in_need(model("chat", on_desk)) == ("chat",)
    assert in_need(model("chat", at_home, on_desk)) == ("chat",)
    assert in_need(model("chat", at_home)) == ()
    assert in_need(model("chat", on_desk, suspend=True)) == ()
    assert in_need(model("chat", at_home, on_desk, status={"serving": "cpu"})) == ()
    assert in_need(model("chat", variant("desk", node="desk", memory="900Gi"))) == (), "it would not fit there"


@pytest.mark.parametrize(
    ("status", "since", "needs"),
    [
        ("False", GRACE, True),
        ("False", GRACE - timedelta(seconds=1), False),
        ("Unknown", GRACE, True),
        ("True", GRACE, False),
    ],
)
def test_a_restart_elsewhere_wakes_nobody(status: str, since: timedelta, needs: bool) -> None:
    chat = model("chat", variant("cpu", node="home"), variant("desk", node="desk"))
    told = Condition(
        type=ConditionType.AVAILABLE,
        status=ConditionStatus(status),
        reason="NoVariantAvailable",
        message="",
        observed_generation=1,
        last_transition_time=NOW - since,
    )
    assert in_need(chat.model_copy(update={"status": chat.status.model_copy(update={"conditions": (told,)})})) == (
        ("chat",) if needs else ()
    )


def test_a_model_whose_name_is_anothers_needs_nothing() -> None:
    older = model("a", variant("desk", node="desk"), aliases=["gpt"], status={"serving": "desk"})
    newer = model("b", variant("desk", node="desk"), aliases=["gpt"], created="2026-11-01T00:00:00Z")
    assert in_need(older, newer) == ()


HOURS = Availability(
    owner_active_seconds=60, return_seconds=300, hours=(OwnerHours(begin="18:00", end="23:00"),)
)  # of UTC


def claim(stay: Stay | None = None, *, gone: timedelta = timedelta(0), now: datetime = NOW) -> str | None:
    return owners_claim(HOURS, stay or Stay(), gone_since=now - gone, now=now)


def away(reason: Reason, **more: Any) -> Stay:
    return Stay(phase=Phase.AWAY, reason=reason, message="a game", since=NOW, **more)


def test_whose_a_sleeping_machine_is() -> None:
    assert owners_claim(None, Stay(), gone_since=NOW, now=NOW) is None
    assert claim() is None
    assert "18:00 to 23:00" in (claim(now=NOW.replace(hour=18)) or "")
    assert claim(away(Reason.OWNER_ACTIVE), gone=timedelta(seconds=299)), "he has just put it to sleep"
    assert claim(away(Reason.OWNER_ACTIVE), gone=timedelta(seconds=300)) is None, "nobody sits at a sleeping machine"
    assert claim(away(Reason.OWNER_HOURS), gone=timedelta(days=1)) is None
    for kept in (Reason.GPU_IN_USE, Reason.MEMORY_SHORT, Reason.ON_BATTERY):
        assert claim(away(kept), gone=timedelta(days=9)), "a sleep ends no game"
        assert claim(away(kept, quiet_since=NOW - timedelta(seconds=299)))
        assert claim(away(kept, quiet_since=NOW - timedelta(seconds=300))) is None


def test_a_zone_that_nobody_knows_is_no_leave_to_wake() -> None:
    mars = HOURS.model_copy(update={"time_zone": "Mars/Base"})
    with pytest.raises(ValueError, match="Mars/Base"):
        owners_claim(mars, Stay(), gone_since=NOW, now=NOW)


# --- what is said


def test_what_is_said() -> None:
    at = datetime(2026, 11, 23, 12, 5, tzinfo=UTC)
    assert say_wake(WakeFacts(sender="studio")) == ""
    assert say_wake(WakeFacts(sender="studio", sent=1, last_sent=at)) == "woken once by studio, last at 12:05:00Z"
    paused = say_wake(WakeFacts(sender="studio", sent=5, last_sent=at, pause_until=at + PAUSE))
    assert paused.startswith(
        "woken 5 times by studio, last at 12:05:00Z; tried again at 12:35:00Z: see that wake-on-LAN"
    )
    assert "spec.wake.macAddress" in paused
    assert "cannot be woken now: it is off" in say_wake(WakeFacts(sender="studio", trouble="it is off"))
    for reach in Reach:
        said = judge_reach(
            EndpointFacts(reach=reach, message="no answer"),
            PodFacts(),
            pin={},
            machines=1,
            managed=False,
            seen=True,
            wake=WakeFacts(sender="studio", sent=1, last_sent=at),
        )
        assert ("woken once" in said.message) is (reach is Reach.OFFLINE)


# --- in the operator


class Sender:
    """The Mac that is always on, as it is asked."""

    def __init__(self) -> None:
        self.sent: list[tuple[float, str, str]] = []
        self.asked: list[float] = []
        self.error: Exception | None = None

    async def wake(self, mac: str, broadcast: str) -> None:
        now = asyncio.get_running_loop().time()
        self.asked.append(now)
        if self.error is not None:
            raise self.error
        self.sent.append((now, mac, broadcast))


class Sleeper:
    """The front of the machine that sleeps."""

    async def machine(self) -> Any:
        raise UnreachableError("Unreachable", "no answer in time")

    async def certificate(self, _now: datetime) -> Any:
        raise UnreachableError("Unreachable", "no answer in time")


class Home(House):
    """A machine that sleeps, perhaps another one that serves the same model, and one that can wake."""

    def __init__(self, *, machines: tuple[str, ...] = ("desk",), wake: Any = None, **spec: Any) -> None:
        spec["wake"] = {"macAddress": MAC, "senderRef": {"name": "studio"}} | (wake or {})
        desk = external_node("desk", external=addresses("desk"), accelerator={"type": "CUDA", "memory": "24Gi"}, **spec)
        super().__init__(names=machines, nodes=[desk])
        studio = as_stored(external_node("studio", external=addresses("studio")))
        self.kube.objects["InferenceNode", "studio"] = studio
        self.kube.objects["Secret", "hearth-ray-studio"] = SECRET | {"metadata": {"name": "hearth-ray-studio"}}
        self.machines["studio"] = Machine("studio")
        self.serving = machines
        self.sender, self.sleeper = Sender(), Sleeper()
        self.front = lambda url, _access: self.sender if "studio" in url else self.sleeper

    async def settle(self) -> None:
        """Wait until every variant is available, and a minute more."""
        await self.until(lambda: all(self.variant(n)[0] == "Available" for n in self.serving), seconds=120)
        await asyncio.sleep(60)

    @property
    def desk(self) -> Any:
        return self.kube.objects["InferenceNode", "desk"]

    @property
    def said(self) -> str:
        conditions = (self.desk.get("status") or {}).get("conditions", ())
        return next((f"{c['status']} {c['message']}" for c in conditions if c["type"] == "Reachable"), "")

    def annotate(self, value: str) -> None:
        self.desk["metadata"]["annotations"] = {names.ANNOTATION_WAKE: value}

    def events(self) -> list[str]:
        return [event["message"] for event in self.kube.posted if event["reason"] == "WakeSent"]


def addresses(name: str) -> dict[str, Any]:
    return {
        "dashboardURL": f"https://hearth-node-{name}.lan:8265",
        "serveURL": f"https://hearth-node-{name}.lan:8000",
        "raySecretRef": {"name": f"hearth-ray-{name}"},
        "serveSecretRef": {"name": f"hearth-serve-{name}"},
        "rayNodeLabels": {"hearth-node": name},
    }


async def fall_asleep(home: Home) -> float:
    """Put the desk to sleep and wait until that is seen; return when it was."""
    home.machines["desk"].asleep = True
    await home.until(lambda: home.said.startswith("Unknown"), seconds=25)
    return home.loop.time()


def tell(home: Home, body: Callable[[Any], Any]) -> None:
    story(home, body)


def test_five_tries_a_minute_apart_then_a_long_pause_and_a_fresh_count_when_it_was_back() -> None:
    async def body(home: Home) -> None:
        await home.settle()
        await asyncio.sleep(600)
        assert home.sender.asked == []
        asleep = await fall_asleep(home)
        await home.until(lambda: bool(home.sender.sent), seconds=GRACE_SECONDS + 30)
        await home.until(lambda: "woken once by studio, last at" in home.said, seconds=1)
        await asyncio.sleep(25 * 60)
        times = [at for at, _, _ in home.sender.sent]
        assert len(times) == 5
        assert all(60 <= later - sooner < 62 for sooner, later in pairwise(times))
        assert {sent[1:] for sent in home.sender.sent} == {(MAC, "255.255.255.255")}
        assert "woken 5 times by studio" in home.said
        assert "see that wake-on-LAN is on" in home.said
        assert home.desk["status"]["wake"]["sent"] == 5
        writes = len(home.kube.writes)
        await home.until(lambda: len(home.sender.sent) == 6, seconds=600)
        assert 30 * 60 <= home.sender.sent[5][0] - times[4] < 30 * 60 + 16
        assert len(home.kube.writes) - writes <= 1, "nothing is written while nothing is done"
        assert home.events() == [
            "Reachable: studio sent the magic packet for desk: no other variant of model chat serves"
        ]
        home.machines["desk"].asleep = False
        await home.until(lambda: home.status.get("serving") == "desk", seconds=60)
        await home.until(lambda: home.said.startswith("True"), seconds=10)
        assert "wake" not in home.desk["status"]
        again = await fall_asleep(home)
        await home.until(lambda: len(home.sender.sent) == 7, seconds=GRACE_SECONDS + 30)
        await home.until(lambda: "woken once" in home.said, seconds=5)
        assert len(home.events()) == 2
        assert again > asleep

    tell(Home(), body)


def test_it_sleeps_while_another_machine_serves_and_is_woken_when_that_one_fails() -> None:
    async def body(home: Home) -> None:
        await home.settle()
        await fall_asleep(home)
        await home.until(lambda: home.status["serving"] == "rack", seconds=15)
        await asyncio.sleep(900)
        assert home.sender.asked == []
        assert "woken" not in home.said
        home.machines["rack"].dead = True
        await home.until(lambda: bool(home.sender.sent), seconds=GRACE_SECONDS + 40)

    tell(Home(machines=("desk", "rack")), body)


def test_it_is_not_woken_in_its_owners_hours() -> None:
    async def body(home: Home) -> None:
        await home.settle()
        await fall_asleep(home)
        await home.until(
            lambda: "not woken for its models now: 05:00 to 07:00" in home.said, seconds=GRACE_SECONDS + 20
        )
        await asyncio.sleep(50 * 60)
        assert home.sender.asked == []
        await home.until(lambda: bool(home.sender.sent), seconds=15 * 60)
        assert home.ctx.now() - NOW.replace(hour=7) < MINUTE
        await home.until(lambda: "woken once" in home.said and "owner" not in home.said, seconds=5)

    hours = {"hours": [{"begin": "05:00", "end": "07:00"}]}
    assert NOW.hour == 6
    tell(Home(availability=hours), body)


def test_who_asks_gets_one_packet_for_each_value_also_where_nothing_else_wakes() -> None:
    async def body(home: Home) -> None:
        await home.settle()
        home.annotate("awake")
        await home.until(lambda: home.desk["status"].get("lastWake") == "awake", seconds=70)
        assert home.sender.asked == [], "it is awake"
        await fall_asleep(home)
        await asyncio.sleep(600)
        assert home.sender.asked == []
        for number, value in enumerate(("1", "2"), start=1):
            home.annotate(value)
            await home.until(lambda value=value: home.desk["status"].get("lastWake") == value, seconds=20)
            assert len(home.sender.sent) == number
            await asyncio.sleep(600)
            assert len(home.sender.sent) == number
        assert home.sender.sent[0][1:] == (MAC, "10.10.12.255")
        assert home.events() == ["Reachable: studio sent the magic packet for desk: somebody asked by annotation"] * 2

    tell(Home(wake={"policy": "Never", "broadcastAddress": "10.10.12.255"}), body)


def test_a_sender_that_sleeps_too_is_said_and_nothing_counts_as_sent() -> None:
    async def body(home: Home) -> None:
        await home.settle()
        home.sender.error = UnreachableError("Unreachable", "no answer in time")
        await fall_asleep(home)
        await home.until(lambda: "studio" in home.said, seconds=GRACE_SECONDS + 30)
        assert "cannot be woken now" in home.said
        assert "does not answer: it must be awake itself" in home.said
        home.annotate("now")
        await asyncio.sleep(1200)
        asked = home.sender.asked
        assert all(later - sooner >= 60 for sooner, later in pairwise(asked))
        assert len(asked) > 15, "it may come back at any time"
        assert home.sender.sent == []
        assert "wake" not in home.desk["status"]
        assert "lastWake" not in home.desk["status"]
        assert home.events() == []
        home.sender.error = None
        await home.until(lambda: "woken once" in home.said, seconds=70)
        assert "cannot be woken" not in home.said
        assert home.desk["status"]["lastWake"] == "now"
        counted = home.ctx.world.wakes["desk"].counts
        assert counted == {"sent": 1, "failed": len(asked) - 1}

    tell(Home(), body)


def refusal(status: int, message: str) -> HttpStatusError:
    return HttpStatusError(method="POST", url="u", status=status, text=json.dumps({"error": {"message": message}}))


def lose(kind: str, name: str) -> Callable[[Home], None]:
    return lambda home: home.kube.objects.pop((kind, name))


def leave(home: Home) -> None:
    home.kube.objects["InferenceNode", "studio"]["spec"]["external"]["dashboardURL"] = "http://studio:8265"


def fail(error: Exception) -> Callable[[Home], None]:
    return lambda home: setattr(home.sender, "error", error)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lose("Secret", "hearth-ray-studio"),
            "cannot be asked: Secret hearth-ray-studio with the entry token does not",
        ),
        (lose("InferenceNode", "studio"), "does not exist"),
        (leave, "is no machine that joined (hack/node/join)"),
        (fail(refusal(404, "There is no such path.")), "run hack/node/upgrade there"),
        (fail(refusal(400, "10.0.0.9 is no broadcast address.")), "refused: 10.0.0.9 is no broadcast address."),
        (fail(HttpStatusError(method="POST", url="u", status=502, text="<html>")), "its answer is not that of"),
    ],
)
def test_why_it_cannot_be_woken_is_told_with_the_remedy(spoil: Callable[[Home], None], said: str) -> None:
    async def body(home: Home) -> None:
        await home.settle()
        spoil(home)
        await fall_asleep(home)
        await home.until(lambda: said in home.said, seconds=GRACE_SECONDS + 30)
        assert "InferenceNode studio (spec.wake.senderRef)" in home.said
        assert home.sender.sent == []

    tell(Home(), body)


def test_who_has_just_put_it_to_sleep_is_not_contradicted() -> None:
    async def body(home: Home) -> None:
        await home.settle()
        played = Stay(phase=Phase.AWAY, reason=Reason.OWNER_ACTIVE, message="somebody used it", since=home.ctx.now())
        home.ctx.world.guests["desk"].stay = played
        asleep = await fall_asleep(home)
        await home.until(lambda: "somebody used it, by what it told last" in home.said, seconds=GRACE_SECONDS + 20)
        await home.until(lambda: bool(home.sender.sent), seconds=200)
        assert 119 <= home.sender.sent[0][0] - asleep < 140

    tell(Home(availability={"ownerActiveSeconds": 60, "returnSeconds": 120}), body)


def test_a_node_that_is_suspended_or_has_no_model_sleeps_on() -> None:
    async def body(home: Home) -> None:
        await home.until(lambda: home.said.startswith("True"), seconds=30)
        await fall_asleep(home)
        await asyncio.sleep(1800)
        assert home.sender.asked == []

    tell(Home(suspend=True), body)
    idle = Home()
    idle.kube.objects["ModelDeployment", "chat"]["spec"]["suspend"] = True
    tell(idle, body)


@pytest.mark.parametrize(("minutes", "sent"), [(10, 0), (29, 0), (31, 1)])
async def test_a_new_operator_goes_on_with_the_pause_of_the_former_one(minutes: int, sent: int) -> None:
    home = Home()
    told = WakeStatus(sent=5, last_sent=NOW - minutes * MINUTE)
    desk = external_node("desk", wake={"macAddress": MAC, "senderRef": {"name": "studio"}})
    desk = desk.model_copy(update={"status": InferenceNodeStatus(wake=told, last_wake="1")})
    desk = desk.model_copy(
        update={"metadata": desk.metadata.model_copy(update={"annotations": {names.ANNOTATION_WAKE: "1"}})}
    )
    chat = model("chat", variant("desk", node="desk"))
    studio = external_node("studio", external=addresses("studio"))
    kube = StillKube(home.kube.objects.values())
    ctx = still_context(kube, clock=lambda: 0.0, front=home.front)
    fleet = Fleet(nodes={"desk": desk, "studio": studio}, models=(chat,))
    found = await wake_where_due(ctx, as_stored(desk), desk, facts=EndpointFacts(reach=Reach.OFFLINE), fleet=fleet)
    assert len(home.sender.sent) == sent
    assert (found.sent, found.acted) == (5 + sent, "1")
    assert kube.posted == [], "the former one told"


async def test_nothing_is_sent_for_a_machine_of_which_nothing_is_known() -> None:
    home = Home()
    desk = external_node("desk", wake={"macAddress": MAC, "senderRef": {"name": "studio"}})
    ctx = still_context(home.kube, clock=lambda: 0.0, front=home.front)
    fleet = Fleet(nodes={"desk": desk}, models=(model("chat", variant("desk", node="desk")),))
    for reach in set(Reach) - {Reach.OFFLINE}:
        await wake_where_due(ctx, as_stored(desk), desk, facts=EndpointFacts(reach=reach), fleet=fleet)
    assert home.sender.asked == []


async def test_a_node_that_is_no_longer_to_be_woken_keeps_what_was_acted_upon() -> None:
    home = Home()
    desk = external_node("desk").model_copy(update={"status": InferenceNodeStatus(last_wake="1")})
    ctx = still_context(home.kube, clock=lambda: 0.0, front=home.front)
    ctx.world.wakes["desk"] = WakeWatch()
    fleet = Fleet(nodes={"desk": desk}, models=(model("chat", variant("desk", node="desk")),))
    found = await wake_where_due(ctx, as_stored(desk), desk, facts=EndpointFacts(reach=Reach.OFFLINE), fleet=fleet)
    assert found == WakeFacts(acted="1")
    assert ctx.world.wakes == {}
    assert home.sender.asked == []
