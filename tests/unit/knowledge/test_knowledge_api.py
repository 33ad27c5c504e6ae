"""The calls of INTERFACES through ASGI, over fakes for embedder and vector store."""

import json
from pathlib import Path
from typing import Any

import pytest

from hearth_api.wire.documents import ManifestLine
from hearth_api.wire.knowledge import KbStatus, RunKey, SearchResponse
from hearth_knowledge.errors import EmbedderUnavailableError
from support.knowledge import mail, tombstone
from support.knowledge_fakes import CONFIG, Fixture, knowledge

OPERATOR, GATEWAY, INGEST = "hearth-operator", "hearth-gateway", "hearth-ingest-inbox"


async def made(fixture: Fixture, kb: str = "work", **changes: Any) -> KbStatus:
    body = {**CONFIG.to_json_object(), **changes}
    answer = await fixture.json("PUT", f"/v1/kbs/{kb}", account=OPERATOR, body=body)
    return KbStatus.model_validate(answer)


async def search(fixture: Fixture, query: str, **request: Any) -> SearchResponse:
    body = {"query": query, **request}
    return SearchResponse.model_validate(await fixture.json("POST", "/v1/kbs/work/search", account=GATEWAY, body=body))


def error(answer: bytes) -> dict[str, str]:
    found: dict[str, str] = json.loads(answer)["error"]
    assert set(found) == {"message", "type", "code"}
    return found


async def test_a_knowledge_base_is_made_once_and_its_key_stays(tmp_path: Path) -> None:
    async with knowledge(tmp_path) as fixture:
        status = await made(fixture)
        assert status.collection.startswith("kb_work_")
        assert await made(fixture) is not None
        path = "/v1/kbs/work/sources/inbox/id-key"
        key = RunKey.model_validate(await fixture.json("GET", path, account=INGEST))
        assert key == RunKey.model_validate(await fixture.json("GET", path, account=INGEST))
    async with knowledge(tmp_path) as fixture:
        assert key == RunKey.model_validate(await fixture.json("GET", path, account=INGEST))


async def test_a_batch_answers_each_line_and_a_bad_line_stops_nobody(tmp_path: Path) -> None:
    good, also_good = mail("mid:<1@example.org>", "One."), mail("mid:<2@example.org>", "Two.")
    foreign = mail("mid:<3@example.org>", "Three.", source="other")
    broken = {**json.loads(good.model_dump_json(by_alias=True)), "id": "NO", "surprise": 1}
    forged = {**json.loads(good.model_dump_json(by_alias=True)), "contentHash": "sha256:0"}
    async with knowledge(tmp_path) as fixture:
        await made(fixture)
        await fixture.put("work", [foreign], source="other")
        lines = [good, broken, b"{nonsense", b"[]", foreign, forged, tombstone(foreign), also_good, good]
        answers = await fixture.put("work", lines)
        assert [answer["state"] for answer in answers] == [
            "added", "refused", "refused", "refused", "refused", "refused", "refused", "added", "unchanged",
        ]  # fmt: skip
        problems = [answer.get("error", "") for answer in answers]
        assert problems[1].startswith("id:") or "surprise" in problems[1] or "." in problems[1]
        assert problems[2] == "line: is not JSON"
        assert problems[3] == "line: is not a JSON object"
        assert problems[4].startswith("source:")
        assert problems[5].startswith("contentHash:")
        assert problems[6].startswith("id:")
        assert answers[-1]["version"] == 1
        assert [answer["state"] for answer in await fixture.put("work", [tombstone(mail("mid:<9@x>", "x"))])] == [
            "unchanged"
        ]


async def test_limits_are_kept(tmp_path: Path) -> None:
    long = mail("mid:<1@example.org>", "word " * 1000)
    async with knowledge(tmp_path, HEARTH_LINE_LIMIT_BYTES="3000", HEARTH_BATCH_LIMIT_BYTES="9000") as fixture:
        await made(fixture)
        answers = await fixture.put("work", [long, mail("mid:<2@example.org>", "Two.")])
        assert [answer["state"] for answer in answers] == ["refused", "added"]
        path = "/v1/kbs/work/documents:batch"
        status, _, answer = await fixture.call("POST", path, account=INGEST, body=b"x" * 9001)
        assert (status, error(answer)["code"]) == (413, "too_large")
        status, _, answer = await fixture.call("POST", path, account=INGEST, body=b"x\n" * 1001)
        assert (status, error(answer)["code"]) == (400, "invalid_request")


