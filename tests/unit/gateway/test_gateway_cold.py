"""Lists, status, search, probes; and that every path and method is guarded."""

import asyncio
import json
import re

import pytest

from hearth_api.wire.keys import Scope
from hearth_api.wire.knowledge import SearchResponse
from hearth_common.errors import KubeUnreachableError, TokenRefusedError
from hearth_common.review import Identity
from hearth_gateway.app import route_label
from hearth_gateway.catalog.model import fold
from hearth_gateway.errors import BadRequestError, UpstreamTimeoutError
from hearth_gateway.routes.hot import ROUTES
from support.gateway import (
    FakeKnowledge,
    FakeUpstream,
    Harness,
    MemoryCatalog,
    catalog,
    deployment,
    hit,
    key_record,
    knowledge_base,
    variant,
)

OPEN = {"/healthz", "/readyz", "/metrics"}
PAGE = {"/", "/favicon.ico", "/assets/email-aaaaaaaaaaaaaaaaaaaa/email-aaaaaaaaaaaaaaaaaaaa"}


def _paths(routes):
    for route in routes:
        if hasattr(route, "path"):
            yield re.sub(r"\{(\w+)\}", "email-aaaaaaaaaaaaaaaaaaaa", route.path)
        nested = getattr(route, "original_router", None) or getattr(route, "router", None)
        if nested is not None:
            yield from _paths(nested.routes)


async def test_every_path_and_method_but_the_probes_demands_a_key():
    gateway = Harness()
    paths = set(_paths(gateway.app.cold.routes)) | set(ROUTES)
    assert len(paths) >= 13
    assert paths >= OPEN | PAGE
    for path in paths - OPEN - PAGE:
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"):
            reply = await gateway.call(method, path, key=None)
            assert reply.status in (401, 405), (method, path, reply.status)
    # The page holds nothing but itself: it is open to reading, and to nothing else.
    for path in PAGE:
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            assert (await gateway.call(method, path, key=None)).status == 405, (method, path)
    for path in ("/docs", "/openapi.json", "/redoc", "/v1", "/v1/chat/completions/"):
        assert (await gateway.get(path, key=None)).status in (401, 404)


async def test_probes_are_open_and_readiness_waits_for_the_catalog():
    gateway = Harness()
    assert (await gateway.get("/healthz", key=None)).status == 200
    assert (await gateway.get("/readyz", key=None)).status == 200
    gateway.source.synced = False
    assert (await gateway.get("/readyz", key=None)).status == 503
    assert (await gateway.get("/v1/models")).status == 503


async def test_models_are_listed_with_aliases_and_readable_bases():
    gateway = Harness()
    entries = (await gateway.get("/v1/models")).json()["data"]
    assert [entry["id"] for entry in entries] == ["chat", "embed", "gpt-4o", "chat@work"]
    assert entries[0]["hearth"] == {"task": "Chat", "ready": True, "context_tokens": 2048}
    gateway.source.keys = {"abcdefghij": key_record(gateway.key, scopes=(Scope.CHAT,))}
    assert "chat@work" not in [entry["id"] for entry in (await gateway.get("/v1/models")).json()["data"]]
    assert (await gateway.get("/v1/models/nope")).json()["error"]["code"] == "model_not_found"


async def test_search_merges_bases_and_names_them():
    gateway = Harness(knowledge=FakeKnowledge({"work": [hit("a"), hit("b", chunk=1)]}))
    reply = await gateway.post("/v1/search", {"query": "x", "top_k": 1})
    assert [item["knowledge_base"] for item in reply.json()["results"]] == ["work"]
    assert reply.json()["took_ms"] >= 0


