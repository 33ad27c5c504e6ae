"""The other port: is it alive, and its figures."""

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

_TEXT = "text/plain; version=0.0.4; charset=utf-8"


def build_web(registry: CollectorRegistry) -> web.Application:
    """Return the application with /healthz and /metrics."""

    async def healthz(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": _TEXT})

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/metrics", metrics)
    return app


async def start_web(registry: CollectorRegistry, *, host: str, port: int) -> web.AppRunner:
    """Serve. The caller cleans the runner up."""
    runner = web.AppRunner(build_web(registry), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner
