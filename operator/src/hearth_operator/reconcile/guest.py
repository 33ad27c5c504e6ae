"""Joined machines: asked what happens there, for the metrics, and left or taken back by `spec.availability`.

One task per machine asks. A machine that does not answer is judged by nobody: what was decided stays.
"""

import asyncio
from datetime import timedelta

import structlog

from hearth_api.conditions import ConditionStatus, ConditionType, find_condition
from hearth_api.kinds import InferenceNode
from hearth_api.kinds.node import AcceleratorType
from hearth_api.quantities import to_bytes
from hearth_api.reasons import Reason
from hearth_operator import names
from hearth_operator.clients.http import HttpStatusError
from hearth_operator.errors import OperatorError
from hearth_operator.facts import GuestFacts
from hearth_operator.plan.guest import Phase, Stay, reasons_to_go, step, untold
from hearth_operator.reconcile.context import ENDPOINT, Context
from hearth_operator.reconcile.queue import Key
from hearth_operator.reconcile.secrets import ray_access
from hearth_operator.reconcile.world import GuestWatch

log = structlog.get_logger(__name__)
_NO_FRONT = frozenset({403, 404, 405, 501})
"""Ray itself answers, or somebody else's proxy."""


def watch_guest(ctx: Context, node: InferenceNode, *, url: str) -> GuestWatch | None:
    """Ask a machine from now on what happens there; None: there is none that could tell."""
    name = node.metadata.name
    watch = ctx.world.guests.get(name)
    if node.spec.external is None or ctx.front is None or not url.startswith("https://"):
        forget_guest(ctx, name)
        return None
    if watch is None or watch.url != url:
        forget_guest(ctx, name)
        watch = ctx.world.guests[name] = GuestWatch(url=url, stay=_remembered(node))
    if watch.task is None or watch.task.done():
        ended, watch.task = watch.task, asyncio.create_task(_watch(ctx, name, watch))
        if ended is not None and not ended.cancelled():
            ended.result()  # it never ends but by a bug, which belongs to the loop's table
    return watch


def _remembered(node: InferenceNode) -> Stay:
    """Return how it stood by the status: a new operator does not bring models back to see whether they disturb."""
    told = find_condition(node.status.conditions, ConditionType.YIELDING)
    if told is None or told.status is not ConditionStatus.TRUE:
        return Stay()
    reason = Reason.lookup(told.reason) or Reason.NOT_OBSERVED
    return Stay(phase=Phase.AWAY, reason=reason, message=told.message, since=told.last_transition_time)


def guest_facts(node: InferenceNode, watch: GuestWatch | None) -> GuestFacts | None:
    """Return how it stands, for the status; None: the node is no guest."""
    rules = node.spec.availability
    if rules is None:
        return None
    if watch is None:
        said = "dashboardURL is not https: only a machine that joined tells what happens there"
        return GuestFacts(yields=False, reason=Reason.HOSTING, trouble=(Reason.MACHINE_SILENT, said))
    facts = watch.facts
    return GuestFacts(
        yields=watch.stay.yields,
        reason=watch.stay.reason,
        message=watch.stay.message,
        asked=facts is not None,
        trouble=watch.trouble,
        untold=untold(rules, facts) if facts is not None else (),
    )


def forget_guest(ctx: Context, node: str) -> None:
    """Ask a machine no more."""
    watch = ctx.world.guests.pop(node, None)
    if watch is not None and watch.task is not None:
        watch.task.cancel()


def stop_watching_guests(ctx: Context) -> None:
    """Ask nobody any more: the operator ends."""
    for node in list(ctx.world.guests):
        forget_guest(ctx, node)


async def _watch(ctx: Context, name: str, watch: GuestWatch) -> None:
    while True:
        before = _news(watch)
        delay = await _look(ctx, name, watch)
        if _news(watch) != before:
            log.info("guest", node=name, phase=watch.stay.phase.value, why=watch.stay.message)
            _tell(ctx, name)
        await asyncio.sleep(delay)


def _news(watch: GuestWatch) -> object:
    """Return what of a machine matters to others."""
    facts = watch.facts
    told = facts is not None and (facts.owner_idle_seconds is None, facts.on_battery is None, len(facts.gpus))
    return (watch.stay.phase, watch.stay.reason, watch.stay.message, watch.trouble, told)


async def _look(ctx: Context, name: str, watch: GuestWatch) -> float:
    """Ask once and decide; return the seconds until the next time."""
    fleet = ctx.glance.fleet
    node = fleet.nodes.get(name) if fleet is not None else None
    if node is None or ctx.front is None:
        return ctx.settings.intervals.loading
    try:
        if watch.access is None:
            watch.access = await ray_access(ctx, node)
        watch.facts = await ctx.front(watch.url, watch.access).machine()
    except OperatorError as error:
        watch.access = None  # its Secret may be another one by now
        absent = isinstance(error, HttpStatusError) and error.status in _NO_FRONT
        said = "it tells nothing of itself: join it with hack/node/join" if absent else error.message
        watch.trouble = (Reason.MACHINE_SILENT, said)
        return ctx.settings.intervals.resync if absent else ctx.settings.intervals.catalog
    rules = node.spec.availability
    if rules is None:
        watch.trouble, watch.stay = None, Stay()
        return ctx.settings.intervals.catalog
    away = watch.stay.phase is Phase.AWAY
    try:
        why = next(reasons_to_go(rules, watch.facts, now=ctx.now(), away=away, needed=_needed(node)), None)
    except ValueError as error:
        watch.trouble = (Reason.INVALID_SPEC, str(error))
        return ctx.settings.intervals.catalog
    watch.trouble = None
    watch.stay = step(watch.stay, why, rules, now=ctx.now(), computing=_computes(ctx, node, watch.stay))
    return ctx.settings.intervals.loading if watch.stay.phase is Phase.DRAINING else ctx.settings.intervals.look


def _needed(node: InferenceNode) -> int:
    """Return bytes of main memory that the models planned there take. On CUDA it is the card's."""
    planned = node.status.planned
    if node.spec.accelerator.type is AcceleratorType.CUDA or planned is None:
        return 0
    return to_bytes(planned.memory)


def _computes(ctx: Context, node: InferenceNode, stay: Stay) -> bool:
    """Whether a model there may have an answer in work: it said so, or was not asked since nothing new begins."""
    if stay.since is None or ctx.now() - stay.since < timedelta(seconds=2 * ctx.settings.intervals.look):
        return True
    endpoint = ctx.world.endpoint_of(node.metadata.name)
    for app in endpoint.facts.apps.values() if endpoint is not None else ():
        here = ((app.config or {}).get("args") or {}).get("node") == node.metadata.name
        serving = ctx.world.serving.get(app.name)
        if here and serving is not None and serving.facts.info is not None and serving.facts.info.slots_busy > 0:
            return True
    return False


def _tell(ctx: Context, name: str) -> None:
    ctx.wake(Key(names.NODE, name))
    for url, state in ctx.world.endpoints.items():
        if name in state.nodes:
            state.dirty = True
            state.version += 1  # its models look again
            ctx.wake(Key(ENDPOINT, url))
    ctx.wake_fleet()
