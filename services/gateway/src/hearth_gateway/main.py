"""`hearth-gateway`: read the environment, connect to the cluster, serve."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiohttp
import structlog
import uvicorn

from hearth_common.kube import KubeAccess, KubeApi
from hearth_common.logs import configure_logging
from hearth_common.review import TokenReviewer
from hearth_common.tokens import ProjectedToken
from hearth_gateway.admission import Admission
from hearth_gateway.app import Gateway, build_app
from hearth_gateway.auth import Authenticator, RateLimiter, Reviewer
from hearth_gateway.catalog.source import CatalogSource, KubeCatalog
from hearth_gateway.circuit import Circuits
from hearth_gateway.credentials import NodeCredentials
from hearth_gateway.dispatch import Dispatcher
from hearth_gateway.knowledge import KnowledgeClient
from hearth_gateway.metrics import Metrics
from hearth_gateway.settings import Settings
from hearth_gateway.state import State
from hearth_gateway.upstream import Upstream, make_session

log = structlog.get_logger()

SHUTDOWN_SECONDS = 25


def build_state(
    settings: Settings, *, source: CatalogSource, reviewer: Reviewer | None, session: aiohttp.ClientSession
) -> State:
    """Put the parts together."""
    circuits, metrics = Circuits(), Metrics()
    admission = Admission(lambda: source.catalog, circuits=circuits, queue_limit=settings.limits.queue_per_model)
    limiter = RateLimiter()
    source.subscribe(admission.catalog_changed)
    source.subscribe(lambda: limiter.keep_only(source.keys))
    metrics.watch(source, admission=admission)
    upstream = Upstream(session, credentials=NodeCredentials(source), timeouts=settings.timeouts)
    dispatcher = Dispatcher(admission, circuits=circuits, upstream=upstream, settings=settings, metrics=metrics)
    source.subscribe(dispatcher.catalog_changed)
    token = ProjectedToken(settings.knowledge_token_path) if settings.knowledge_token_path else None
    return State(
        settings=settings,
        source=source,
        authenticator=Authenticator(lambda: source.keys, reviewer=reviewer, namespace=settings.namespace),
        limiter=limiter,
        admission=admission,
        dispatcher=dispatcher,
        knowledge=KnowledgeClient(
            session, url=settings.knowledge_url, token=token, seconds=settings.timeouts.knowledge
        ),
        metrics=metrics,
    )


def cluster_start(settings: Settings, *, access: KubeAccess) -> Callable[[Gateway], AbstractAsyncContextManager[None]]:
    """Return what runs around the application's life: sessions and watches."""

    @asynccontextmanager
    async def start(gateway: Gateway) -> AsyncIterator[None]:
        async with make_session(settings.timeouts) as session, aiohttp.ClientSession() as kube_session:
            api = KubeApi(access, session=kube_session)
            source = KubeCatalog(api, namespace=settings.namespace, keys_secret=settings.keys_secret)
            reviewer = TokenReviewer(api, audience=settings.audience)
            gateway.start(build_state(settings, source=source, reviewer=reviewer, session=session))
            watching = asyncio.create_task(source.run())
            watching.add_done_callback(_end_process_on_crash)
            try:
                yield
            finally:
                watching.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await watching

    return start


def _end_process_on_crash(task: asyncio.Task[None]) -> None:
    """Leave rather than serve a catalog that nobody updates; Kubernetes starts us again."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("catalog.crashed", exc_info=error)
        os._exit(70)


def kube_access(environment: dict[str, str]) -> KubeAccess:
    """Return the pod's own access, or HEARTH_KUBE_URL with HEARTH_KUBE_TOKEN_PATH (development through a proxy)."""
    url = environment.get("HEARTH_KUBE_URL")
    if not url:
        return KubeAccess.from_pod(environment)
    path = environment.get("HEARTH_KUBE_TOKEN_PATH")
    return KubeAccess(url=url.rstrip("/"), token=ProjectedToken(Path(path)) if path else None, context=None)


def main() -> None:
    """Run until SIGTERM; requests in flight get SHUTDOWN_SECONDS."""
    environment = dict(os.environ)
    settings = Settings.from_environment(environment)
    configure_logging("hearth-gateway", level=settings.log_level)
    app = build_app(cluster_start(settings, access=kube_access(environment)))
    uvicorn.run(
        app,
        host=settings.listen_host,
        port=settings.listen_port,
        loop="uvloop",
        http="httptools",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )


if __name__ == "__main__":
    main()
