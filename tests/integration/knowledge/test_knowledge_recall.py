"""How well the sample questions find their documents, with the real embedder and the real vector store."""

import json
from typing import Any

import pytest

from integration.knowledge.conftest import QUICKSTART
from support.embedder import EmbeddingServer, embedding_config
from support.knowledge import KnowledgePod

pytestmark = pytest.mark.asyncio(loop_scope="session")

KB = "recall"
NEEDED = 0.85


def is_hit(row: dict[str, Any], question: dict[str, Any]) -> bool:
    """An answer is a document's origin key; an attachment of it (`key#part`) carries the answer as well."""
    return any(
        row["origin_key"] == answer["key"] or row["origin_key"].startswith(answer["key"] + "#")
        for answer in question["answers"]
    )


async def recall(pod: KnowledgePod, questions: list[dict[str, Any]], **request: Any) -> tuple[float, list[str]]:
    missed = []
    for question in questions:
        rows = await pod.search(KB, question["question"], top_k=5, **request)
        if not any(is_hit(row, question) for row in rows):
            missed.append(question["id"])
    return 1 - len(missed) / len(questions), missed


async def test_recall_at_5_on_the_sample_questions(
    pod: KnowledgePod,
    gateway: EmbeddingServer,
    sample: dict[str, list[bytes]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    await pod.configure(KB, embedding_config(gateway.engine))
    for source, lines in sample.items():
        answers = await pod.put(KB, lines, source=source)
        assert {answer["state"] for answer in answers} == {"added"}
    status = await pod.indexed(KB)
    questions = json.loads((QUICKSTART / "questions.json").read_text())
    figures = {mode: await recall(pod, questions, mode=mode) for mode in ("hybrid", "dense", "sparse")}
    with capsys.disabled():
        print(f"\nrecall@5 on {len(questions)} questions over {status['chunks']} chunks:")
        for mode, (figure, missed) in figures.items():
            print(f"  {mode:7} {figure:.2f}  missed: {', '.join(missed) or 'none'}")
    assert figures["hybrid"][0] >= NEEDED
    assert figures["hybrid"][0] >= max(figures["dense"][0], figures["sparse"][0])


async def test_the_same_batch_again_changes_nothing(
    pod: KnowledgePod, gateway: EmbeddingServer, sample: dict[str, list[bytes]]
) -> None:
    before = len(gateway.texts)
    for source, lines in sample.items():
        answers = await pod.put(KB, lines, source=source)
        assert {answer["state"] for answer in answers} == {"unchanged"}
    await pod.indexed(KB)
    assert len(gateway.texts) == before
