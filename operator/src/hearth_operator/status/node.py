"""Status of an InferenceNode."""

import re
from collections.abc import Iterable
from datetime import datetime

from hearth_api.conditions import ConditionType
from hearth_api.kinds import InferenceNode
from hearth_api.kinds.node import InferenceNodeStatus, NodeCapacity, PlannedCapacity, WakeStatus
from hearth_api.quantities import format_bytes, format_millicores
from hearth_api.reasons import Reason
from hearth_operator.facts import EndpointFacts, GuestFacts, PodFacts, Reach, WakeFacts
from hearth_operator.status.conditions import Verdict, false, true, unknown, write_conditions
from hearth_operator.status.guest import judge_guest
from hearth_operator.status.messages import plain
from hearth_operator.status.wake_on_lan import say_wake

OLDEST = (2, 54)
TESTED = (2, 60)
_VERSION_LENGTH = 64
_NO_WAKE = WakeFacts()
_VERSION = re.compile(r"^(\d+)\.(\d+)")


def parse_version(text: str) -> tuple[int, int] | None:
    """Return major and minor of a Ray version."""
    match = _VERSION.match(text)
    return (int(match[1]), int(match[2])) if match else None


def judge_version(text: str) -> Verdict:
    """Return RayVersionSupported: an older Ray drops label_selector silently and un-pins every model."""
    version = parse_version(text)
    if version is None:
        return unknown(Reason.NOT_OBSERVED, "Ray has not told its version yet")
    if version[0] != OLDEST[0] or version < OLDEST:
        return false(Reason.VERSION_UNSUPPORTED, f"Ray {text} runs there; {OLDEST[0]}.{OLDEST[1]} or later is needed")
    if version != TESTED:
        return true(Reason.VERSION_DIFFERS, f"Ray {text} runs there; Hearth is tested with {TESTED[0]}.{TESTED[1]}")
    return true(Reason.VERSION_SUPPORTED, f"Ray {text}")


def live_raylets(facts: EndpointFacts, pin: dict[str, str]) -> int:
    """Return how many live raylets carry the labels that pin applications to the node."""
    return sum(r.alive and pin.items() <= dict(r.labels).items() for r in facts.raylets)


def judge_reach(
    facts: EndpointFacts,
    pod: PodFacts,
    *,
    pin: dict[str, str],
    machines: int,
    managed: bool,
    seen: bool,
    wake: WakeFacts = _NO_WAKE,
) -> Verdict:
    """Return Reachable. What does not answer is Unknown: nothing is known of the models there."""
    if facts.reach is Reach.REFUSED:
        return false(Reason.AUTHENTICATION_FAILED, facts.message)
    if facts.reach is Reach.NO_SECRET:
        return false(Reason.SECRET_NOT_FOUND, facts.message)
    if facts.reach is Reach.GARBLED:
        return unknown(Reason.UNEXPECTED_ANSWER, facts.message)
    if facts.reachable:
        alive = live_raylets(facts, pin)
        if not alive:
            wanted = ",".join(f"{k}={v}" for k, v in sorted(pin.items())) or "any"
            return false(Reason.RAY_NODE_NOT_FOUND, f"Ray answers, but no live raylet has the labels {wanted}")
        if alive < machines:
            return true(Reason.RAY_NODES_MISSING, f"Ray answers; {alive} of its {machines} nodes here are alive")
        return true(Reason.REACHABLE, "Ray answers")
    if managed and pod.failure is not None:
        return false(Reason.POD_FAILED, pod.failure)
    if managed and not seen:
        return unknown(Reason.NODE_STARTING, "Ray's pod was made and does not answer yet")
    if facts.reach is Reach.NOT_OBSERVED:
        return unknown(Reason.NOT_OBSERVED, "not asked yet")
    said = facts.message or "Ray does not answer"
    woken = say_wake(wake)
    return unknown(Reason.NODE_OFFLINE, f"{said}; {woken}" if woken else said)


def node_status(
    node: InferenceNode,
    *,
    facts: EndpointFacts,
    pod: PodFacts,
    pin: dict[str, str],
    urls: tuple[str, str],
    memory: int | None,
    millicores: int | None,
    planned: int,
    models: Iterable[str],
    now: datetime,
    last_restart: str | None = None,
    guest: GuestFacts | None = None,
    wake: WakeFacts = _NO_WAKE,
) -> InferenceNodeStatus:
    """Return the status. `urls` are dashboard and Serve; memory in bytes."""
    generation = node.metadata.generation
    managed = node.spec.managed is not None
    machines = node.spec.external.ray_nodes if node.spec.external is not None else 1
    seen = node.status.ray_version is not None
    verdicts = {
        ConditionType.REACHABLE: judge_reach(
            facts, pod, pin=pin, machines=machines, managed=managed, seen=seen, wake=wake
        ),
        ConditionType.RAY_VERSION_SUPPORTED: judge_version(facts.version or node.status.ray_version or ""),
    }
    if guest is not None:
        verdicts[ConditionType.YIELDING] = judge_guest(guest)
    if facts.taken:
        verdicts[ConditionType.READY] = false(Reason.ENDPOINT_TAKEN, facts.taken)
    if node.spec.suspend:
        verdicts[ConditionType.READY] = false(Reason.SUSPENDED, "spec.suspend is true")
    conditions = write_conditions(
        verdicts,
        before=node.status.conditions,
        required=(ConditionType.REACHABLE, ConditionType.RAY_VERSION_SUPPORTED),
        generation=generation,
        now=now,
    )
    return InferenceNodeStatus(
        observed_generation=generation,
        conditions=conditions,
        ray_version=plain(facts.version, limit=_VERSION_LENGTH) or node.status.ray_version,
        dashboard_url=urls[0],
        serve_url=urls[1],
        allocatable=NodeCapacity(
            memory=format_bytes(memory) if memory is not None else None,
            cpu=format_millicores(millicores) if millicores is not None else None,
        ),
        planned=PlannedCapacity(memory=format_bytes(planned)),
        models=tuple(sorted(models)),
        last_restart=last_restart,
        wake=WakeStatus(sent=wake.sent, last_sent=wake.last_sent.replace(microsecond=0))
        if wake.last_sent is not None
        else None,
        last_wake=wake.acted,
    )


def node_ready(facts: EndpointFacts, node: InferenceNode, pin: dict[str, str]) -> bool:
    """Whether the node may take a model now."""
    version = parse_version(facts.version)
    return (
        not node.spec.suspend
        and facts.reachable
        and version is not None
        and version[0] == OLDEST[0]
        and version >= OLDEST
        and live_raylets(facts, pin) > 0
    )
