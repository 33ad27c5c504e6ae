"""Another index beside the one that answers: built, switched to, dropped, cut short; and the erasing of one source."""

from pathlib import Path
from typing import Any

import pytest

from hearth_api.wire.knowledge import ErasedSource, KbStatus
from hearth_knowledge import erasing
from hearth_knowledge.errors import EmbedderRefusedError
from support.knowledge import mail, tombstone
from support.knowledge_fakes import CONFIG, Fixture, knowledge

OPERATOR, GATEWAY = "hearth-operator", "hearth-gateway"
SECOND = {"model": "other", "digest": "d2", "dimensions": 4}
SAME_NAME = {"model": "embed", "digest": "d2", "dimensions": 8}


async def configure(fixture: Fixture, embedding: dict[str, Any] | None = None) -> KbStatus:
    body = {**CONFIG.to_json_object(), **({"embedding": embedding} if embedding else {})}
    return KbStatus.model_validate(await fixture.json("PUT", "/v1/kbs/work", account=OPERATOR, body=body))


async def status_of(fixture: Fixture) -> KbStatus:
    return KbStatus.model_validate(await fixture.json("GET", "/v1/kbs/work/status", account=OPERATOR))


async def find(fixture: Fixture, query: str = "pump", **request: Any) -> list[str]:
    answer = await fixture.json("POST", "/v1/kbs/work/search", account=GATEWAY, body={"query": query, **request})
    return sorted({hit["document"] for hit in answer["results"]})


def mails(count: int, *, source: str = "inbox") -> list[Any]:
    return [mail(f"mid:<{source}-{n}@example.org>", f"The pump number {n}.", source=source) for n in range(count)]


async def filled(fixture: Fixture, count: int = 3) -> list[str]:
    """A knowledge base with mails about pumps; return their ids."""
    await configure(fixture)
    sent = mails(count)
    await fixture.put("work", sent)
    await fixture.index()
    return sorted(document.id for document in sent)


async def test_the_status_says_where_the_index_comes_from_and_how_far_the_next_one_is(tmp_path: Path) -> None:
    async with knowledge(tmp_path) as fixture:
        await filled(fixture)
        first = await status_of(fixture)
        assert first.index is not None
        assert first.index.built is not None
        assert first.index.building is None
        await configure(fixture, SECOND)
        during = await status_of(fixture)
        assert during.index is not None
        building = during.index.building
        assert building is not None
        assert during.collection == first.collection
        assert during.embedding.model == "embed"
        assert (building.embedding.digest, building.embedding.dimensions) == ("d2", 4)
        assert (building.done, building.total) == (0, 3)
        assert building.started is not None
        await fixture.index()
        after = await status_of(fixture)
        assert after.index is not None
        assert after.collection == building.collection
        assert after.embedding.model == "other"
        assert after.index.building is None
        assert after.index.built is not None
        assert after.index.built > first.index.built
        assert list(fixture.store.collections) == [after.collection], "the old one is dropped"


async def test_searches_answer_at_every_step_of_a_new_embedding(tmp_path: Path) -> None:
    async with knowledge(tmp_path) as fixture:
        ids = await filled(fixture, 40)
        await configure(fixture, SECOND)
        while (await status_of(fixture)).index.building is not None:
            assert await find(fixture, top_k=100) == ids
            await fixture.service.worker.run_once()
        assert await find(fixture, top_k=100) == ids
        assert fixture.store.aliases == {"kb_work": (await status_of(fixture)).collection}


