"""Killing, stopping and losing things: nothing is lost, and the end is the same."""

import base64
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from hearth_knowledge.index.milvus import MilvusStore
from support.embedder import EmbeddingServer, embedding_config, embedding_server
from support.knowledge import KnowledgePod, mail, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

KB = "work"
STOPPED = (0, -signal.SIGTERM)  # uvicorn ends in order, then raises the signal that asked it to
QUESTIONS = (
    "When are the enclosures shipped?",
    "capacitor C14",
    "price of the hosting",
    "calibration of probes",
    "key",
)


@pytest_asyncio.fixture(loop_scope="session")
async def own_gateway(gateway: EmbeddingServer) -> AsyncIterator[EmbeddingServer]:
    """An embedding server that a test may stop."""
    async with embedding_server(gateway.engine) as server:
        yield server


async def fill(pod: KnowledgePod, sample: dict[str, list[bytes]]) -> None:
    for source, lines in sample.items():
        await pod.put(KB, lines[:64], source=source)


async def answers(pod: KnowledgePod) -> list[list[tuple[str, int, int, float]]]:
    found = []
    for question in QUESTIONS:
        rows = await pod.search(KB, question, top_k=10)
        found.append([(row["document"], row["version"], row["chunk"], round(row["score"], 4)) for row in rows])
    return found


def counts(status: Any) -> tuple[int, int]:
    return status["documents"], status["chunks"]


async def under_way(pod: KnowledgePod, *, above: int) -> None:
    """Wait until indexing is in the middle: some chunks are in, some documents wait."""

    async def check() -> bool:
        status = await pod.status(KB)
        assert status["queue"]["pending"], "indexing was over before it could be disturbed"
        return bool(status["chunks"] > above)

    await until(check, what="indexing under way")


@pytest.mark.timeout(300)
async def test_killing_service_and_store_while_indexing_ends_as_if_nothing_happened(
    gateway: EmbeddingServer, sample: dict[str, list[bytes]], tmp_path: Path
) -> None:
    config = embedding_config(gateway.engine)
    async with KnowledgePod(tmp_path / "calm", gateway_url=gateway.url) as pod:
        await pod.configure(KB, config)
        await fill(pod, sample)
        calm = counts(await pod.indexed(KB)), await answers(pod)
    async with KnowledgePod(tmp_path / "stormy", gateway_url=gateway.url) as pod:
        await pod.configure(KB, config)
        await fill(pod, sample)
        await under_way(pod, above=0)
        pod.service.kill()
        pod.service.start()
        await pod.ready()
        await fill(pod, sample)
        await under_way(pod, above=20)
        pod.milvus.kill()
        pod.milvus.start()
        await pod.ready()
        await under_way(pod, above=30)
        pod.service.kill()
        pod.milvus.kill()
        pod.milvus.start()
        pod.service.start()
        await pod.ready()
        stormy = counts(await pod.indexed(KB)), await answers(pod)
        assert stormy == calm
        assert pod.service.stop() in STOPPED


async def test_work_waits_for_the_embedder_and_search_says_that_it_is_degraded(
    own_gateway: EmbeddingServer, tmp_path: Path
) -> None:
    async with KnowledgePod(tmp_path, gateway_url=own_gateway.url) as pod:
        await pod.configure(KB, embedding_config(own_gateway.engine))
        await pod.put(KB, [mail("mid:<1@example.org>", "The sluice opens at dawn.")], source="inbox")
        await pod.indexed(KB)
        own_gateway.down = True
        await pod.put(KB, [mail("mid:<2@example.org>", "The sluice closes at dusk.")], source="inbox")
        body = {"query": "sluice"}
        assert pod.session is not None
        async with pod.session.post(
            f"{pod.url}/v1/kbs/{KB}/search", json=body, headers={"Authorization": "Bearer hearth-gateway"}
        ) as answer:
            assert answer.status == 200
            assert answer.headers["x-hearth-degraded"] == "embedding"
            assert [row["text"] for row in (await answer.json())["results"]] == ["The sluice opens at dawn."]
        status, error = await pod.call(
            "POST", f"/v1/kbs/{KB}/search", account="hearth-gateway", body={"query": "sluice", "mode": "dense"}
        )
        assert status == 503
        assert json.loads(error)["error"]["code"] == "embedder_unavailable"
        assert (await pod.status(KB))["queue"]["pending"] == 1
        pod.service.kill()
        pod.service.start()
        await pod.ready()
        own_gateway.down = False
        assert counts(await pod.indexed(KB)) == (2, 2)
        assert len(await pod.search(KB, "sluice")) == 2
        assert "indexing" in own_gateway.priorities
        assert "interactive" in own_gateway.priorities


async def test_rows_that_the_store_lost_or_invented_are_repaired(gateway: EmbeddingServer, tmp_path: Path) -> None:
    documents = [mail(f"mid:<{n}@example.org>", f"Gauge number {n} was read.") for n in range(12)]
    async with KnowledgePod(tmp_path, gateway_url=gateway.url) as pod:
        await pod.configure(KB, embedding_config(gateway.engine))
        await pod.put(KB, documents, source="inbox")
        status = await pod.indexed(KB)
        pod.service.kill()
        store = MilvusStore(f"http://127.0.0.1:{pod.milvus_port}")
        rows = sorted(store.row_ids(status["collection"]))
        store.delete_ids(status["collection"], rows[:5])
        assert store.count(status["collection"]) == 7
        store.close()
        pod.service.start()
        await pod.ready()
        assert counts(await pod.indexed(KB)) == (12, 12)
        found = {row["document"] for row in await pod.search(KB, "gauge", top_k=50)}
        assert found == {document.id for document in documents}