async def test_an_original_over_the_limit_is_refused_and_the_former_stays(tmp_path: Path) -> None:
    document = mail("mid:<1@example.org>", "One.")
    path = f"/v1/kbs/work/documents/{document.id}/original"
    async with knowledge(tmp_path, HEARTH_ORIGINAL_LIMIT_BYTES="5000") as fixture:
        await made(fixture)
        await fixture.put("work", [document])
        status, _, _ = await fixture.call("GET", path, account=GATEWAY)
        assert status == 404
        headers = {"content-type": "message/rfc822"}
        status, _, _ = await fixture.call("PUT", path, account=INGEST, body=b"a" * 5000, headers=headers)
        assert status == 204
        status, _, answer = await fixture.call("PUT", path, account=INGEST, body=b"b" * 5001, headers=headers)
        assert (status, error(answer)["code"]) == (413, "too_large")
        status, sent, answer = await fixture.call("GET", path, account=GATEWAY)
        assert (status, answer) == (200, b"a" * 5000)
        assert sent["content-type"] == "message/rfc822"
        assert sent["content-disposition"] == "attachment"
        assert sent["x-content-type-options"] == "nosniff"
        assert not list((tmp_path / "data").rglob(".new-*"))


async def test_manifest_follows_fingerprint_and_deletion(tmp_path: Path) -> None:
    document = mail("mid:<1@example.org>", "One.")
    touched = document.model_copy(update={"origin": document.origin.model_copy(update={"fingerprint": "size:2"})})
    async with knowledge(tmp_path) as fixture:
        await made(fixture)

        async def manifest() -> list[ManifestLine]:
            _, _, answer = await fixture.call("GET", "/v1/kbs/work/sources/inbox/manifest", account=INGEST)
            return [ManifestLine.model_validate_json(line) for line in answer.splitlines()]

        assert await manifest() == []
        await fixture.put("work", [document, mail("f", "x", source="other")][:1])
        (line,) = await manifest()
        assert (line.id, line.key, line.fingerprint) == (document.id, "mid:<1@example.org>", "size:1")
        (answer,) = await fixture.put("work", [touched])
        assert answer["state"] == "unchanged"
        assert (await manifest())[0].fingerprint == "size:2"
        await fixture.put("work", [tombstone(document)])
        assert await manifest() == []


async def test_cursor_is_compared_and_swapped(tmp_path: Path) -> None:
    path = "/v1/kbs/work/sources/inbox/cursor"
    async with knowledge(tmp_path) as fixture:
        await made(fixture)
        assert (await fixture.json("GET", path, account=INGEST)).get("value") is None
        await fixture.json("PUT", path, account=INGEST, body={"value": "a"})
        status, _, answer = await fixture.call("PUT", path, account=INGEST, body={"value": "b"})
        assert (status, error(answer)["code"]) == (409, "conflict")
        await fixture.json("PUT", path, account=INGEST, body={"value": "b", "previous": "a"})
        assert (await fixture.json("GET", path, account=INGEST))["value"] == "b"


async def test_search_explains_groups_and_forgets_deleted_documents_before_the_index_does(tmp_path: Path) -> None:
    long = mail("mid:<1@example.org>", " ".join(f"Pump number {n} is red." for n in range(200)))
    short = mail("mid:<2@example.org>", "The pump was replaced.")
    async with knowledge(tmp_path) as fixture:
        await made(fixture, chunking={"targetTokens": 32, "overlapTokens": 0})
        assert (await search(fixture, "pump")).results == ()
        await fixture.put("work", [long, short])
        assert (await search(fixture, "pump")).results == ()
        await fixture.index()
        found = await search(fixture, "pump", mode="sparse", top_k=3, explain=True)
        assert [row.document for row in found.results].count(short.id) == 1
        assert all(row.explain and row.explain["sparse"] > 0 and "dense" not in row.explain for row in found.results)
        assert found.results[0].title == "A mail"
        await fixture.put("work", [tombstone(long)])
        assert {row.document for row in (await search(fixture, "pump")).results} == {short.id}
        await fixture.index()
        assert {row.document for row in (await search(fixture, "pump")).results} == {short.id}


