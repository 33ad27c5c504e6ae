"""`hearth-egress`: read the environment, listen, end tidily."""

import asyncio
import ipaddress
import os
import signal
import socket
import sys
from urllib.parse import urlsplit

import aiohttp
import structlog

from hearth_common.kube import KubeAccess, KubeApi
from hearth_common.logs import configure_logging
from hearth_common.review import TokenReviewer
from hearth_egress.address import make_guard
from hearth_egress.errors import EgressError
from hearth_egress.metrics import Metrics
from hearth_egress.policy import AUDIENCE, Policy
from hearth_egress.proxy import Proxy
from hearth_egress.settings import Network, Settings
from hearth_egress.web import start_web

_log = structlog.get_logger(__name__)


async def find_api_server(access: KubeAccess) -> tuple[Network, ...]:
    """Return the API server's own addresses: no source goes there through us."""
    host = urlsplit(access.url).hostname or ""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, 443, type=socket.SOCK_STREAM)
    except OSError:
        return ()
    return tuple(ipaddress.ip_network(str(info[4][0]).partition("%")[0]) for info in found)


async def serve(settings: Settings, access: KubeAccess) -> None:
    """Serve until a signal comes."""
    metrics = Metrics()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with aiohttp.ClientSession() as session:
        api = KubeApi(access, session=session)
        proxy = Proxy(
            settings,
            reviewer=TokenReviewer(api, audience=AUDIENCE),
            policy=Policy(api, namespace=settings.namespace),
            guard=make_guard((*settings.denied, *await find_api_server(access))),
            metrics=metrics,
        )
        server = await proxy.start()
        web = await start_web(metrics.registry, host=settings.host, port=settings.web_port)
        _log.info("listening", port=settings.port, web_port=settings.web_port)
        await stop.wait()
        server.close()
        await proxy.stop()
        await web.cleanup()


def main() -> None:
    """Run the proxy."""
    try:
        settings = Settings.from_environment(os.environ)
        access = KubeAccess.from_pod()
    except EgressError as error:
        sys.exit(f"hearth-egress: {error}")
    except KeyError as error:
        sys.exit(f"hearth-egress: the pod has no API server ({error} is not set)")
    configure_logging("hearth-egress", level=settings.log_level)
    asyncio.run(serve(settings, access))


if __name__ == "__main__":
    main()
