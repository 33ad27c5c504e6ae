"""Running the knowledge service with a real milvus-lite beside it, as the pod does, and talking to it."""

import asyncio
import base64
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp

from hearth_api.wire.documents import (
    Kind,
    NormalDocument,
    Origin,
    Participant,
    Person,
    Segment,
    ThreadRef,
    document_id,
    person_id,
)
from hearth_api.wire.knowledge import EmbeddingConfig, KbConfig
from support.embedder import free_port

READY_SECONDS = 60.0


async def until(check: Callable[[], Awaitable[bool]], *, seconds: float = READY_SECONDS, what: str) -> None:
    """Ask again and again until it is so."""
    end = time.monotonic() + seconds
    while not await check():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        await asyncio.sleep(0.05)


@dataclass
class Process:
    """A child process with its log."""

    command: list[str]
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self.command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **self.environment}
            )

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> int:
        """SIGTERM."""
        if self.process is None:
            return 0
        self.process.terminate()
        code = self.process.wait(timeout=30)
        self.process = None
        return code


class KnowledgePod:
    """milvus-lite and the knowledge service over one folder."""

    def __init__(self, folder: Path, *, gateway_url: str) -> None:
        self.folder = folder
        self.port, self.milvus_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        kek = folder / "kek"
        kek.mkdir(parents=True, exist_ok=True)
        if not (kek / "v1").exists():
            (kek / "v1").write_text(base64.b64encode(os.urandom(32)).decode())
        (folder / "token").write_text("hearth-knowledge")
        self.kek = kek
        self.milvus = Process(
            [
                str(Path(sys.executable).with_name("milvus-lite")), "server", "--data-dir", str(folder / "milvus"),
                "--host", "127.0.0.1", "--port", str(self.milvus_port),
            ],
            log=folder / "milvus.log",
        )  # fmt: skip
        self.service = Process(
            [sys.executable, "-m", "support.knowledge_process"],
            log=folder / "service.log",
            environment={
                "PYTHONPATH": str(Path(__file__).parents[1]),
                "HEARTH_KNOWLEDGE_DATA": str(folder / "data"),
                "HEARTH_KEK_DIR": str(kek),
                "HEARTH_MILVUS_URI": f"http://127.0.0.1:{self.milvus_port}",
                "HEARTH_GATEWAY_URL": gateway_url,
                "HEARTH_GATEWAY_TOKEN_PATH": str(folder / "token"),
                "HEARTH_HOST": "127.0.0.1",
                "HEARTH_PORT": str(self.port),
            },
        )
        self.session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self.session = aiohttp.ClientSession()
        self.milvus.start()
        self.service.start()
        await self.ready()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.service.kill()
        self.milvus.kill()
        assert self.session is not None
        await self.session.close()

    async def ready(self) -> None:
        await until(self._answers, what=f"readyz; see {self.service.log}")

    async def _answers(self) -> bool:
        try:
            return (await self.call("GET", "/readyz"))[0] == 200
        except aiohttp.ClientError:
            return False

    async def call(
        self, verb: str, path: str, *, account: str = "", body: bytes | dict[str, Any] | None = None, **headers: str
    ) -> tuple[int, bytes]:
        assert self.session is not None
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if account:
            sent["Authorization"] = f"Bearer {account}"
        data = json.dumps(body).encode() if isinstance(body, dict) else io.BytesIO(body) if body is not None else None
        if isinstance(body, dict):
            sent["content-type"] = "application/json"
        async with self.session.request(verb, self.url + path, data=data, headers=sent) as answer:
            return answer.status, await answer.read()

    async def json(self, verb: str, path: str, *, account: str, body: dict[str, Any] | None = None) -> Any:
        status, answer = await self.call(verb, path, account=account, body=body)
        assert status < 300, (status, answer)
        return json.loads(answer) if answer else None

    async def configure(self, kb: str, embedding: EmbeddingConfig, **config: Any) -> Any:
        body = KbConfig(embedding=embedding, **config).to_json_object()
        return await self.json("PUT", f"/v1/kbs/{kb}", account="hearth-operator", body=body)

    async def put(self, kb: str, lines: Iterable[NormalDocument | dict[str, Any] | bytes], *, source: str) -> list[Any]:
        body = b"\n".join(
            line if isinstance(line, bytes)
            else json.dumps(line).encode() if isinstance(line, dict)
            else line.model_dump_json(by_alias=True).encode()
            for line in lines
        )  # fmt: skip
        status, answer = await self.call(
            "POST", f"/v1/kbs/{kb}/documents:batch", account=f"hearth-ingest-{source}", body=body
        )
        assert status == 200, (status, answer)
        return [json.loads(line) for line in answer.splitlines()]

    async def status(self, kb: str) -> Any:
        return await self.json("GET", f"/v1/kbs/{kb}/status", account="hearth-operator")

    async def indexed(self, kb: str, *, seconds: float = 120) -> Any:
        """Wait until nothing waits and index and ledger agree; return the status."""
        last: dict[str, Any] = {}

        async def done() -> bool:
            nonlocal last
            last = await self.status(kb)
            return not last["queue"]["pending"] and not last["queue"]["failed"] and last["consistency"]["consistent"]

        await until(done, seconds=seconds, what=f"index of {kb}")
        return last

    async def search(self, kb: str, query: str, **request: Any) -> list[Any]:
        body = {"query": query, **request}
        answer = await self.json("POST", f"/v1/kbs/{kb}/search", account="hearth-gateway", body=body)
        return list(answer["results"])


def mail(
    key: str,
    text: str,
    *,
    source: str = "inbox",
    title: str = "A mail",
    created: str | None = "2026-10-05T09:12:44+02:00",
    author: str = "anna@example.org",
    name: str = "Anna Berg",
    quoted: str | None = None,
    parent: str | None = None,
    thread: str = "thread-1",
    kind: Kind = Kind.EMAIL,
    modified: str | None = None,
    to: str = "ben@example.org",
) -> NormalDocument:
    """Build a mail in normal form."""
    person = person_id(author)
    segments = [{"text": text, "author": person, "time": created}]
    if quoted is not None:
        segments.append({"text": quoted, "role": "quoted"})
    return NormalDocument(
        id=document_id(kind, source, key),
        source=source,
        kind=kind,
        title=title,
        origin=Origin(key=key, uri=f"file:{key}", fingerprint="size:1", bytes=len(text)),
        pipeline="sha256:test",
        created=created,
        modified=modified or created,
        authors=(Person(id=person, name=name, address=author),),
        participants=(Participant(id=person_id(to), name="Ben Ode", address=to, role="to"),),
        thread=ThreadRef(id=thread, parent=parent),
        permalink=key,
        segments=tuple(Segment.model_validate(segment) for segment in segments),
    ).sealed()


def tombstone(document: NormalDocument) -> dict[str, Any]:
    """Say that a document is gone."""
    return {"id": document.id, "deleted": True, "reason": "gone-at-source"}