@pytest.mark.parametrize("step", ["pointed", "activated"])
async def test_a_kill_while_switching_is_taken_up(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with knowledge(tmp_path) as fixture:
        ids = await filled(fixture)
        await configure(fixture, SECOND)
        store = fixture.store

        def die(*_args: Any, **_kwargs: Any) -> None:
            raise SystemExit

        if step == "pointed":
            monkeypatch.setattr(fixture.service.registry, "activate_target", die)
        else:
            monkeypatch.setattr(store, "drop", die)
        with pytest.raises(SystemExit):
            await fixture.index()
        assert await find(fixture) == ids
    async with knowledge(tmp_path) as fixture:
        fixture.store.collections, fixture.store.aliases = store.collections, store.aliases
        fixture.clock[0] += 1_000_000
        assert await find(fixture) == ids
        await fixture.index()
        assert await find(fixture) == ids
        status = await status_of(fixture)
        assert status.embedding.model == "other"
        assert list(fixture.store.collections) == [status.collection]
        assert fixture.store.aliases == {"kb_work": status.collection}


async def test_a_search_that_another_index_overtook_asks_that_one(tmp_path: Path) -> None:
    """The switch comes between the embedding of the query and the search in the store."""
    async with knowledge(tmp_path) as fixture:
        ids = await filled(fixture)
        await configure(fixture, SECOND)
        embed = fixture.embedder.embed

        async def switch_first(texts: Any, **options: Any) -> list[list[float]]:
            if options["priority"].value == "interactive":
                fixture.embedder.embed = embed
                await fixture.index()
            return await embed(texts, **options)

        fixture.embedder.embed = switch_first
        assert await find(fixture) == ids
        assert (await status_of(fixture)).embedding.model == "other"


async def test_a_model_that_refuses_everything_does_not_empty_the_index(tmp_path: Path) -> None:
    async with knowledge(tmp_path) as fixture:
        ids = await filled(fixture)
        await configure(fixture, SECOND)
        embed = fixture.embedder.embed

        async def refuse(texts: Any, *, model: str, **options: Any) -> list[list[float]]:
            if model == "other":
                raise EmbedderRefusedError("status 400")
            return await embed(texts, model=model, **options)

        fixture.embedder.embed = refuse
        for _ in range(6):
            await fixture.index()
            fixture.clock[0] += 1_000_000
        status = await status_of(fixture)
        assert status.embedding.model == "embed"
        assert (status.queue.failed, status.queue.last_error) == (3, "embedder_refused")
        assert await find(fixture) == ids
        fixture.embedder.embed = embed
        fixture.clock[0] += 1_000_000
        await fixture.index()
        assert (await status_of(fixture)).embedding.model == "other"
        assert await find(fixture) == ids


async def test_a_name_that_means_another_model_now_is_not_compared_with_the_old_vectors(tmp_path: Path) -> None:
    async with knowledge(tmp_path) as fixture:
        ids = await filled(fixture)
        await configure(fixture, SAME_NAME)
        body = {"query": "pump"}
        status, headers, _ = await fixture.call("POST", "/v1/kbs/work/search", account=GATEWAY, body=body)
        assert (status, headers.get("x-hearth-degraded")) == (200, "embedding")
        assert await find(fixture) == ids
        await fixture.index()
        status, headers, _ = await fixture.call("POST", "/v1/kbs/work/search", account=GATEWAY, body=body)
        assert (status, headers.get("x-hearth-degraded")) == (200, None)


async def test_going_back_drops_what_was_begun(tmp_path: Path) -> None:
    async with knowledge(tmp_path) as fixture:
        ids = await filled(fixture)
        before = (await status_of(fixture)).collection
        await configure(fixture, SECOND)
        await configure(fixture)
        await fixture.index()
        status = await status_of(fixture)
        assert status.index is not None
        assert (status.collection, status.index.building) == (before, None)
        assert await find(fixture) == ids


# Erasing a source


async def erase(fixture: Fixture, source: str = "inbox") -> ErasedSource:
    answer = await fixture.json("DELETE", f"/v1/kbs/work/sources/{source}", account=OPERATOR)
    return ErasedSource.model_validate(answer)


def blobs(folder: Path) -> list[Path]:
    return [path for path in (folder / "data" / "kbs").rglob("*") if path.is_file()]


async def test_erasing_removes_one_source_whole_and_nothing_else(tmp_path: Path) -> None:
    async with knowledge(tmp_path) as fixture:
        await filled(fixture)
        kept = mails(2, source="other")
        await fixture.put("work", kept, source="other")
        await fixture.index()
        await fixture.call(
            "PUT", f"/v1/kbs/work/documents/{mails(1)[0].id}/original", account="hearth-ingest-inbox", body=b"bytes"
        )
        cursor = "/v1/kbs/work/sources/inbox/cursor"
        await fixture.json("PUT", cursor, account="hearth-ingest-inbox", body={"value": "7"})
        await configure(fixture, SECOND)  # two collections, one half built
        await fixture.service.worker.run_once()
        assert (await erase(fixture)).model_dump() == {"erased": 3, "left": 0}
        ids = sorted(document.id for document in kept)
        assert await find(fixture) == ids
        assert {row.source for rows in fixture.store.collections.values() for row in rows.values()} == {"other"}
        assert {path.name.split(".")[0] for path in blobs(tmp_path)} == set(ids)
        assert (await fixture.json("GET", cursor, account="hearth-ingest-inbox")).get("value") is None
        await fixture.index()
        status = await status_of(fixture)
        assert [(source.source, source.documents) for source in status.sources] == [("other", 2)]
        assert status.consistency.consistent
        assert await find(fixture) == ids
        # The same mails may come again.
        answers = await fixture.put("work", mails(3))
        assert [answer["state"] for answer in answers] == ["added"] * 3


async def test_erasing_again_and_of_nothing_changes_nothing_and_is_written_down_once(tmp_path: Path) -> None:
    async with knowledge(tmp_path) as fixture:
        status, _, _ = await fixture.call("DELETE", "/v1/kbs/none/sources/inbox", account=OPERATOR)
        assert status == 200
        await filled(fixture)
        for expected in (3, 0, 0):
            assert (await erase(fixture)).erased == expected
        assert (await erase(fixture, "never-was")).erased == 0
        audit = await fixture.json("GET", "/v1/kbs/work/audit", account=GATEWAY)
        (entry,) = audit["items"]
        assert (entry["act"], entry["document"], entry["actor"]) == ("erase-source", "source:inbox", OPERATOR)
        assert "3 versions" in entry["reason"]


async def test_while_the_store_is_away_nothing_is_shown_and_the_next_call_ends_it(tmp_path: Path) -> None:
    async with knowledge(tmp_path) as fixture:
        ids = await filled(fixture)
        fixture.store.down = True
        status, _, _ = await fixture.call("DELETE", "/v1/kbs/work/sources/inbox", account=OPERATOR)
        assert status == 503
        fixture.store.down = False
        assert await find(fixture) == []
        status, _, _ = await fixture.call("GET", f"/v1/kbs/work/documents/{ids[0]}", account=GATEWAY)
        assert status == 404
        assert (await erase(fixture)).left == 0
        assert blobs(tmp_path) == []


async def test_a_large_source_is_erased_in_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasing, "BATCH", 2)
    monkeypatch.setattr(erasing, "SECONDS", -1.0)
    async with knowledge(tmp_path) as fixture:
        await filled(fixture, 5)
        assert [(await erase(fixture)).left for _ in range(4)] == [3, 1, 0, 0]
        assert not any(fixture.store.collections.values())