def answer(*hits, **facts):
    return SearchResponse(results=hits, took_ms=1.0, **facts)


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ({"work": answer(hit("a"), reranked=True)}, {"reranked": True}),
        (
            {"work": answer(reranked=True), "home": answer(rerank_reason="timeout")},
            {"reranked": False, "rerank_reasons": {"home": "timeout"}},
        ),
        ({"work": answer(rerank_reason="new")}, {"reranked": False, "rerank_reasons": {"work": "new"}}),
        ({"work": answer()}, {"reranked": False, "rerank_reasons": {"work": "not_configured"}}),  # an older release
        ({}, {"reranked": False}),
    ],
)
async def test_a_search_says_whether_rerankers_ordered_it(answers, told):
    gateway = Harness(knowledge=FakeKnowledge(answers), source=MemoryCatalog(catalog(bases=tuple(answers))))
    reply = (await gateway.post("/v1/search", {"query": "x"})).json()
    assert {name: value for name, value in reply.items() if name not in ("results", "took_ms")} == told


@pytest.mark.parametrize("asked", [{}, {"rerank": True}, {"rerank": False}, {"rerank": None}])
async def test_what_a_search_says_of_reranking_reaches_the_knowledge_service(asked):
    gateway = Harness()
    assert (await gateway.post("/v1/search", {"query": "x", **asked})).status == 200
    ((_, request),) = gateway.knowledge.requests
    assert request.rerank is asked.get("rerank")
    sent = json.loads(request.model_dump_json(exclude_none=True))
    assert sent.get("rerank") is asked.get("rerank"), "absent is what an older release understands"


async def test_a_demand_that_the_knowledge_service_refuses_is_the_callers_fault():
    gateway = Harness(knowledge=FakeKnowledge({"work": BadRequestError("rerank: knowledge base work has no reranker")}))
    reply = await gateway.post("/v1/search", {"query": "x", "rerank": True})
    assert (reply.status, reply.json()["error"]["message"]) == (400, "rerank: knowledge base work has no reranker")


async def test_knowledge_bases_are_listed_with_the_reranker_that_they_name():
    gateway = Harness()
    assert (await gateway.get("/v1/knowledge-bases")).json()["data"][0]["rerank_model"] is None
    base = knowledge_base() | {"spec": {"rerank": {"model": "rank"}}}
    gateway = Harness(source=MemoryCatalog(fold([deployment()], [base])))
    assert (await gateway.get("/v1/knowledge-bases")).json()["data"][0]["rerank_model"] == "rank"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{}", 400),
        ({"query": ""}, 400),
        ({"query": "x", "rerank": "yes please"}, 400),
        ({"query": "x", "knowledge_bases": []}, 400),
        ({"query": "x", "knowledge_bases": ["nope"]}, 404),
        ({"query": "x", "surprise": 1}, 400),
        ({"query": "x" * 70_000}, 413),
    ],
)
async def test_a_wrong_search_is_answered_in_openais_shape(body, status):
    reply = await Harness().post("/v1/search", body)
    assert reply.status == status
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}


async def test_bases_that_a_key_may_not_read_are_neither_listed_nor_opened():
    gateway = Harness()
    gateway.source.keys = {"abcdefghij": key_record(gateway.key, knowledge_bases=("home",))}
    assert (await gateway.get("/v1/knowledge-bases")).json()["data"] == []
    assert (await gateway.get("/v1/status")).json()["sources"] == []
    document = "/v1/knowledge-bases/work/documents/email-aaaaaaaaaaaaaaaaaaaa"
    for path in (document, f"{document}/original", f"{document}/history"):
        assert (await gateway.get(path)).status == 403
    assert (await gateway.post("/v1/search", {"query": "x", "knowledge_bases": ["work"]})).status == 403


@pytest.mark.parametrize("path", ["nope", "EMAIL-aaaaaaaaaaaaaaaaaaaa", "email-aaaaaaaaaaaaaaaaaaaa?version=0"])
async def test_what_cannot_be_a_document_id_never_leaves_the_gateway(path):
    reply = await Harness().get(f"/v1/knowledge-bases/work/documents/{path}")
    assert (reply.status, reply.json()["error"]["code"]) == (400, "invalid_value")