async def test_another_chunking_is_built_beside_the_old_index_which_goes_on_answering(
    own_gateway: EmbeddingServer, tmp_path: Path
) -> None:
    text = " ".join(f"Sentence number {n} tells of the lighthouse." for n in range(60))
    config = embedding_config(own_gateway.engine)
    async with KnowledgePod(tmp_path, gateway_url=own_gateway.url) as pod:
        await pod.configure(KB, config)
        await pod.put(KB, [mail("mid:<long@example.org>", text)], source="inbox")
        old = await pod.indexed(KB)
        own_gateway.down = True
        during = await pod.configure(KB, config, chunking={"targetTokens": 40, "overlapTokens": 8})
        assert during["collection"] == old["collection"]
        assert await pod.search(KB, "lighthouse", mode="sparse")
        own_gateway.down = False

        async def switched() -> bool:
            return bool((await pod.status(KB))["collection"] != old["collection"])

        await until(switched, what="the new collection")
        new = await pod.indexed(KB)
        assert new["chunks"] > old["chunks"]
        assert await pod.search(KB, "lighthouse")
        store = MilvusStore(f"http://127.0.0.1:{pod.milvus_port}")

        async def dropped() -> bool:
            return store.list_collections("kb_") == [new["collection"]]

        await until(dropped, what="the old collection is dropped")
        store.close()


@pytest.mark.timeout(300)
async def test_searches_find_everything_through_a_new_embedding_and_a_kill_in_its_middle(
    own_gateway: EmbeddingServer, sample: dict[str, list[bytes]], tmp_path: Path
) -> None:
    """They are asked without a pause, also across the switch; a search sees the old index or the new one, whole."""
    first = embedding_config(own_gateway.engine)
    second = first.model_copy(update={"model": "embed-next", "digest": "sha256:next"})
    seen = {"during": 0, "after": 0}

    async def search_until(done: Callable[[Any], bool], *, what: str) -> Any:
        async def look() -> bool:
            nonlocal status
            for question in QUESTIONS:
                for mode in ("hybrid", "sparse", "dense"):
                    assert len(await pod.search(KB, question, top_k=5, mode=mode)) >= 1, (question, mode)
            status = await pod.status(KB)
            seen["during" if status["index"]["building"] else "after"] += 1
            return done(status)

        status: Any = None
        await until(look, seconds=120, what=what)
        return status

    async with KnowledgePod(tmp_path, gateway_url=own_gateway.url) as pod:
        await pod.configure(KB, first)
        await fill(pod, sample)
        old = await pod.indexed(KB)
        await pod.configure(KB, second)
        begun = await search_until(lambda status: status["index"]["building"]["done"] > 0, what="documents in both")
        building = begun["index"]["building"]
        assert (building["embedding"]["model"], building["total"]) == ("embed-next", old["documents"])
        assert begun["collection"] == old["collection"]
        pod.service.kill()
        pod.service.start()
        await pod.ready()
        await search_until(lambda status: not status["index"]["building"], what="the switch")
        new = await pod.indexed(KB)
        assert new["embedding"]["model"] == "embed-next"
        assert counts(new) == counts(old)
        assert seen["during"] >= 1
        store = MilvusStore(f"http://127.0.0.1:{pod.milvus_port}")

        async def dropped() -> bool:
            return store.list_collections("kb_") == [new["collection"]]

        await until(dropped, what="the old collection is dropped")
        source = next(iter(sample))
        erased = await pod.json("DELETE", f"/v1/kbs/{KB}/sources/{source}", account="hearth-operator")
        assert erased["left"] == 0
        left = await pod.indexed(KB)
        assert left["documents"] == old["documents"] - erased["erased"]
        assert store.count(new["collection"]) == left["chunks"]
        assert {row["source"] for q in QUESTIONS for row in await pod.search(KB, q, top_k=50)} <= set(sample) - {source}
        store.close()


async def test_a_newer_key_encryption_key_takes_over_and_the_old_one_can_go(
    gateway: EmbeddingServer, tmp_path: Path
) -> None:
    async with KnowledgePod(tmp_path, gateway_url=gateway.url) as pod:
        await pod.configure(KB, embedding_config(gateway.engine))
        await pod.put(KB, [mail("mid:<1@example.org>", "The dam was inspected.")], source="inbox")
        await pod.indexed(KB)
        (pod.kek / "v2").write_text(base64.b64encode(os.urandom(32)).decode())
        pod.service.kill()
        pod.service.start()
        await pod.ready()
        (pod.kek / "v1").unlink()
        pod.service.kill()
        pod.service.start()
        await pod.ready()
        assert [row["text"] for row in await pod.search(KB, "dam")] == ["The dam was inspected."]
        (pod.kek / "v2").unlink()
        status, error = await pod.call("GET", "/readyz")
        assert status == 503
        assert json.loads(error)["error"]["code"] == "key_missing"
