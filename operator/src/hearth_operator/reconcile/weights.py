"""What a machine's downloads are doing, asked again and again; the endpoint and the models hear of what changes.

One task per machine asks. What it said last stays known while it does not answer: files do not vanish with an answer.
"""

import asyncio
from collections.abc import Iterable, Mapping

import structlog

from hearth_api.kinds import InferenceNode
from hearth_api.wire.weights import WantedWeights, WeightsReport
from hearth_operator import names
from hearth_operator.errors import OperatorError
from hearth_operator.plan.weights import is_there
from hearth_operator.reconcile.context import ENDPOINT, RELEASE, Context
from hearth_operator.reconcile.queue import Key
from hearth_operator.reconcile.secrets import node_urls, serve_access
from hearth_operator.reconcile.world import WeightsWatch

log = structlog.get_logger(__name__)
_STEPS = 20
"""Of a download, that are told: a status that changes each second costs more than it says."""


def watch_weights(ctx: Context, node: InferenceNode, wanted: Mapping[WantedWeights, Iterable[str]]) -> None:
    """Ask a machine's downloads from now on. `wanted` says which models need what."""
    name = node.metadata.name
    url = node_urls(node, namespace=ctx.settings.namespace)[1] + names.weights_prefix(name)
    watch = ctx.world.weights.get(name)
    if watch is None or watch.url != url:
        forget_weights(ctx, name)
        watch = ctx.world.weights[name] = WeightsWatch(url=url)
    watch.models = frozenset(model for models in wanted.values() for model in models)
    if watch.wanted != (asked := frozenset(wanted)):
        watch.wanted = asked
        if ctx.settings.mirror_url is not None:
            ctx.wake(Key(RELEASE, ""))  # its orders are written there
    if watch.task is None or watch.task.done():
        ended, watch.task = watch.task, asyncio.create_task(_watch(ctx, node, watch))
        if ended is not None and not ended.cancelled():
            ended.result()  # it never ends but by a bug, which belongs to the loop's table


def forget_weights(ctx: Context, node: str) -> None:
    """Ask a machine's downloads no more."""
    watch = ctx.world.weights.pop(node, None)
    if watch is not None and watch.task is not None:
        watch.task.cancel()


def stop_watching_weights(ctx: Context) -> None:
    """Ask nobody any more: the operator ends."""
    for node in list(ctx.world.weights):
        forget_weights(ctx, node)


async def _watch(ctx: Context, node: InferenceNode, watch: WeightsWatch) -> None:
    told: object = None
    while True:
        try:
            if watch.access is None:
                watch.access = await serve_access(ctx, node)
            watch.report = await ctx.model.weights(watch.url, watch.access)
        except OperatorError as error:
            watch.access = None  # its Secret may be another one by now
            log.debug("weights_unheard", node=node.metadata.name, error=error.message)
        if (said := _news(watch.report)) != told:
            told = said
            _tell(ctx, node.metadata.name, watch)
        settled = all(is_there(watch.report, each) for each in watch.wanted)
        await asyncio.sleep(ctx.settings.intervals.catalog if settled else ctx.settings.intervals.loading)


def _tell(ctx: Context, node: str, watch: WeightsWatch) -> None:
    for url, state in ctx.world.endpoints.items():
        if node in state.nodes:
            state.dirty = True
            ctx.wake(Key(ENDPOINT, url))
    for model in sorted(watch.models):
        ctx.wake(Key(names.MODEL, model))


def _news(report: WeightsReport | None) -> object:
    """Return what of a report matters to others."""
    if report is None:
        return None
    return tuple(
        (s.source, s.sha256, s.state, s.code, s.message, s.done * _STEPS // s.total if s.total else 0)
        for s in report.sources
    )
