"""How well the sample questions find their documents, with the real embedder and the real vector store."""

from typing import Any

import pytest

from support.embedder import EmbeddingServer, embedding_config
from support.knowledge import KnowledgePod
from support.questions import load_questions, measure_recall, read_identities, recall_table

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]

KB = "recall"
NEEDED = 0.85


async def test_recall_at_5_on_the_sample_questions(
    pod: KnowledgePod,
    gateway: EmbeddingServer,
    sample: dict[str, list[bytes]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    await pod.configure(KB, embedding_config(gateway.engine))
    identities: dict[str, frozenset[str]] = {}
    for source, lines in sample.items():
        identities |= read_identities(lines)
        answers = await pod.put(KB, lines, source=source)
        assert {answer["state"] for answer in answers} == {"added"}, source
    status = await pod.indexed(KB, seconds=500)

    async def search(text: str, mode: str) -> list[dict[str, Any]]:
        return await pod.search(KB, text, top_k=5, mode=mode)

    questions = load_questions()
    recalls = [
        await measure_recall(questions, mode=mode, search=search, identities=identities)
        for mode in ("hybrid", "dense", "sparse")
    ]
    with capsys.disabled():
        print(f"\n{len(identities)} documents, {status['chunks']} chunks\n{recall_table(questions, recalls)}")
        for recall in recalls:
            print(f"{recall.mode} missed: {', '.join(recall.missed) or 'none'}")
    hybrid, dense, sparse = (recall.figure for recall in recalls)
    assert hybrid >= NEEDED
    assert hybrid >= max(dense, sparse)


async def test_the_same_batch_again_changes_nothing(
    pod: KnowledgePod, gateway: EmbeddingServer, sample: dict[str, list[bytes]]
) -> None:
    before = len(gateway.texts)
    for source, lines in sample.items():
        answers = await pod.put(KB, lines, source=source)
        assert {answer["state"] for answer in answers} == {"unchanged"}
    await pod.indexed(KB)
    assert len(gateway.texts) == before
