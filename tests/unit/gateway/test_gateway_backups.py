"""Backups through the gateway: the scope admin, and the service's own refusals."""

from unittest.mock import AsyncMock

import pytest

from hearth_api.wire.keys import Scope
from hearth_gateway.app import route_label
from hearth_gateway.errors import ConflictError, NotFoundError
from hearth_gateway.knowledge import _shown
from support.gateway import FakeKnowledge, Harness, key_record


def house(*scopes: Scope) -> tuple[Harness, FakeKnowledge]:
    fake = FakeKnowledge()
    gateway = Harness(knowledge=fake)
    gateway.source.keys = {"abcdefghij": key_record(gateway.key, scopes=scopes)}
    return gateway, fake


async def test_only_an_administrator_makes_and_lists_backups() -> None:
    gateway, fake = house(Scope.CHAT, Scope.SEARCH, Scope.EMBED, Scope.REVEAL)
    assert (await gateway.get("/v1/backups")).status == 403
    assert (await gateway.post("/v1/backups", {})).status == 403
    assert fake.requests == []
    gateway, fake = house(Scope.ADMIN)
    assert (await gateway.get("/v1/backups")).json() == {"items": []}
    made = await gateway.post("/v1/backups", {})
    assert (made.status, made.json()) == (201, {"name": "backup-1"})


@pytest.mark.parametrize("words", ["another backup is being made", ""])
async def test_a_conflict_of_the_service_stays_one(words: str) -> None:
    answer = AsyncMock()
    answer.status = 409
    answer.content.read.return_value = f'{{"error":{{"message":"{words}"}}}}'.encode()
    error = await _shown(answer, missing=NotFoundError("x"))
    assert isinstance(error, ConflictError)
    assert error.status == 409
    assert words in error.message


def test_the_route_has_a_label_of_its_own() -> None:
    assert route_label("/v1/backups") == "/v1/backups"
