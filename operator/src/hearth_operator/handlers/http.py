"""Health and metrics on one port."""

from collections.abc import Callable

import structlog
from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from hearth_operator.reconcile.metrics import Metrics

log = structlog.get_logger(__name__)


def build_app(
    metrics: Metrics, *, ready: Callable[[], bool], trouble: Callable[[], str | None] = lambda: None
) -> web.Application:
    """Return the app: `/healthz` (nothing is stuck), `/readyz` (all kinds were listed), `/metrics`.

    `trouble` says what stands still; a liveness probe that is told so has the container restarted.
    """

    async def healthz(_: web.Request) -> web.Response:
        stuck = trouble()
        if stuck is None:
            return web.Response(text="ok\n")
        log.error("stuck", what=stuck)
        return web.Response(status=503, text=f"{stuck}\n")

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n") if ready() else web.Response(status=503, text="watches have not started\n")

    async def show_metrics(_: web.Request) -> web.Response:
        body = generate_latest(metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", show_metrics)])
    return app
