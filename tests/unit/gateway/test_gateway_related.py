"""What belongs to a hit or a document: asked for, passed on, and guarded like the document itself."""

from contextlib import asynccontextmanager
from typing import Any

import pytest

from hearth_api.wire.keys import Scope
from hearth_api.wire.knowledge import Related, SearchHit
from hearth_gateway.app import route_label
from support.gateway import FakeKnowledge, Harness, key_record

DOCUMENT = "email-aaaaaaaaaaaaaaaaaaaa"
PATH = f"/v1/knowledge-bases/work/documents/{DOCUMENT}/related"
BELONGING = Related(
    document="calendar-bbbbbbbbbbbbbbbbbbbb",
    rel="meeting",
    reason="iCalendar UID",
    title="Planning",
    kind="calendar",
    source="calendar",
)


class _Answer:
    async def read(self) -> bytes:
        return b'{"id":"x","related":[]}'


class _Reading(FakeKnowledge):
    @asynccontextmanager
    async def read(self, knowledge_base: str, **asked: Any) -> Any:
        self.requests.append((knowledge_base, asked))
        yield _Answer()


async def test_a_search_passes_on_what_is_to_be_expanded_and_what_was_found() -> None:
    hit = SearchHit(
        document=DOCUMENT, version=1, chunk=0, title="t", text="x", score=1.0, source="inbox", kind="email",
        related=(BELONGING,),
    )  # fmt: skip
    fake = FakeKnowledge({"work": [hit]})
    reply = await Harness(knowledge=fake).post("/v1/search", {"query": "q", "expand": ["thread", "meeting"]})
    assert fake.requests[0][1].expand == ("thread", "meeting")
    assert reply.json()["results"][0]["related"][0]["reason"] == "iCalendar UID"


async def test_an_unknown_expansion_names_the_field() -> None:
    reply = await Harness().post("/v1/search", {"query": "q", "expand": ["everything"]})
    assert reply.status == 400
    assert "expand" in reply.json()["error"]["message"] + str(reply.json()["error"]["param"])


async def test_related_documents_are_asked_for_by_the_documents_path() -> None:
    fake = _Reading()
    reply = await Harness(knowledge=fake).get(PATH)
    assert reply.json() == {"id": "x", "related": []}
    assert fake.requests == [("work", {"document": DOCUMENT, "part": "/related", "query": {}})]
    assert route_label(PATH) == "/v1/knowledge-bases/*/documents/*/related"


@pytest.mark.parametrize(("scopes", "bases"), [((Scope.CHAT,), None), ((Scope.SEARCH,), ("home",))])
async def test_who_may_not_read_the_base_may_not_ask(scopes: tuple[Scope, ...], bases: tuple[str, ...] | None) -> None:
    fake = _Reading()
    gateway = Harness(knowledge=fake)
    gateway.source.keys = {"abcdefghij": key_record(gateway.key, scopes=scopes, knowledge_bases=bases)}
    assert (await gateway.get(PATH)).status == 403
    assert fake.requests == []