async def test_an_update_makes_no_hole_and_shows_the_new_text_once_indexed(tmp_path: Path) -> None:
    old, new = mail("mid:<1@example.org>", "The pump is red."), mail("mid:<1@example.org>", "The pump is blue.")
    async with knowledge(tmp_path) as fixture:
        await made(fixture)
        await fixture.put("work", [old])
        await fixture.index()
        await fixture.put("work", [new])
        assert [(row.version, row.text) for row in (await search(fixture, "pump")).results] == [(1, "The pump is red.")]
        await fixture.index()
        assert [(row.version, row.text) for row in (await search(fixture, "pump")).results] == [
            (2, "The pump is blue.")
        ]


async def test_without_the_embedder_hybrid_falls_back_and_dense_says_so(tmp_path: Path) -> None:
    async with knowledge(tmp_path) as fixture:
        await made(fixture)
        await fixture.put("work", [mail("mid:<1@example.org>", "The pump is red.")])
        await fixture.index()
        fixture.embedder.down = True
        path = "/v1/kbs/work/search"
        status, headers, answer = await fixture.call("POST", path, account=GATEWAY, body={"query": "pump"})
        assert (status, headers["x-hearth-degraded"]) == (200, "embedding")
        assert len(json.loads(answer)["results"]) == 1
        status, headers, answer = await fixture.call(
            "POST", path, account=GATEWAY, body={"query": "pump", "mode": "dense"}
        )
        assert (status, error(answer)["code"], headers["retry-after"]) == (503, "embedder_unavailable", "5")
        fixture.store.down = True
        status, _, answer = await fixture.call("POST", path, account=GATEWAY, body={"query": "pump"})
        assert (status, error(answer)["code"]) == (503, "vector_store_unavailable")


BAD_INPUT: list[tuple[str, str, str, Any, int, str]] = [
    ("PUT", "/v1/kbs/Work_1", OPERATOR, CONFIG.to_json_object(), 400, "kb:"),
    ("PUT", "/v1/kbs/work", OPERATOR, {"embedding": {"model": "m"}}, 400, "embedding.digest"),
    ("PUT", "/v1/kbs/work", OPERATOR, {**CONFIG.to_json_object(), "tpyo": 1}, 400, "tpyo"),
    ("PUT", "/v1/kbs/work", OPERATOR, {**CONFIG.to_json_object(), "store": {"mode": "External"}}, 400, "store.uri"),
    ("POST", "/v1/kbs/work/search", GATEWAY, {"query": ""}, 400, "query"),
    ("POST", "/v1/kbs/work/search", GATEWAY, {"query": "x", "top_k": 0}, 400, "top_k"),
    ("POST", "/v1/kbs/work/search", GATEWAY, b"{", 400, ""),
    ("POST", "/v1/kbs/none/search", GATEWAY, {"query": "x"}, 404, "none"),
    ("POST", "/v1/kbs/none/documents:batch", INGEST, b"", 404, "none"),
    ("GET", "/v1/kbs/none/status", OPERATOR, None, 404, "none"),
    ("GET", "/v1/kbs/none/sources/inbox/manifest", INGEST, None, 404, "none"),
    ("GET", "/v1/kbs/work/documents/nonsense", GATEWAY, None, 400, "document:"),
    ("GET", "/v1/kbs/work/documents/email-aaaaaaaaaaaaaaaa", GATEWAY, None, 404, "email-aaaaaaaaaaaaaaaa"),
    ("GET", "/v1/nothing", GATEWAY, None, 404, ""),
    ("PATCH", "/v1/kbs/work", OPERATOR, None, 405, ""),
]


