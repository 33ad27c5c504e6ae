"""A machine goes and comes back: who asks is answered all the time, and what still runs is left alone."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from support.cluster import Cluster
from support.machines import RayEye, Seen, Watcher, asleep, boot_control, crash_control, past_the_gateway
from support.pair import STABLE_SECONDS, states, wait_whole
from support.requester import Requester, longest, order_of_variants, through_gateway

TOLD_SECONDS = 15.0
"""From the moment a machine falls asleep to a status that says so."""
STUCK_SECONDS = 20.0
"""Longest that a request waits which was on its way to the machine when it fell asleep."""
RETURN_SECONDS = 60.0
"""From waking to the preferred variant serving again, its time of probation included."""
GATEWAY_SECONDS = 90.0
"""From the crash of the whole control plane to the gateway's first answer, less the time its start took."""


def on_fallback(seen: Seen) -> bool:
    return (seen.degraded, seen.reason, seen.serving) == ("True", "FallbackServing", "rack")


def on_preferred(seen: Seen) -> bool:
    return (seen.degraded, seen.serving) == ("False", "desk")


@pytest.mark.timeout(300)
def test_a_node_goes_to_sleep_and_comes_back(cluster: Cluster) -> None:
    wait_whole(cluster)
    with Watcher(cluster, "pair") as watcher, Requester(through_gateway(cluster, "pair")) as requester:
        cluster.wait_for("answers", lambda: len(requester.answers()) >= 10, seconds=30, every=0.2)
        with asleep(cluster, "studio") as slept:
            told = cluster.wait_for(
                "the status tells it", lambda: watcher.first(on_fallback, since=slept), seconds=40, every=0.2
            )
            assert cluster.condition("modeldeployment", "pair", "Ready")["status"] == "True"

            def gone() -> bool:
                node = cluster.condition("inferencenode", "studio", "Ready")
                return (node["status"], node["reason"]) == ("Unknown", "NodeOffline") and states(cluster, "pair") == {
                    "desk": "Unreachable",
                    "rack": "Available",
                }

            # The model's own port may be silent before Ray's heartbeat is missed twice.
            cluster.wait_for("the machine is told to be away", gone, seconds=TOLD_SECONDS, every=0.5)
            time.sleep(3)
        woke = time.monotonic()
        back = cluster.wait_for(
            "the preferred one serves again", lambda: watcher.first(on_preferred, since=woke), seconds=90, every=0.2
        )
        time.sleep(10)
        end = time.monotonic()
    stuck = requester.answers(since=slept - 5, until=told.at)
    settled = requester.answers(since=told.at + 2, until=back.at)
    returned = requester.answers(since=back.at + 2, until=end)
    print(
        f"\ntold after {told.at - slept:.1f} s, longest wait {longest(stuck):.1f} s, back {back.at - woke:.1f} s after"
        f" waking; {len(requester.answers())} answers, {len(requester.failures())} failed"
    )
    assert requester.failures() == []
    assert told.at - slept <= TOLD_SECONDS
    assert longest(stuck) <= STUCK_SECONDS
    assert STABLE_SECONDS <= back.at - woke <= RETURN_SECONDS
    assert order_of_variants(settled) == ["rack"]
    # A slot that is taken sends the next request to the other build; that is not flapping, the status is.
    assert sum(answer.reply.variant == "desk" for answer in returned) >= 0.9 * len(returned) > 0
    assert watcher.serving() == ["desk", "rack", "desk"]


@pytest.mark.timeout(400)
def test_the_control_plane_reboots_while_models_serve(
    cluster: Cluster, eyes: dict[str, RayEye], replicas: Callable[..., dict[str, Any]]
) -> None:
    """API server, kubelet and their kin, operator, gateway, knowledge and proxy end at once and start again."""
    wait_whole(cluster)
    before, given = replicas(), {n: a.deployed for eye in eyes.values() for n, a in eye.applications().items()}
    desk = past_the_gateway(cluster, "pair", "desk", node="studio")
    rack = past_the_gateway(cluster, "pair", "rack", node="gpu")
    front = through_gateway(cluster, "pair")
    with Requester(desk, every=1) as at_desk, Requester(rack, every=1) as at_rack, Requester(front) as at_front:
        cluster.wait_for("answers", lambda: len(at_front.answers()) >= 3, seconds=30, every=0.2)
        crashed = time.monotonic()
        crash_control(cluster, "hearth-operator", "hearth-gateway", "hearth-knowledge", "hearth-egress")
        boot_control(cluster)
        booted = time.monotonic()

        def answered() -> float | None:
            good = [a for a in at_front.answers(since=crashed + 2) if not a.failed]
            return good[0].sent + good[0].seconds if good else None

        first = cluster.wait_for("the gateway answers again", answered, seconds=150, every=0.5)
        for app in ("hearth-operator", "hearth-knowledge", "hearth-egress"):
            cluster.kubectl("rollout", "status", f"deployment/{app}", "--timeout=120s")
        for model in ("pair", "chat", "embed"):
            cluster.wait_ready("modeldeployment", model, seconds=120)
        time.sleep(10)  # whatever the operator would do on its first looks is done by now
        end = time.monotonic()
    print(
        f"\nbooted after {booted - crashed:.1f} s, the gateway answered {first - booted:.1f} s later;"
        f" {len(at_desk.answers())} and {len(at_rack.answers())} answers past it"
    )
    assert at_desk.failures() == []
    assert at_rack.failures() == []
    assert first - booted <= GATEWAY_SECONDS
    assert at_front.failures(since=first + 5, until=end) == []
    assert replicas() == before
    now = {n: a.deployed for eye in eyes.values() for n, a in eye.applications().items()}
    assert now == given, "nothing was put"
    cluster.wait_ready("knowledgebase", "work", seconds=120)
