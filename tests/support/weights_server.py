"""A server of model files that can cut, damage, slow, refuse and hang, and says what it was asked for."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from aiohttp import web

COMMIT = "c0ffee" + "0" * 34


@dataclass(slots=True)
class WeightsServer:
    """Files under `/<name>`; with `hub`, the same files as the repository `owner/model`."""

    files: dict[str, bytes]
    faults: list[str] = field(default_factory=list)
    """What befalls the next answers with bytes, in order: cut, damage, hang, a status."""
    pace: float = 0
    """Seconds before each of ten parts."""
    ranges: list[str | None] = field(default_factory=list)
    """The `Range` of each request for bytes."""
    sent: int = 0
    token: str | None = None
    """What the hub demands."""
    url: str = ""

    async def _bytes(self, request: web.Request) -> web.StreamResponse:
        body = self.files.get(request.match_info["name"])
        if body is None:
            return web.Response(status=404)
        self.ranges.append(request.headers.get("Range"))
        fault = self.faults.pop(0) if self.faults else ""
        if fault.isdecimal():
            return web.Response(status=int(fault), headers={"Retry-After": "0"})
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        start = 0
        if (asked := request.headers.get("Range")) and request.headers.get("If-Range", tag) == tag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        answer = web.StreamResponse(status=206 if start else 200, headers={"ETag": tag})
        if start:
            answer.headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        answer.content_length = len(body) - start
        answer.content_type = "application/octet-stream"
        await answer.prepare(request)
        with suppress(ConnectionResetError):  # the caller went away
            await self._send(request, answer, body[start:], fault)
        return answer

    async def _send(self, request: web.Request, answer: web.StreamResponse, left: bytes, fault: str) -> None:
        if fault == "damage":
            left = left[:-1] + bytes([left[-1] ^ 1])
        upto = len(left) // 2 if fault in {"cut", "hang"} else len(left)
        step = max(1, upto // 10)
        for at in range(0, upto, step):
            await asyncio.sleep(self.pace)
            part = left[at : min(at + step, upto)]
            await answer.write(part)
            self.sent += len(part)
        if fault == "cut" and request.transport is not None:
            request.transport.close()  # after what is buffered
        if fault == "hang":
            await asyncio.sleep(30)

    async def _index(self, request: web.Request) -> web.Response:
        if self.token is not None and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response({}, status=403, headers={"X-Error-Code": "GatedRepo"})
        siblings = [
            {"rfilename": name, "size": len(body), "lfs": {"sha256": hashlib.sha256(body).hexdigest()}}
            for name, body in self.files.items()
        ]
        return web.json_response({"sha": COMMIT, "siblings": siblings})

    @asynccontextmanager
    async def running(self) -> AsyncIterator["WeightsServer"]:
        """Listen on loopback."""
        app = web.Application()
        app.router.add_get("/api/models/owner/model/revision/{revision}", self._index)
        app.router.add_get("/owner/model/resolve/{commit}/{name}", self._bytes)
        app.router.add_get("/bucket/{name}", self._bytes)
        app.router.add_get("/{name}", self._bytes)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        try:
            yield self
        finally:
            await runner.cleanup()
