"""`hearth-knowledge`: reads the environment and serves."""

import asyncio
import os
import sys

import aiohttp
import uvicorn

from hearth_common.errors import HearthCommonError
from hearth_common.kube import KubeAccess, KubeApi
from hearth_common.logs import configure_logging
from hearth_common.review import TokenReviewer
from hearth_common.tokens import ProjectedToken
from hearth_knowledge.app import build_app
from hearth_knowledge.backup.command import run_command
from hearth_knowledge.errors import KnowledgeError
from hearth_knowledge.index.embedder import GatewayEmbedder
from hearth_knowledge.index.milvus import MilvusStore
from hearth_knowledge.index.reranker import GatewayReranker
from hearth_knowledge.service import Ports, Service
from hearth_knowledge.settings import Settings

AUDIENCE = "hearth-knowledge"


async def serve(settings: Settings) -> None:
    """Serve until a signal comes."""
    async with aiohttp.ClientSession() as session:
        api = KubeApi(KubeAccess.from_pod(), session=session)
        token = ProjectedToken(settings.gateway_token)
        ports = Ports(
            authenticator=TokenReviewer(api, audience=AUDIENCE),
            embedder=GatewayEmbedder(settings.gateway_url, token=token, session=session),
            reranker=GatewayReranker(settings.gateway_url, token=token, session=session),
            connect_store=MilvusStore,
        )
        await serve_app(settings, ports)


async def serve_app(settings: Settings, ports: Ports) -> None:
    """Serve with given neighbours."""
    app = build_app(Service(settings, ports))
    config = uvicorn.Config(
        app, host=settings.host, port=settings.port, log_config=None, access_log=False, timeout_graceful_shutdown=20
    )
    await uvicorn.Server(config).serve()


def main() -> None:
    """Run the service, or a command on backups."""
    try:
        settings = Settings.from_environment(os.environ)
        configure_logging("hearth-knowledge", level=settings.log_level)
        if run_command(sys.argv[1:], settings):
            return
        asyncio.run(serve(settings))
    except (KnowledgeError, HearthCommonError) as error:
        sys.exit(f"hearth-knowledge: {error}")
    except KeyError as error:
        sys.exit(f"hearth-knowledge: the pod has no API server ({error} is not set)")


if __name__ == "__main__":
    main()
