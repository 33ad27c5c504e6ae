"""Reranking in search, over fakes: who is asked, what it reads, and that nothing it does can spoil an answer."""

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from hearth_api.wire.documents import NormalDocument
from hearth_api.wire.keys import Priority
from hearth_api.wire.knowledge import KbStatus, NotReranked, SearchResponse
from hearth_ingest.findings.apply import with_findings
from hearth_knowledge.errors import InvalidRequestError, RerankerError
from hearth_knowledge.index.ledger import Passages
from hearth_knowledge.index.reranker import read_relevances
from hearth_knowledge.ports import Relevance
from hearth_knowledge.settings import Settings
from hearth_knowledge.storage import schema
from support.knowledge import mail, tombstone
from support.knowledge_fakes import CONFIG, Fixture, knowledge

OPERATOR, GATEWAY = "hearth-operator", "hearth-gateway"
PATH = "/v1/kbs/work/search"
RERANK = {"model": "rank", "candidates": 20}
TEXTS = ("The pump is red.", "A pump, a pump and a pump.", "We talked long about the old pump in the cellar.")
Said = list[Relevance]


async def configure(fixture: Fixture, rerank: Any = RERANK, **changes: Any) -> KbStatus:
    body = {**CONFIG.to_json_object(), "rerank": rerank, **changes}
    return KbStatus.model_validate(await fixture.json("PUT", "/v1/kbs/work", account=OPERATOR, body=body))


async def fill(fixture: Fixture, *texts: str) -> list[NormalDocument]:
    documents = [mail(f"mid:<{number}@example.org>", text) for number, text in enumerate(texts)]
    await fixture.put("work", documents)
    await fixture.index()
    return documents


async def search(fixture: Fixture, query: str = "pump", **request: Any) -> SearchResponse:
    body = {"query": query, "mode": "sparse", "explain": True, **request}
    return SearchResponse.model_validate(await fixture.json("POST", PATH, account=GATEWAY, body=body))


async def backwards(said: Said) -> Said:
    """The last is the best."""
    return [replace(one, score=(one.index + 1) / 100) for one in said]


def outcomes(fixture: Fixture) -> dict[str, float]:
    (family,) = (
        family
        for family in fixture.service.metrics.registry.collect()
        if family.name == "hearth_knowledge_rerank_seconds"
    )
    return {one.labels["outcome"]: one.value for one in family.samples if one.name.endswith("_count")}


async def test_the_reranker_decides_the_order_and_what_was_before_is_explained(tmp_path: Path) -> None:
    async with knowledge(tmp_path) as fixture:
        await configure(fixture)
        await fill(fixture, *TEXTS)
        before = await search(fixture, rerank=False)
        assert (before.reranked, before.rerank_reason, fixture.reranker.asked) == (False, "off", [])
        assert [hit.explain["fused_rank"] for hit in before.results if hit.explain] == [1, 2, 3]
        fixture.reranker.answer = backwards
        for asked in ({}, {"rerank": True}, {"rerank": None}):
            found = await search(fixture, **asked)
            assert (found.reranked, found.rerank_reason) == (True, None)
            assert [hit.text for hit in found.results] == [hit.text for hit in reversed(before.results)]
            assert [hit.score for hit in found.results] == [0.03, 0.02, 0.01]
            told = [hit.explain or {} for hit in found.results]
            assert [(one["fused_rank"], one["rerank"]) for one in told] == [(3, 0.03), (2, 0.02), (1, 0.01)]
        query, texts, model, priority = fixture.reranker.asked[0]
        assert (query, model, priority) == ("pump", "rank", Priority.INTERACTIVE)
        assert texts == [hit.text for hit in before.results], "the passages' texts and nothing else"
        assert outcomes(fixture) == {"ranked": 3}
        few = await search(fixture, top_k=1)
        assert [hit.text for hit in few.results] == [before.results[-1].text], "all were read, one is shown"


