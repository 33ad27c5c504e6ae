"""The authorization table, whole: every account against every call."""

import asyncio
from pathlib import Path

import pytest

from hearth_common.errors import KubeUnreachableError
from hearth_knowledge.authorization import Action, Guard, is_allowed
from hearth_knowledge.errors import ForbiddenError, UnauthenticatedError, UnavailableError
from support.knowledge import mail
from support.knowledge_fakes import CONFIG, NamedTokens, knowledge

DOCUMENT = mail("mid:<1@example.org>", "x").id
CALLS = {
    "configure": ("PUT", "/v1/kbs/work", {"hearth-operator"}),
    "status": ("GET", "/v1/kbs/work/status", {"hearth-operator", "hearth-gateway"}),
    "manifest": ("GET", "/v1/kbs/work/sources/inbox/manifest", {"hearth-ingest-inbox"}),
    "id key": ("GET", "/v1/kbs/work/sources/inbox/id-key", {"hearth-ingest-inbox"}),
    "read cursor": ("GET", "/v1/kbs/work/sources/inbox/cursor", {"hearth-ingest-inbox"}),
    "move cursor": ("PUT", "/v1/kbs/work/sources/inbox/cursor", {"hearth-ingest-inbox"}),
    "batch": ("POST", "/v1/kbs/work/documents:batch", {"hearth-ingest-inbox", "hearth-ingest-other"}),
    "store original": ("PUT", f"/v1/kbs/work/documents/{DOCUMENT}/original", {"hearth-ingest-inbox"}),
    "read document": ("GET", f"/v1/kbs/work/documents/{DOCUMENT}", {"hearth-gateway"}),
    "read original": ("GET", f"/v1/kbs/work/documents/{DOCUMENT}/original", {"hearth-gateway"}),
    "history": ("GET", f"/v1/kbs/work/documents/{DOCUMENT}/history", {"hearth-gateway"}),
    "diff": ("GET", f"/v1/kbs/work/documents/{DOCUMENT}/diff?from_version=1&to_version=1", {"hearth-gateway"}),
    "related": ("GET", f"/v1/kbs/work/documents/{DOCUMENT}/related", {"hearth-gateway"}),
    "search": ("POST", "/v1/kbs/work/search", {"hearth-gateway"}),
    "quarantine": ("GET", "/v1/kbs/work/quarantine", {"hearth-gateway"}),
    "release": ("POST", f"/v1/kbs/work/documents/{DOCUMENT}/release", {"hearth-gateway"}),
    "reveal": ("POST", f"/v1/kbs/work/documents/{DOCUMENT}/reveal", {"hearth-gateway"}),
    "audit": ("GET", "/v1/kbs/work/audit", {"hearth-gateway"}),
    "list backups": ("GET", "/v1/backups", {"hearth-operator", "hearth-gateway"}),
    "make backup": ("POST", "/v1/backups", {"hearth-operator", "hearth-gateway"}),
    "erase source": ("DELETE", "/v1/kbs/work/sources/inbox", {"hearth-operator"}),
    "delete": ("DELETE", "/v1/kbs/work", {"hearth-operator"}),
}
ASKED = {"actor": "abcdefghij", "reason": "a test"}
BODIES = {
    "configure": CONFIG.to_json_object(), "move cursor": {"value": "1"}, "search": {"query": "x"}, "batch": b"",
    "release": ASKED, "reveal": ASKED,
}  # fmt: skip
ACCOUNTS = (
    "hearth-operator", "hearth-gateway", "hearth-knowledge", "hearth-ingest-inbox", "hearth-ingest-other",
    "hearth-ingest-", "default", "other/hearth-operator", "other/hearth-gateway", "other/hearth-ingest-inbox",
)  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
async def test_only_the_named_accounts_may(name: str, tmp_path: Path) -> None:
    verb, path, allowed = CALLS[name]
    async with knowledge(tmp_path, HEARTH_BACKUP_DIR=str(tmp_path / "backups")) as fixture:
        await fixture.json("PUT", "/v1/kbs/work", account="hearth-operator", body=CONFIG.to_json_object())
        await fixture.put("work", [mail("mid:<1@example.org>", "x")])
        await fixture.index()
        original = f"/v1/kbs/work/documents/{DOCUMENT}/original"
        await fixture.call("PUT", original, account="hearth-ingest-inbox", body=b"bytes")
        for account in sorted(ACCOUNTS, key=lambda account: account in allowed):
            status, _, answer = await fixture.call(verb, path, account=account, body=BODIES.get(name))
            assert (status < 300) == (account in allowed), (account, status, answer)
            assert status < 300 or status == 403, (account, status, answer)
        for token, expected in ((None, 401), ("", 401), ("bad", 401)):
            status, _, answer = await fixture.call(verb, path, account=token, body=BODIES.get(name))
            assert status == expected, (token, answer)


async def test_every_route_is_in_the_table(tmp_path: Path) -> None:
    async with knowledge(tmp_path) as fixture:
        paths = {
            (verb, path)
            for path, calls in fixture.app.openapi()["paths"].items()
            for verb in calls
            if path.startswith("/v1")
        }
        open_paths = {path for path in fixture.app.openapi()["paths"] if not path.startswith("/v1")}
    assert len(paths) == len(CALLS)
    assert open_paths == {"/healthz", "/readyz", "/metrics"}


def test_an_action_that_nobody_named_is_refused() -> None:
    assert not is_allowed("hearth-ingest-", Action.INGEST, source="")
    assert not is_allowed("hearth-ingest-a", Action.INGEST, source="b")
    assert not is_allowed("hearth-ingest-a", Action.INGEST)
    assert not any(is_allowed("somebody", action, source="somebody") for action in Action)


class DeadApi:
    async def review(self, token: str) -> object:
        raise KubeUnreachableError(path="/", reason="refused")


async def test_nobody_passes_while_the_api_server_is_away() -> None:
    guard = Guard(DeadApi(), namespace="hearth")  # type: ignore[arg-type]
    with pytest.raises(UnavailableError):
        await guard.demand("Bearer token", Action.SEARCH)


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic hearth-gateway", "hearth-gateway"])
def test_only_a_bearer_token_is_read(header: str | None) -> None:
    with pytest.raises(UnauthenticatedError):
        asyncio.run(Guard(NamedTokens(), namespace="hearth").demand(header, Action.SEARCH))


def test_another_namespace_is_another_house() -> None:
    with pytest.raises(ForbiddenError):
        asyncio.run(Guard(NamedTokens(), namespace="hearth").demand("Bearer b/hearth-gateway", Action.SEARCH))