async def test_status_tells_models_nodes_and_sources():
    status = (await Harness().get("/v1/status")).json()
    assert status["models"][0]["variants"][0]["slots"] == {"total": 1, "busy": 0}
    assert status["nodes"] == [{"name": "home", "available": 2, "models": ["chat.cpu", "embed.cpu"]}]
    assert status["sources"] == [{"knowledge_base": "work", "source": "inbox", "documents": 3}]
    assert status["knowledge_bases"] == [
        {
            "name": "work",
            "ready": True,
            "message": "",
            "documents": 3,
            "chunks": 4,
            "queue": {"pending": 1, "failed": 0},
            "consistent": False,
            "quarantined": 0,
        }
    ]
    assert status["scopes"] == ["chat", "embed", "search"]


async def test_status_tells_since_when_a_machine_is_away_and_how_a_source_was_read():
    gone = {"type": "Reachable", "status": "Unknown", "reason": "NoAnswer", "message": "no answer"}
    gone["lastTransitionTime"] = "2026-11-20T14:02:00Z"
    source = {
        "metadata": {"name": "chats"},
        "spec": {"type": "Teams", "knowledgeBaseRef": {"name": "work"}},
        "status": {
            "lastRun": {"job": "j", "outcome": "Succeeded", "counts": {"added": 4}},
            "nextRun": "2026-11-21T00:00:00Z",
        },
    }
    other = {"metadata": {"name": "diary"}, "spec": {"type": "Email", "knowledgeBaseRef": {"name": "private"}}}
    found = fold(
        [deployment()],
        [knowledge_base(), knowledge_base("private")],
        nodes=[{"metadata": {"name": "studio"}, "status": {"conditions": [gone]}}, {"metadata": {}}],
        sources=[source, other],
    )
    gateway = Harness(source=MemoryCatalog(found))
    gateway.source.keys = {"abcdefghij": key_record(gateway.key, knowledge_bases=("work",))}
    status = (await gateway.get("/v1/status")).json()
    away = {
        "ready": None,
        "reachable": False,
        "reason": "NoAnswer",
        "message": "no answer",
        "since": "2026-11-20T14:02:00Z",
    }
    assert status["nodes"] == [
        {"name": "studio", "available": 0, "models": [], **away},
        {"name": "home", "available": 1, "models": ["chat.cpu"]},
    ]
    assert [(item["source"], item.get("last_run")) for item in status["sources"]] == [
        ("chats", {"outcome": "Succeeded", "counts": {"added": 4}}),
        ("inbox", None),
    ]
    assert "private" not in str(status)
    assert "diary" not in str(status)


async def test_a_silent_knowledge_service_does_not_hold_up_the_status(monkeypatch):
    monkeypatch.setattr("hearth_gateway.status.KNOWLEDGE_SECONDS", 0.01)
    gateway = Harness()
    gateway.knowledge.status = lambda name: asyncio.Event().wait()
    (base,) = (await gateway.get("/v1/status")).json()["knowledge_bases"]
    assert base["error"] == "The knowledge service does not answer at the moment."


async def test_status_tells_of_a_variant_that_failed_before_the_operator_does():
    gateway = Harness(upstream=FakeUpstream(lambda *_: UpstreamTimeoutError("silent")))
    for _ in range(2):
        await gateway.post("/v1/chat/completions", {"model": "chat", "messages": []})
    (chat, embed) = (await gateway.get("/v1/status")).json()["models"]
    assert [model["variants"][0]["resting"] for model in (chat, embed)] == [True, False]


async def test_a_variant_without_a_node_makes_no_node():
    pending = deployment(variants=[variant(node=None, url=None, state="Pending")])
    status = (await Harness(source=MemoryCatalog(catalog(pending))).get("/v1/status")).json()
    assert status["nodes"] == []


