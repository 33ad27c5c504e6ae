# ruff: noqa: INP001 (a script, not a package)
"""The three servers of the benchmark, one per process: `servers.py NAME PORT UPSTREAM_PORT`."""

import asyncio
import contextlib
import hashlib
import json
import sys
from collections.abc import AsyncIterator

import uvicorn

HEADER = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\n"
ANSWER = json.dumps(
    {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "chat",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "word " * 30}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 40, "completion_tokens": 30, "total_tokens": 70},
    }
).encode()  # fmt: skip
EVENT = b"data: " + json.dumps({"id": "c", "choices": [{"index": 0, "delta": {"content": "word "}}]}).encode() + b"\n\n"
CHUNKS = 100
SECONDS_PER_CHUNK = 0.02
KEY = f"hearth_abcdefghij_{'s' * 43}"


async def mock(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer requests on one connection: raw bytes, keep-alive, paced chunks for streams."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            if b'"stream": true' in body or b'"stream":true' in body:
                writer.write(HEADER % b"text/event-stream" + b"Transfer-Encoding: chunked\r\n\r\n")
                for _ in range(CHUNKS):
                    writer.write(b"%x\r\n%s\r\n" % (len(EVENT), EVENT))
                    await writer.drain()
                    await asyncio.sleep(SECONDS_PER_CHUNK)
                done = b"data: [DONE]\n\n"
                writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(done), done))
            else:
                writer.write(HEADER % b"application/json" + b"Content-Length: %d\r\n\r\n" % len(ANSWER) + ANSWER)
            await writer.drain()
    writer.close()


async def serve_mock(port: int) -> None:
    """Run the mock for ever."""
    server = await asyncio.start_server(mock, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


def gateway_app(upstream: int) -> object:
    """Return the gateway as it is deployed, with a catalog and keys in memory instead of the cluster's."""
    from hearth_api.wire.keys import ApiKeyRecord, Scope, hash_key  # noqa: PLC0415 (only this process needs it)
    from hearth_common.logs import configure_logging  # noqa: PLC0415
    from hearth_gateway.app import Gateway, build_app  # noqa: PLC0415
    from hearth_gateway.catalog.model import fold  # noqa: PLC0415
    from hearth_gateway.catalog.source import MemoryCatalog  # noqa: PLC0415
    from hearth_gateway.main import build_state  # noqa: PLC0415
    from hearth_gateway.settings import Settings  # noqa: PLC0415
    from hearth_gateway.upstream import make_session  # noqa: PLC0415

    sink = open("/dev/null", "w", encoding="utf-8")  # noqa: PTH123, SIM115 (open as long as the process runs)
    configure_logging("bench", stream=sink)
    variant = {"name": "v", "url": f"http://127.0.0.1:{upstream}", "state": "Available", "slots": 64}
    secret = {"tokenSecretRef": {"name": "s", "key": "token"}}
    model = {"metadata": {"name": "chat"}, "spec": {"task": "Chat"}, "status": {"variants": [{**variant, **secret}]}}
    record = ApiKeyRecord(id="abcdefghij", sha256=hash_key(KEY), scopes=(Scope.CHAT,))
    source = MemoryCatalog(fold([model], []), keys={record.id: record})
    source.secrets["s"] = {"token": b"t"}
    settings = Settings(knowledge_token_path="")

    @contextlib.asynccontextmanager
    async def start(gateway: Gateway) -> AsyncIterator[None]:
        async with make_session(settings.timeouts) as session:
            gateway.start(build_state(settings, source=source, reviewer=None, session=session))
            yield

    return build_app(start)


def httpx_app(upstream: int) -> object:
    """Return the proxy that most people would write first: FastAPI and httpx, with the same key check."""
    import httpx2  # noqa: PLC0415
    from fastapi import FastAPI, HTTPException, Request, Response  # noqa: PLC0415
    from fastapi.responses import StreamingResponse  # noqa: PLC0415

    app = FastAPI()
    client = httpx2.AsyncClient(base_url=f"http://127.0.0.1:{upstream}", timeout=60)
    known = hashlib.sha256(KEY.encode()).hexdigest()

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        if hashlib.sha256(key.encode()).hexdigest() != known:
            raise HTTPException(401)
        body = await request.json()
        if not body.get("stream"):
            answer = await client.post("/v1/chat/completions", json=body)
            return Response(answer.content, media_type="application/json")
        sent = await client.send(client.build_request("POST", "/v1/chat/completions", json=body), stream=True)
        return StreamingResponse(sent.aiter_raw(), media_type="text/event-stream")

    return app


def main() -> None:
    """Run one server."""
    name, port, upstream = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if name == "upstream":
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve_mock(port))
        return
    app = gateway_app(upstream) if name == "gateway" else httpx_app(upstream)
    uvicorn.run(app, port=port, loop="uvloop", http="httptools", log_config=None, access_log=False)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
