"""A machine's downloads as an application: orders come in place, and one route tells how far they are."""

from collections.abc import Iterable, Mapping

import aiohttp

from hearth_api.wire.weights import MirrorAccess, WantedWeights, WeightsReport
from hearth_serve.asgi import Receive, Scope, Send, answer_lifespan, header, path_of, send_error, send_json
from hearth_serve.auth import TokenFile
from hearth_serve.errors import ApiError
from hearth_serve.weights.downloads import Downloads
from hearth_serve.weights.fetch.mirror import MirrorClient, open_mirror_session
from hearth_serve.weights.settings import open_downloads, open_session, open_store


class WeightsApp:
    """Routes below `/_weights/<node>`: `/healthz`, and `/status` for who has the Serve token."""

    def __init__(
        self, *, node: str, token: TokenFile, env: Mapping[str, str], mirror: MirrorAccess | None = None
    ) -> None:
        """Raise ValueError for a setting that cannot be read."""
        self._node, self._token, self._env, self._mirror = node, token, env, mirror
        self._store = open_store(env)
        self._session: aiohttp.ClientSession | None = None
        self._downloads: Downloads | None = None

    async def order(self, wanted: Iterable[WantedWeights]) -> None:
        """Bring these, and nothing else any more."""
        if self._downloads is None:
            client = None
            if self._mirror is None:
                self._session = open_session()
            else:
                self._session = open_mirror_session(self._mirror)
                client = MirrorClient(url=self._mirror.url, session=self._session, token=self._token.read)
            self._downloads = open_downloads(self._session, self._env, mirror=client)
            self._downloads.store.tidy()
        await self._downloads.want(wanted)

    async def close(self) -> None:
        """Stop; what has come stays."""
        if self._downloads is not None:
            await self._downloads.close()
        if self._session is not None:
            await self._session.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await answer_lifespan(receive, send, shutdown=self.close)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1003})
            return
        try:
            await self._answer(scope, send)
        except ApiError as error:
            await send_error(send, error)

    async def _answer(self, scope: Scope, send: Send) -> None:
        route = (scope["method"], path_of(scope))
        if route == ("GET", "/healthz"):
            await send_json(send, 200, {"ok": True})
            return
        self._token.check(header(scope, b"authorization"))
        if route != ("GET", "/status"):
            raise ApiError(404, "There is only GET /status here.", code="unknown_url")
        await send_json(send, 200, self._report().to_json_object())

    def _report(self) -> WeightsReport:
        if self._downloads is None:
            return WeightsReport(node=self._node)
        try:
            store = self._store.status()
        except OSError:
            store = None  # not made yet, or its disk is gone: the sources say so
        return WeightsReport(node=self._node, sources=self._downloads.status(), store=store)