async def test_who_demands_a_reranker_that_is_not_there_is_told_the_remedy(tmp_path: Path) -> None:
    async with knowledge(tmp_path) as fixture:
        await configure(fixture, None)
        await fill(fixture, *TEXTS)
        found = await search(fixture)
        assert (len(found.results), found.reranked, found.rerank_reason) == (3, False, "not_configured")
        body = {"query": "pump", "rerank": True}
        status, _, answer = await fixture.call("POST", PATH, account=GATEWAY, body=body)
        assert status == 400
        assert json.loads(answer)["error"]["message"] == (
            "rerank: knowledge base work has no reranker: name a ModelDeployment with task Rerank in its "
            "spec.rerank.model, or leave the field out"
        )
        assert fixture.reranker.asked == []


async def test_an_empty_knowledge_base_asks_nobody(tmp_path: Path) -> None:
    async with knowledge(tmp_path) as fixture:
        await configure(fixture)
        found = await search(fixture)
        assert (found.results, found.reranked, found.rerank_reason) == ((), False, "no_results")
        await fill(fixture, *TEXTS)
        assert (await search(fixture, "zeppelin")).rerank_reason == "no_results"
        assert fixture.reranker.asked == []


async def test_only_the_best_candidates_are_read_and_the_others_follow(tmp_path: Path) -> None:
    async with knowledge(tmp_path) as fixture:
        await configure(fixture, {"model": "rank", "candidates": 2})
        await fill(fixture, *TEXTS, "The pump.")
        before = [hit.text for hit in (await search(fixture, rerank=False)).results]
        fixture.reranker.answer = backwards
        found = (await search(fixture)).results
        assert fixture.reranker.asked[0][1] == before[:2]
        assert [hit.text for hit in found] == [before[1], before[0], *before[2:]]
        assert [hit.score for hit in found] == [0.02, 0.01, 0, 0]
        assert ["rerank" in (hit.explain or {}) for hit in found] == [True, True, False, False]


async def test_as_many_are_found_as_the_reranker_is_to_read(tmp_path: Path) -> None:
    async with knowledge(tmp_path) as fixture:
        await configure(fixture, {"model": "rank", "candidates": 60})
        await fill(fixture, *(f"Pump number {number} is red." for number in range(64)))
        found = await search(fixture, top_k=3)
        assert (found.reranked, len(found.results)) == (True, 3)
        assert len(fixture.reranker.asked[0][1]) == 60


async def test_a_long_document_takes_not_all_places_and_the_reranker_chooses_its_passages(tmp_path: Path) -> None:
    async with knowledge(tmp_path) as fixture:
        await configure(fixture, {"model": "rank", "candidates": 8}, chunking={"targetTokens": 32, "overlapTokens": 0})
        long, *short = await fill(fixture, " ".join(f"Pump number {n} is red." for n in range(200)), *TEXTS)
        fixture.reranker.answer = backwards
        found = (await search(fixture, top_k=5)).results
        read = fixture.reranker.asked[0][1]
        assert (len(read), len(set(read) & set(TEXTS))) == (8, 3)
        assert {hit.document for hit in found} == {long.id, *(one.id for one in short)}
        chosen = [hit for hit in found if hit.document == long.id]
        judged = [one for one in read if one not in TEXTS]
        assert [hit.text for hit in chosen] == [judged[-1], judged[-2]], "the last of those that were read are the best"
        assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)


async def test_quoted_text_counts_half_for_the_reranker_too(tmp_path: Path) -> None:
    quoting = mail("mid:<1@example.org>", "See below.", quoted="The pump was broken in May.", parent="mid:<0@x>")
    own = mail("mid:<2@example.org>", "The pump is red.")

    async def prefer_quoted(said: Said) -> Said:
        quoted = ["May" in text for text in fixture.reranker.asked[-1][1]]
        return [replace(one, score=0.9 if quoted[one.index] else 0.5) for one in said]

    async with knowledge(tmp_path) as fixture:
        await configure(fixture)
        await fixture.put("work", [quoting, own])
        await fixture.index()
        fixture.reranker.answer = prefer_quoted
        found = (await search(fixture)).results
        assert [(hit.document, hit.score) for hit in found] == [(own.id, 0.5), (quoting.id, 0.45)]


async def lacking(said: Said) -> Said:
    return said[:-1]


