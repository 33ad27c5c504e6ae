"""Quarantine, release, reveal and audit: who may, in whose name, and what a refusal says."""

import json
from unittest.mock import AsyncMock

import pytest

from hearth_api.wire.keys import Scope
from hearth_gateway.app import route_label
from hearth_gateway.errors import NotFoundError
from hearth_gateway.knowledge import _shown
from support.gateway import FakeKnowledge, Harness, key_record

BASE = "/v1/knowledge-bases/work"
DOCUMENT = f"{BASE}/documents/email-aaaaaaaaaaaaaaaaaaaa"
READING = (f"{BASE}/quarantine", f"{BASE}/audit", f"{DOCUMENT}/original?reveal=x")
ACTING = (f"{DOCUMENT}/release", f"{DOCUMENT}/reveal")
SEARCH_AND_REVEAL = (Scope.SEARCH, Scope.REVEAL)


def house(*scopes: Scope, bases: tuple[str, ...] | None = None) -> tuple[Harness, FakeKnowledge]:
    fake = FakeKnowledge()
    gateway = Harness(knowledge=fake)
    gateway.source.keys = {"abcdefghij": key_record(gateway.key, scopes=scopes, knowledge_bases=bases)}
    return gateway, fake


@pytest.mark.parametrize(
    ("scopes", "bases"),
    [((Scope.SEARCH, Scope.CHAT, Scope.EMBED), None), ((Scope.REVEAL,), None), (SEARCH_AND_REVEAL, ("home",))],
)
async def test_the_scope_and_the_right_to_read_are_both_needed(
    scopes: tuple[Scope, ...], bases: tuple[str, ...] | None
) -> None:
    gateway, fake = house(*scopes, bases=bases)
    for path in READING:
        assert (await gateway.get(path)).status == 403, path
    for path in ACTING:
        assert (await gateway.post(path, {"reason": "x"})).status == 403, path
    assert fake.requests == []


@pytest.mark.parametrize("scopes", [SEARCH_AND_REVEAL, (Scope.ADMIN,)])
async def test_acts_go_out_in_the_name_of_the_key(scopes: tuple[Scope, ...]) -> None:
    gateway, fake = house(*scopes)
    assert (await gateway.post(f"{DOCUMENT}/release", {"reason": "mine", "segments": [1]})).json() == {"released": 1}
    await gateway.post(f"{DOCUMENT}/reveal", {"reason": "mine", "original": True})
    sent = [(asked["act"], json.loads(asked["body"])) for _, asked in fake.requests]
    assert sent == [
        ("release", {"actor": "abcdefghij", "reason": "mine", "segments": [1]}),
        ("reveal", {"actor": "abcdefghij", "reason": "mine", "original": True}),
    ]
    reply = await gateway.get(f"{BASE}/quarantine?after=c&limit=2")
    assert reply.json() == {"items": []}
    assert fake.requests[-1] == ("work", {"part": "quarantine", "query": {"limit": "2", "after": "c"}})
    assert (await gateway.get(f"{BASE}/audit")).status == 200


@pytest.mark.parametrize("path", ACTING)
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        ({}, 400),
        ({"reason": ""}, 400),
        ({"reason": "x" * 501}, 400),
        ({"reason": "x", "actor": "somebodyelse"}, 400),
        (b"x" * 20_000, 413),
    ],
)
async def test_without_a_reason_or_in_another_name_nothing_happens(path: str, body: object, status: int) -> None:
    gateway, fake = house(Scope.ADMIN)
    reply = await gateway.post(path, body)
    assert reply.status == status
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
    assert fake.requests == []


async def test_what_is_no_base_no_document_or_no_page_is_refused() -> None:
    gateway, _ = house(Scope.ADMIN)
    assert (await gateway.get("/v1/knowledge-bases/nope/quarantine")).status == 404
    assert (await gateway.post(f"{BASE}/documents/..%2f..%2fstatus/reveal", {"reason": "x"})).status in (400, 404)
    assert (await gateway.get(f"{BASE}/quarantine?limit=1000")).status == 400


def test_labels_tell_the_act_and_no_names() -> None:
    assert route_label(f"{BASE}/quarantine") == "/v1/knowledge-bases/*/quarantine"
    assert route_label(f"{DOCUMENT}/reveal") == "/v1/knowledge-bases/*/documents/*/reveal"


class Refusal:
    """As much of a response as its reading needs."""

    status = 403

    def __init__(self, code: str) -> None:
        body = json.dumps({"error": {"message": "reveal gives a permission", "code": code}}).encode()
        self.headers: dict[str, str] = {}
        self.content = self
        self.read = AsyncMock(return_value=body)


@pytest.mark.parametrize(("code", "status"), [("withheld", 403), ("forbidden", 503)])
async def test_a_withheld_original_says_how_it_is_had(code: str, status: int) -> None:
    error = await _shown(Refusal(code), missing=NotFoundError("x"))  # type: ignore[arg-type]  # read by shape
    assert error.status == status
    assert (error.message == "reveal gives a permission") == (code == "withheld")