async def test_metrics_hold_figures_and_nobodys_id():
    gateway = Harness()
    await gateway.post("/v1/chat/completions", {"model": "chat", "messages": []})
    await gateway.get("/v1/knowledge-bases/work/documents/email-aaaaaaaaaaaaaaaaaaaa")
    text = (await gateway.get("/metrics", key=None)).body.decode()
    assert 'hearth_gateway_requests_total{model="chat",route="/v1/chat/completions",status="200"} 1.0' in text
    assert 'hearth_gateway_slots{model="chat",state="total",variant="cpu"} 1.0' in text
    assert 'hearth_gateway_tokens_total{kind="completion",model="chat"} 3.0' in text
    assert "abcdefghij" not in text
    assert "email-" not in text


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/v1/models", "/v1/models"),
        ("/v1/models/x", "/v1/models/*"),
        ("/v1/knowledge-bases/a/documents/b/original", "/v1/knowledge-bases/*/documents/*/original"),
        ("/v1/" + "x" * 50, "other"),
    ],
)
def test_labels_have_no_ids(path, label):
    assert route_label(path) == label


class FakeReviewer:
    def __init__(self, outcome):
        self.outcome = outcome

    async def review(self, token):
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def _identity(account, namespace="hearth"):
    return Identity(username=f"system:serviceaccount:{namespace}:{account}", namespace=namespace, account=account)


@pytest.mark.parametrize(
    ("outcome", "path", "status"),
    [
        (_identity("hearth-knowledge"), "/v1/embeddings", 200),
        (_identity("hearth-knowledge"), "/v1/rerank", 200),
        (_identity("hearth-knowledge"), "/v1/chat/completions", 403),
        (_identity("hearth-knowledge"), "/v1/search", 403),
        (_identity("hearth-operator"), "/v1/chat/completions", 200),
        (_identity("hearth-ingest-inbox"), "/v1/embeddings", 403),
        (_identity("hearth-knowledge", namespace="other"), "/v1/embeddings", 403),
        (TokenRefusedError(audience="hearth-gateway", reason="no"), "/v1/embeddings", 401),
        (KubeUnreachableError(path="/x", reason="down"), "/v1/embeddings", 503),
    ],
)
async def test_only_hearths_own_accounts_come_in_without_a_key(outcome, path, status):
    ranker = deployment("rank", task="Rerank", variants=[variant(url="http://node:8000/rank/cpu")])
    everything = catalog(deployment(), deployment("embed", task="Embed"), ranker)
    gateway = Harness(reviewer=FakeReviewer(outcome), source=MemoryCatalog(everything))
    body = {"model": next((name for name in ("embed", "rank") if name in path), "chat"), "input": "a"}
    assert (await gateway.post(path, body, key="a.b.c")).status == status


async def test_an_inside_caller_waits_as_indexing_unless_it_says_otherwise():
    gateway = Harness(reviewer=FakeReviewer(_identity("hearth-knowledge")))
    caller = await gateway.state.authenticator.authenticate(b"Bearer a.b.c")
    assert caller.priority(None) == "indexing"
    assert caller.priority("interactive") == "interactive"


async def test_a_key_cannot_be_more_urgent_than_its_limit():
    gateway = Harness()
    gateway.source.keys = {"abcdefghij": key_record(gateway.key, max_priority="batch")}
    caller = await gateway.state.authenticator.authenticate(f"Bearer {gateway.key}".encode())
    assert [caller.priority(word) for word in (None, "interactive", "indexing")] == ["batch", "batch", "indexing"]


async def test_a_credential_is_read_from_one_place_only():
    gateway = Harness()
    reply = await gateway.get("/v1/models", key=None, headers={"x-api-key": gateway.key, "api-key": gateway.key})
    assert reply.status == 401
    assert (await gateway.get(f"/v1/models?key={gateway.key}", key=None)).status == 401
