"""The knowledge service as a process of its own, so that a test can kill it. Its callers' tokens are account names."""

import asyncio
import os

import aiohttp

from hearth_common.errors import TokenRefusedError
from hearth_common.logs import configure_logging
from hearth_common.review import Identity
from hearth_common.tokens import ProjectedToken
from hearth_knowledge.index.embedder import GatewayEmbedder
from hearth_knowledge.index.milvus import MilvusStore
from hearth_knowledge.index.reranker import GatewayReranker
from hearth_knowledge.main import serve_app
from hearth_knowledge.service import Ports
from hearth_knowledge.settings import Settings

NAMESPACE = "hearth"


class NamedTokens:
    """A token `account` or `namespace/account` is that account; "bad" is refused."""

    async def review(self, token: str) -> Identity:
        if token == "bad":
            raise TokenRefusedError(audience="hearth-knowledge", reason="not authenticated")
        namespace, _, account = token.rpartition("/")
        namespace = namespace or NAMESPACE
        return Identity(username=f"system:serviceaccount:{namespace}:{account}", namespace=namespace, account=account)


async def run() -> None:
    settings = Settings.from_environment(os.environ)
    async with aiohttp.ClientSession() as session:
        token = ProjectedToken(settings.gateway_token)
        ports = Ports(
            authenticator=NamedTokens(),
            embedder=GatewayEmbedder(settings.gateway_url, token=token, session=session),
            reranker=GatewayReranker(settings.gateway_url, token=token, session=session),
            connect_store=MilvusStore,
        )
        await serve_app(settings, ports)


if __name__ == "__main__":
    configure_logging("hearth-knowledge", level=os.environ.get("HEARTH_LOG_LEVEL", "INFO"))
    asyncio.run(run())
