"""Waking a machine that sleeps: another one that joined, in the same network, is asked to send the magic packet."""

import json
from dataclasses import replace
from datetime import datetime

import structlog

from hearth_api.conditions import Condition, ConditionStatus, ConditionType, find_condition
from hearth_api.kinds import InferenceNode, ModelDeployment
from hearth_api.kinds.node import WakeOnLan, WakePolicy
from hearth_operator.clients.http import HttpStatusError
from hearth_operator.errors import NotYetError, OperatorError
from hearth_operator.facts import EndpointFacts, Reach, WakeFacts
from hearth_operator.manifests.base import Manifest
from hearth_operator.plan.wake_on_lan import Waking, asked_wake, models_in_need, owners_claim
from hearth_operator.reconcile.context import Context
from hearth_operator.reconcile.observe import Fleet
from hearth_operator.reconcile.placing import glance_at_placements
from hearth_operator.reconcile.report import post_event
from hearth_operator.reconcile.secrets import node_urls, ray_access
from hearth_operator.reconcile.world import WakeWatch

log = structlog.get_logger(__name__)
_AWAKE = frozenset({Reach.REACHABLE, Reach.REFUSED, Reach.GARBLED})
_CANNOT = frozenset({404, 405, 501})
"""Ray itself answers, or a release from before."""
EVENT = "WakeSent"


async def wake_where_due(
    ctx: Context, raw: Manifest, node: InferenceNode, *, facts: EndpointFacts, fleet: Fleet
) -> WakeFacts:
    """Wake the machine of a node where that is due now; return how it stands, for the status."""
    wake, asked = node.spec.wake, asked_wake(node)
    if wake is None:
        forget_wakes(ctx, node.metadata.name)
        return WakeFacts(acted=node.status.last_wake)
    watch = _watch(ctx, node)
    if facts.reach in _AWAKE:
        watch.waking, watch.news, watch.acted = Waking(), "", asked or watch.acted
        return WakeFacts(acted=watch.acted)
    needed, claim = _demand(ctx, node, fleet, asleep=facts.reach is Reach.OFFLINE)
    pending = asked is not None and asked != watch.acted and facts.reach is Reach.OFFLINE
    wanted = pending or (bool(needed) and claim is None)
    if not wanted:
        watch.waking = replace(watch.waking, trouble="")
    elif not watch.waking.wait(asked=pending, now=ctx.now()):
        first, why = not watch.waking.sent, "somebody asked by annotation" if pending else _why(needed)
        await _try(ctx, node, wake, watch, fleet, why=why)
        if not watch.waking.trouble:
            watch.acted = asked if pending else watch.acted
            if first or pending:
                watch.news = f"{wake.sender_ref.name} sent the magic packet for {node.metadata.name}: {why}"
    if watch.news:
        await post_event(ctx, raw, _news(node, watch.news, now=ctx.now()), warning=False)
        watch.news = ""
    pending = pending and asked != watch.acted
    now = ctx.now()
    again = watch.waking.wait(asked=pending, now=now)
    paused = watch.waking.pauses and bool(needed) and claim is None
    return WakeFacts(
        sender=wake.sender_ref.name,
        sent=watch.waking.sent,
        last_sent=watch.waking.sent_at,
        trouble=watch.waking.trouble,
        pause_until=now + again if paused else None,
        claim=claim or "",
        acted=watch.acted,
        next_in=again.total_seconds() if wanted else None,
    )


def forget_wakes(ctx: Context, node: str) -> None:
    """Forget what was sent."""
    ctx.world.wakes.pop(node, None)


def _watch(ctx: Context, node: InferenceNode) -> WakeWatch:
    """Return what is remembered; a new operator goes on where the status says that the former one was."""
    watch = ctx.world.wakes.get(node.metadata.name)
    if watch is None:
        waking, told = Waking(), node.status.wake
        if told is not None:
            waking = Waking(sent=told.sent, sent_at=told.last_sent, tried_at=told.last_sent)
        watch = ctx.world.wakes[node.metadata.name] = WakeWatch(waking=waking, acted=node.status.last_wake)
    return watch


def _demand(
    ctx: Context, node: InferenceNode, fleet: Fleet, *, asleep: bool
) -> tuple[tuple[ModelDeployment, ...], str | None]:
    """Return the models that need a machine, and why it is left asleep for its owner all the same."""
    name, wake = node.metadata.name, node.spec.wake
    if not asleep or node.spec.suspend or wake is None or wake.policy is not WakePolicy.ON_DEMAND:
        return (), None
    now = ctx.now()
    needed = models_in_need(name, fleet.models, glance_at_placements(ctx, fleet), now=now)
    if not needed:
        return (), None
    told = find_condition(node.status.conditions, ConditionType.REACHABLE)
    gone_since = now if told is None or told.status is ConditionStatus.TRUE else told.last_transition_time
    try:
        return needed, owners_claim(node.spec.availability, ctx.world.stay(name), gone_since=gone_since, now=now)
    except ValueError as error:  # nobody knows when it is its owner's
        return needed, str(error)


def _why(needed: tuple[ModelDeployment, ...]) -> str:
    first = f"no other variant of model {needed[0].metadata.name} serves"
    return f"{first}, and of {len(needed) - 1} more" if len(needed) > 1 else first


async def _try(ctx: Context, node: InferenceNode, wake: WakeOnLan, watch: WakeWatch, fleet: Fleet, *, why: str) -> None:
    """Have the packet sent once, and remember what came of it."""
    name, sender = node.metadata.name, wake.sender_ref.name
    trouble = await _send(ctx, wake, fleet.nodes.get(sender))
    watch.waking = watch.waking.after(trouble, now=ctx.now())
    result = "failed" if trouble else "sent"
    watch.counts[result] = watch.counts.get(result, 0) + 1
    if trouble:
        log.warning("machine_not_woken", node=name, sender=sender, error=trouble[:300])
    else:
        log.info("machine_woken", node=name, sender=sender, sent=watch.waking.sent, why=why)


async def _send(ctx: Context, wake: WakeOnLan, sender: InferenceNode | None) -> str:
    """Return why nothing was sent; empty: it was."""
    who = f"InferenceNode {wake.sender_ref.name} (spec.wake.senderRef)"
    if sender is None:
        return f"{who} does not exist"
    url = node_urls(sender, namespace=ctx.settings.namespace)[0]
    if sender.spec.external is None or ctx.front is None or not url.startswith("https://"):
        return f"{who} is no machine that joined (hack/node/join)"
    try:
        await ctx.front(url, await ray_access(ctx, sender)).wake(wake.mac_address, wake.broadcast_address)
    except HttpStatusError as error:
        if error.status in _CANNOT:
            return f"the release of {who} cannot send the packet: run hack/node/upgrade there"
        return f"{who} refused: {_sentence(error.text)}"
    except NotYetError as error:
        return f"{who} cannot be asked: {error.message}"
    except OperatorError:
        return f"{who}, which sends the packet, does not answer: it must be awake itself"
    return ""


def _sentence(text: str) -> str:
    """Return the front's own words from its answer."""
    try:
        return str(json.loads(text)["error"]["message"])[:500]
    except (ValueError, RecursionError, TypeError, KeyError):
        return "its answer is not that of a joined machine"


def _news(node: InferenceNode, message: str, *, now: datetime) -> Condition:
    return Condition(
        type=ConditionType.REACHABLE,
        status=ConditionStatus.UNKNOWN,
        observed_generation=node.metadata.generation,
        last_transition_time=now,
        reason=EVENT,
        message=message,
    )