async def test_what_was_read_for_the_index_before_it_was_erased_is_not_written(tmp_path: Path) -> None:
    async with knowledge(tmp_path) as fixture:
        await configure(fixture)
        await fixture.put("work", mails(2))
        await fixture.put("work", mails(1, source="other"), source="other")
        embed = fixture.embedder.embed

        async def erase_first(texts: Any, **options: Any) -> list[list[float]]:
            fixture.embedder.embed = embed
            await erase(fixture)
            return await embed(texts, **options)

        fixture.embedder.embed = erase_first
        await fixture.index()
        rows = [row for rows in fixture.store.collections.values() for row in rows.values()]
        assert {row.source for row in rows} == {"other"}
        assert (await status_of(fixture)).chunks == len(rows) > 0


async def test_a_paused_knowledge_base_takes_and_forgets_documents_but_indexes_none(tmp_path: Path) -> None:
    async with knowledge(tmp_path) as fixture:
        before = await filled(fixture)
        paused = CONFIG.model_copy(update={"paused": True}).to_json_object()
        await fixture.json("PUT", "/v1/kbs/work", account=OPERATOR, body=paused)
        old, new = mails(3)[0], mail("mid:<new@example.org>", "Another pump.")
        await fixture.put("work", [new, tombstone(old)])
        embedded = len(fixture.embedder.texts)
        await fixture.index()
        assert len(fixture.embedder.texts) == embedded
        assert await find(fixture, mode="sparse") == sorted(set(before) - {old.id})
        assert (await status_of(fixture)).queue.pending == 1
        await configure(fixture)
        await fixture.index()
        assert await find(fixture) == sorted({*before, new.id} - {old.id})
