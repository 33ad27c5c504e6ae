"""The mirror's process: read the orders, bring what they name, answer machines over TLS."""

import asyncio
import logging
import os
import signal
import ssl
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from prometheus_client import generate_latest

from hearth_api.wire.mirror import MIRROR_PORT, ORDERS_ENTRY
from hearth_serve.logs import log
from hearth_serve.mirror.metrics import Metrics
from hearth_serve.mirror.orders import Orders
from hearth_serve.mirror.web import Mirror
from hearth_serve.weights.settings import open_downloads, open_session

FOLDER = "/var/run/secrets/hearth/mirror"
_LOOK_SECONDS = 2.0
_TEXT = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class Certificate:
    """The certificate in the Secret, and the context that shows it. The operator makes it, and renews it."""

    folder: Path
    context: ssl.SSLContext
    shown: tuple[int, int] | None = None

    def load(self) -> bool:
        """Show the file's certificate from the next connection on. Returns whether there is any."""
        path = self.folder / "tls.crt"
        try:
            stat = path.stat()
            if (stamp := (stat.st_mtime_ns, stat.st_ino)) != self.shown:
                self.context.load_cert_chain(path, self.folder / "tls.key")
                self.shown = stamp
        except (OSError, ssl.SSLError) as error:
            log.warning("mirror_certificate_unreadable", path=str(path), error=type(error).__name__)
        return self.shown is not None


def open_certificate(folder: Path) -> Certificate:
    """Return the certificate, not loaded yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return Certificate(folder=folder, context=context)


async def serve(folder: Path, *, host: str, port: int, web_port: int, env: Mapping[str, str]) -> None:
    """Serve until cancelled. Raises ValueError for a setting that cannot be read."""
    certificate, orders = open_certificate(folder), Orders(path=folder / ORDERS_ENTRY)
    runners: list[web.AppRunner] = []
    async with open_session() as session:
        downloads = open_downloads(session, env)
        downloads.store.tidy()
        metrics = Metrics(downloads)
        mirror = Mirror(downloads=downloads, orders=orders, sent=metrics.sent.inc)
        try:
            own = _own(metrics, lambda: len(runners) > 1)
            await _listen(runners, own, host=host, port=web_port, context=None)
            while True:
                orders.read()
                await downloads.want(orders.wanted(asyncio.get_running_loop().time()))
                if certificate.load() and len(runners) == 1:
                    await _listen(runners, mirror.build(), host=host, port=port, context=certificate.context)
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            for runner in runners:
                await runner.cleanup()
            await downloads.close()


async def _listen(
    runners: list[web.AppRunner], app: web.Application, *, host: str, port: int, context: ssl.SSLContext | None
) -> None:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, host, port, ssl_context=context).start()
    runners.append(runner)
    log.info("listening", port=port, tls=context is not None)


def _own(metrics: Metrics, ready: Callable[[], bool]) -> web.Application:
    """Return what the kubelet and Prometheus are answered."""

    async def healthz(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_request: web.Request) -> web.Response:
        up = ready()
        return web.Response(text="ok\n" if up else "no certificate yet\n", status=200 if up else 503)

    async def figures(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(metrics.registry), headers={"Content-Type": _TEXT})

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", figures)
    return app


async def _run(env: Mapping[str, str]) -> None:
    task = asyncio.create_task(
        serve(
            Path(env.get("HEARTH_MIRROR_FOLDER", FOLDER)),
            host=env.get("HEARTH_HOST", "0.0.0.0"),  # noqa: S104 (the pod's port; the policy says who reaches it)
            port=int(env.get("HEARTH_MIRROR_PORT", MIRROR_PORT)),
            web_port=int(env.get("HEARTH_WEB_PORT", "8080")),
            env=env,
        )
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


def main() -> None:
    """Run the mirror."""
    logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)
    try:
        asyncio.run(_run(os.environ))
    except ValueError as error:
        sys.exit(f"hearth mirror: {error}")


if __name__ == "__main__":
    main()
