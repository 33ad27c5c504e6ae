"""Putting the operator together and running it until it is told to stop."""

import asyncio
import contextlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp
import kopf
import structlog
from aiohttp import web

from hearth_common.tokens import ProjectedToken
from hearth_operator import names
from hearth_operator.clients.front import FrontApi, FrontClient
from hearth_operator.clients.knowledge import KnowledgeApi, KnowledgeClient
from hearth_operator.clients.kubernetes import KubernetesApi, connect
from hearth_operator.clients.model import Access, ModelApi, ModelClient
from hearth_operator.clients.ray import RayApi, RayClient
from hearth_operator.errors import OperatorError
from hearth_operator.handlers.http import build_app
from hearth_operator.handlers.watch import Watcher, kopf_settings
from hearth_operator.reconcile.context import FLEET, RELEASE, Context
from hearth_operator.reconcile.glance import Glance
from hearth_operator.reconcile.guest import stop_watching_guests
from hearth_operator.reconcile.loop import Reconciler
from hearth_operator.reconcile.metrics import Metrics
from hearth_operator.reconcile.probing import stop_watching
from hearth_operator.reconcile.pulse import Heart, Pulse
from hearth_operator.reconcile.queue import Key, KeyedQueue
from hearth_operator.reconcile.weights import stop_watching_weights
from hearth_operator.reconcile.world import World
from hearth_operator.settings import Settings

log = structlog.get_logger(__name__)
_WORKERS = 12
_GLANCE_SECONDS = 10.0
_WAIT_FOR_KINDS_SECONDS = 3.0
_CLOSING_SECONDS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """The clients that are not the API server's; tests give their own."""

    ray: Callable[[str, Access | str | None], RayApi]
    model: ModelApi
    knowledge: KnowledgeApi
    front: Callable[[str, Access], FrontApi] | None = None


def real_outside(session: aiohttp.ClientSession, settings: Settings) -> Outside:
    """Return the clients over HTTP."""
    token = ProjectedToken(settings.knowledge_token_path)
    return Outside(
        ray=lambda url, secret: RayClient(session, url=url, token=secret),
        front=lambda url, access: FrontClient(session, url=url, access=access),
        model=ModelClient(session),
        knowledge=KnowledgeClient(session, url=settings.knowledge_url, token=token.read),
    )


async def run_operator(
    settings: Settings,
    *,
    kubeconfig: str | None = None,
    outside: Outside | None = None,
    stop: asyncio.Event | None = None,
    ready: asyncio.Event | None = None,
) -> None:
    """Run until `stop` is set. `ready` is set once all kinds were listed."""
    ready = ready or asyncio.Event()
    kube, api = await connect(namespace=settings.namespace, kubeconfig=kubeconfig)
    async with contextlib.AsyncExitStack() as stack:
        # Runs last: aiohttp closes TLS connections only in later turns of the loop.
        stack.push_async_callback(asyncio.sleep, _CLOSING_SECONDS)
        stack.push_async_callback(api.close)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        metrics = Metrics()
        queue = KeyedQueue(clock=time.monotonic)
        ctx = build_context(settings, kube, outside or real_outside(session, settings), queue, metrics=metrics)
        stack.callback(stop_watching, ctx)
        stack.callback(stop_watching_weights, ctx)
        stack.callback(stop_watching_guests, ctx)
        pulse = Pulse(queue=queue, bounds=settings.bounds, work=Heart(time.monotonic), watch=Heart(time.monotonic))
        metrics.watch(queue, pulse.work)
        metrics.tell_machines(lambda: ctx.world.guests, lambda: ctx.world.wakes)
        app = build_app(metrics, ready=ready.is_set, trouble=pulse.trouble)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=_CLOSING_SECONDS)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, port=settings.http_port).start()
        await _wait_for_kinds(kube)
        registry = kopf.OperatorRegistry()
        _register_login(registry, kubeconfig)
        Watcher(ctx, loop=asyncio.get_running_loop()).register(registry)
        queue.add(Key(RELEASE, ""))
        queue.add(Key(FLEET, ""))
        await _until_stopped(
            Reconciler(ctx, queue, metrics).run(workers=_WORKERS),
            KopfThread(registry, namespace=settings.namespace, ready=ready, heart=pulse.watch),
            pulse.work.beat(),
            stop=stop or asyncio.Event(),
        )


class KopfThread:
    """kopf in a thread and loop of its own: when it ends it cancels every task of the loop that it runs in."""

    def __init__(self, registry: kopf.OperatorRegistry, *, namespace: str, ready: asyncio.Event, heart: Heart) -> None:
        self._registry = registry
        self._namespace = namespace
        self._ready = ready
        self._heart = heart
        self._stop = threading.Event()

    async def run(self) -> None:
        """Run until stopped; raises what kopf raises."""
        started = threading.Event()
        announcing = asyncio.create_task(self._announce(started))
        try:
            await asyncio.to_thread(self._run, started)
        finally:
            announcing.cancel()

    def stop(self) -> None:
        """Ask it to end."""
        self._stop.set()

    async def _announce(self, started: threading.Event) -> None:
        while not started.is_set():  # noqa: ASYNC110 (set by another thread)
            await asyncio.sleep(0.1)
        self._ready.set()

    def _run(self, started: threading.Event) -> None:
        asyncio.run(self._watch(started))

    async def _watch(self, started: threading.Event) -> None:
        beating = asyncio.create_task(self._heart.beat())
        try:
            await kopf.operator(
                registry=self._registry,
                settings=kopf_settings(),
                namespaces=[self._namespace],
                clusterwide=False,
                standalone=True,
                stop_flag=self._stop,
                ready_flag=started,
            )
        finally:
            beating.cancel()
            # kopf waits for the flag in a thread that cannot be cancelled: after a watch that failed for good
            # (no right to list, say) the loop would never close and the pod would look healthy for ever.
            self._stop.set()
            await asyncio.sleep(_CLOSING_SECONDS)


async def _until_stopped(
    work: Coroutine[Any, Any, None],
    watching: KopfThread,
    beat: Coroutine[Any, Any, None],
    *,
    stop: asyncio.Event,
) -> None:
    """Run all until `stop`, or until workers or watches end, which neither does by itself."""
    workers = asyncio.create_task(work)
    beating = asyncio.create_task(beat)
    thread = asyncio.create_task(watching.run())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({workers, thread, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if workers.done():
            workers.result()
    finally:
        watching.stop()
        workers.cancel()
        stopping.cancel()
        beating.cancel()
        await asyncio.gather(workers, stopping, beating, return_exceptions=True)
        await thread


def build_context(
    settings: Settings,
    kube: KubernetesApi,
    outside: Outside,
    queue: KeyedQueue,
    *,
    metrics: Metrics,
) -> Context:
    """Return what every pass is given."""
    return Context(
        settings=settings,
        kube=kube,
        ray=outside.ray,
        front=outside.front,
        model=outside.model,
        knowledge=outside.knowledge,
        instance=f"{socket.gethostname()}-{os.getpid()}",
        now=lambda: datetime.now(UTC),
        clock=time.monotonic,
        random_bytes=secrets.token_bytes,
        world=World(),
        wake=queue.add,
        glance=Glance(lifetime=_GLANCE_SECONDS),
        wrote=metrics.record,
    )


async def _wait_for_kinds(kube: KubernetesApi) -> None:
    """Wait until the API server serves all four kinds: kopf looks for them only once."""
    for kind in names.KINDS:
        while True:
            try:
                await kube.list_all(kind)
                break
            except OperatorError as error:
                log.warning("kind_not_served", kind=kind, error=error.message)
                await asyncio.sleep(_WAIT_FOR_KINDS_SECONDS)


def _register_login(registry: kopf.OperatorRegistry, kubeconfig: str | None) -> None:
    async def login(**context: Any) -> kopf.ConnectionInfo | None:
        if kubeconfig:  # kopf takes its path from KUBECONFIG
            return kopf.login_with_kubeconfig(**context)
        return kopf.login_with_service_account(**context)

    kopf.on.login(registry=registry, id="login")(login)