async def test_bad_input_is_named(tmp_path: Path) -> None:
    async with knowledge(tmp_path) as fixture:
        await made(fixture)
        for verb, path, account, body, status, part in BAD_INPUT:
            headers = {"content-type": "application/json"} if isinstance(body, bytes) else None
            found, _, answer = await fixture.call(verb, path, account=account, body=body, headers=headers)
            assert found == status, (verb, path, answer)
            assert part in error(answer)["message"], (verb, path, answer)


async def test_status_says_whom_the_queue_waits_for(tmp_path: Path) -> None:
    async with knowledge(tmp_path) as fixture:
        await made(fixture)
        fixture.embedder.down = True
        await fixture.put("work", [mail("mid:<1@example.org>", "One.")])
        with pytest.raises(EmbedderUnavailableError):
            await fixture.index()
        status = KbStatus.model_validate(await fixture.json("GET", "/v1/kbs/work/status", account=OPERATOR))
        assert (status.queue.pending, status.queue.last_error) == (1, "embedder_unavailable")
        fixture.embedder.down = False
        await fixture.index()
        status = KbStatus.model_validate(await fixture.json("GET", "/v1/kbs/work/status", account=OPERATOR))
        assert (status.queue.pending, status.queue.last_error) == (0, None)


async def test_a_document_that_cannot_be_indexed_stops_nobody(tmp_path: Path) -> None:
    bad, good = mail("mid:<1@example.org>", "Bad."), mail("mid:<2@example.org>", "Good pump.")
    async with knowledge(tmp_path) as fixture:
        await made(fixture)
        await fixture.put("work", [bad, good])
        (body,) = (tmp_path / "data" / "kbs").rglob(f"{bad.id}.1.body")
        body.write_bytes(body.read_bytes()[:-1] + b"?")
        await fixture.index()
        status = KbStatus.model_validate(await fixture.json("GET", "/v1/kbs/work/status", account=OPERATOR))
        assert (status.queue.failed, status.queue.last_error, status.queue.pending) == (1, "seal_broken", 0)
        assert [row.document for row in (await search(fixture, "pump")).results] == [good.id]
        status_code, _, answer = await fixture.call("GET", f"/v1/kbs/work/documents/{bad.id}", account=GATEWAY)
        assert (status_code, error(answer)["code"]) == (500, "seal_broken")


async def test_deleting_removes_rows_files_and_vectors(tmp_path: Path) -> None:
    async with knowledge(tmp_path) as fixture:
        await made(fixture)
        await fixture.put("work", [mail("mid:<1@example.org>", "One.")])
        await fixture.index()
        assert fixture.store.collections
        fixture.store.down = True
        status, _, _ = await fixture.call("DELETE", "/v1/kbs/work", account=OPERATOR)
        assert status == 503
        fixture.store.down = False
        for _ in range(2):
            status, _, _ = await fixture.call("DELETE", "/v1/kbs/work", account=OPERATOR)
            assert status == 204
        assert not fixture.store.collections
        assert not (tmp_path / "data" / "kbs" / "work").exists()
        await fixture.index()
        assert (await made(fixture)).documents == 0


async def test_probes_and_metrics(tmp_path: Path) -> None:
    async with knowledge(tmp_path) as fixture:
        assert (await fixture.call("GET", "/readyz"))[0] == 200
        assert (await fixture.call("GET", "/healthz"))[0] == 503  # its worker was never started here
        await made(fixture)
        await fixture.put("work", [mail("mid:<1@example.org>", "Secretword.")])
        _, _, answer = await fixture.call("GET", "/metrics")
        assert b'hearth_knowledge_queue{kb="work",state="pending"} 1.0' in answer
        assert b"Secretword" not in answer
        (tmp_path / "kek" / "v1").unlink()
        assert (await fixture.call("GET", "/readyz"))[0] == 503
    with pytest.raises(Exception, match="HEARTH_PORT"):
        async with knowledge(tmp_path, HEARTH_PORT="http"):
            pass


async def test_a_second_service_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    async with knowledge(tmp_path):
        with pytest.raises(Exception, match="another knowledge service"):
            async with knowledge(tmp_path):
                pass
