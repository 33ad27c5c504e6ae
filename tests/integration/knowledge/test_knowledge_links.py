"""What belongs together, found in what the readers really make of the sample month: only embedder and store are fakes."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from hearth_api.wire.knowledge import EmbeddingConfig, KbConfig
from support.knowledge_fakes import Fixture, knowledge

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLANNING = "uid:planning-2026@example.org"
REVIEW = "uid:incident-review-1110@example.org"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def filled(
    sample: dict[str, list[bytes]], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Fixture, dict[str, Any]]]:
    """A service with the whole month, and its documents by origin key. Chats come first, before what they name."""
    documents = {}
    async with knowledge(tmp_path_factory.mktemp("links")) as fixture:
        config = KbConfig(embedding=EmbeddingConfig(model="embed", digest="sha256:0", dimensions=16))
        await fixture.json("PUT", "/v1/kbs/work", account="hearth-operator", body=config.to_json_object())
        for source in ("chats", "documents", "inbox", "calendar"):
            lines = [line for line in sample[source] if "error" not in json.loads(line)]
            documents |= {each["origin"]["key"]: each for each in map(json.loads, lines)}
            for start in range(0, len(lines), 50):
                await fixture.put("work", lines[start : start + 50], source=source)
        await fixture.index()
        yield fixture, documents


async def related(filled: tuple[Fixture, dict[str, Any]], key: str) -> dict[str, tuple[str, str]]:
    """Return what belongs to a document: origin key -> (rel, reason)."""
    fixture, documents = filled
    names = {document["id"]: name for name, document in documents.items()}
    path = f"/v1/kbs/work/documents/{documents[key]['id']}/related"
    answer = await fixture.json("GET", path, account="hearth-gateway")
    return {names[one["document"]]: (one["rel"], one["reason"]) for one in answer["related"]}


async def test_a_meeting_is_joined_with_invitation_chat_and_notes(filled: tuple[Fixture, dict[str, Any]]) -> None:
    found = await related(filled, PLANNING)
    assert found["mid:<planning-moved@example.org>"] == ("invitation", "iCalendar UID")
    assert sum(rel == "chat" and reason == "iCalendar UID" for rel, reason in found.values()) >= 2
    rel, reason = found["file:minutes-2026-11-05-planning.docx"]
    assert rel == "notes"
    assert "time" in reason


async def test_the_meeting_is_found_from_each_of_its_parts(filled: tuple[Fixture, dict[str, Any]]) -> None:
    around = await related(filled, REVIEW)
    assert {rel for rel, _ in around.values()} >= {"invitation", "chat"}
    for key in around:
        assert REVIEW in await related(filled, key), key
    assert PLANNING in await related(filled, "file:minutes-2026-11-05-planning.docx")


async def test_a_file_that_a_chat_shares_is_joined_with_it(filled: tuple[Fixture, dict[str, Any]]) -> None:
    _, documents = filled
    (chat,) = (
        key
        for key, each in documents.items()
        if any("incident-2026-11-10.docx" in str(link) for link in each.get("links", ()))
    )
    assert any(rel in {"thread", "meeting", "file"} for rel, _ in (await related(filled, chat)).values())


async def test_nothing_is_joined_with_half_of_the_month(filled: tuple[Fixture, dict[str, Any]]) -> None:
    _, documents = filled
    most = max([len(await related(filled, key)) for key in list(documents)[::7]])
    assert most <= 30


async def test_a_search_expands_a_hit_to_its_meeting(filled: tuple[Fixture, dict[str, Any]]) -> None:
    fixture, documents = filled
    body = {
        "query": "planning",
        "mode": "sparse",
        "top_k": 20,
        "filters": {"kind": ["calendar"]},
        "expand": ["meeting"],
    }
    answer = await fixture.json("POST", "/v1/kbs/work/search", account="hearth-gateway", body=body)
    (hit, *_) = (one for one in answer["results"] if one["document"] == documents[PLANNING]["id"])
    assert {one["rel"] for one in hit["related"]} >= {"invitation", "chat", "notes"}