async def nothing(_said: Said) -> Said:
    return []


async def one_more(said: Said) -> Said:
    return [*said, Relevance(index=len(said), score=0.5)]


async def twice(said: Said) -> Said:
    return [*said[:-1], said[0]]


async def twice_beside_all(said: Said) -> Said:
    return [*said, said[0]]


async def below(said: Said) -> Said:
    return [*said[1:], replace(said[0], index=-1)]


def scoring(score: float) -> Callable[[Said], Awaitable[Said]]:
    async def say(said: Said) -> Said:
        return [*said[:-1], replace(said[-1], score=score)]

    return say


async def silence(_said: Said) -> Said:
    await asyncio.sleep(30)
    raise AssertionError("nobody waits for this")


HOSTILE: dict[str, tuple[Any, NotReranked]] = {
    "one score too few": (lacking, NotReranked.BAD_ANSWER),
    "no score": (nothing, NotReranked.BAD_ANSWER),
    "one score too many": (one_more, NotReranked.BAD_ANSWER),
    "one passage twice, another never": (twice, NotReranked.BAD_ANSWER),
    "all passages and one twice": (twice_beside_all, NotReranked.BAD_ANSWER),
    "a passage before the first": (below, NotReranked.BAD_ANSWER),
    "not a number": (scoring(math.nan), NotReranked.BAD_ANSWER),
    "endless": (scoring(math.inf), NotReranked.BAD_ANSWER),
    "above 1": (scoring(1.01), NotReranked.BAD_ANSWER),
    "below 0": (scoring(-0.01), NotReranked.BAD_ANSWER),
    "no answer in time": (silence, NotReranked.TIMEOUT),
    "is away": (RerankerError(NotReranked.UNAVAILABLE, "the gateway answered 503"), NotReranked.UNAVAILABLE),
    "refuses": (RerankerError(NotReranked.REFUSED, "status 400"), NotReranked.REFUSED),
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_a_reranker_that_fails_leaves_the_order_as_it_was(
    tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    answer, reason = HOSTILE[case]
    async with knowledge(tmp_path, HEARTH_RERANK_SECONDS="0.2") as fixture:
        await configure(fixture)
        await fill(fixture, *TEXTS)
        before = (await search(fixture, rerank=False)).results
        fixture.reranker.answer = answer
        capsys.readouterr()
        found = await search(fixture, rerank=True)
        assert (found.results, found.reranked, found.rerank_reason) == (before, False, reason)
        assert len(fixture.reranker.asked) == 1
        assert outcomes(fixture) == {reason.value: 1}
        logged = capsys.readouterr().out
        assert reason.value in logged
        assert "pump" not in logged.lower(), "no text of users in logs"


ITEM = {"index": 0, "relevance_score": 0.5}


@pytest.mark.parametrize(
    "body",
    [
        None, [], "results", 1, {}, {"results": None}, {"results": 3}, {"results": ["x"]}, {"results": [None]},
        {"results": [{"index": 0}]}, {"results": [{"relevance_score": 1}]}, {"results": [ITEM | {"index": "0"}]},
        {"results": [ITEM | {"index": True}]}, {"results": [ITEM | {"index": 0.0}]}, {"results": [ITEM | {"index": None}]},
        {"results": [ITEM | {"relevance_score": None}]}, {"results": [ITEM | {"relevance_score": [1]}]},
        {"results": [ITEM | {"relevance_score": 10**400}]}, {"results": [ITEM | {"relevance_score": "much"}]},
    ],
)  # fmt: skip
def test_an_answer_that_is_no_ranking_is_a_bad_answer(body: object) -> None:
    with pytest.raises(RerankerError) as error:
        read_relevances(body)
    assert error.value.reason is NotReranked.BAD_ANSWER


def test_a_ranking_is_read_as_jina_cohere_and_vllm_write_it() -> None:
    body = {
        "id": "rerank-1",
        "results": [{"index": 1, "relevance_score": 1, "document": {"text": "x"}}, ITEM],
        "usage": {},
    }
    assert read_relevances(body) == [Relevance(index=1, score=1.0), Relevance(index=0, score=0.5)]


async def test_what_the_policy_withholds_is_not_given_to_the_reranker(tmp_path: Path) -> None:
    text = "Anna Berg waits. Call +49 30 901820 about the pump."
    document = with_findings(mail("mid:<1@example.org>", text), mask=False).sealed()
    async with knowledge(tmp_path) as fixture:
        await configure(fixture)
        await fixture.put("work", [document])
        await fixture.index()
        await configure(fixture, privacy={"policy": "Pseudonymise"})
        # The old index answers still: its passages hold what the new policy forbids.
        await search(fixture, "pump of Anna Berg")
        query, (read,), *_ = fixture.reranker.asked[0]
        assert read.endswith("waits. Call [phone] about the pump.")
        name = read.split()[0]
        assert name.startswith("Person-")
        assert query == f"pump of {name}"


async def test_a_passage_without_text_is_not_given_and_spoils_nothing(tmp_path: Path) -> None:
    async with knowledge(tmp_path) as fixture:
        await configure(fixture)
        await fill(fixture, *TEXTS)
        first = (await search(fixture, rerank=False)).results[0]
        show = fixture.service.privacy.passages

        def blank(opened: Any, document: str, version: int, passages: Passages, **options: Any) -> Passages:
            shown = show(opened, document, version, passages, **options)
            if document != first.document:
                return shown
            return replace(shown, chunks=tuple(replace(chunk, text=" ") for chunk in shown.chunks))

        fixture.service.privacy.passages = blank  # type: ignore[method-assign]
        found = await search(fixture)
        assert found.reranked
        assert len(fixture.reranker.asked[0][1]) == 2
        assert [hit.document for hit in found.results][-1] == first.document


@pytest.mark.parametrize("works", [True, False])
async def test_what_is_deleted_while_the_reranker_reads_is_no_result(tmp_path: Path, *, works: bool) -> None:
    async with knowledge(tmp_path) as fixture:
        await configure(fixture)
        documents = await fill(fixture, *TEXTS)

        async def delete_meanwhile(said: Said) -> Said:
            await fixture.put("work", [tombstone(documents[0])])
            if not works:
                raise RerankerError(NotReranked.UNAVAILABLE, "503")
            return said

        fixture.reranker.answer = delete_meanwhile
        found = await search(fixture)
        assert found.reranked is works
        assert {hit.document for hit in found.results} == {documents[1].id, documents[2].id}


async def test_another_reranker_needs_no_new_index_and_other_releases_read_what_is_stored(tmp_path: Path) -> None:
    async with knowledge(tmp_path) as fixture:
        first = await configure(fixture, None)
        await fill(fixture, *TEXTS)
        with fixture.service.database.read() as connection:
            stored = [
                *connection.execute(sa.select(schema.kbs.c.config)).scalars(),
                *connection.execute(sa.select(schema.collections.c.config)).scalars(),
            ]
        assert len(stored) == 2
        assert all("rerank" not in config for config in stored)
        status = await configure(fixture)
        assert (status.collection, status.queue.pending) == (first.collection, 0)
        with fixture.service.database.write() as connection:
            for table in (schema.kbs, schema.collections):
                newer = RERANK | {"later": 1}
                connection.execute(table.update().values(config=stored[0] | {"rerank": newer, "future": {"a": 1}}))
        assert (await search(fixture)).reranked
        await configure(fixture, {"model": "other"})
        await search(fixture)
        assert [model for _, _, model, _ in fixture.reranker.asked] == ["rank", "other"]
        await configure(fixture, None)
        assert (await search(fixture)).rerank_reason == "not_configured"


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "16", "soon", ""])
def test_a_deadline_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(
        InvalidRequestError, match="HEARTH_RERANK_SECONDS: must be a number of seconds above 0, at most 15"
    ):
        Settings.from_environment({"HEARTH_RERANK_SECONDS": text})
    assert Settings.from_environment({"HEARTH_RERANK_SECONDS": "0.5"}).limits.rerank_seconds == 0.5
    assert Settings.from_environment({}).limits.rerank_seconds == 2.0
