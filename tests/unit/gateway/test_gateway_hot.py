"""Chat, completions and embeddings through ASGI, with fakes at the Protocols."""

import asyncio
import json
from datetime import UTC, datetime

import pytest

from hearth_api.wire.keys import Priority, Scope
from hearth_gateway.catalog.source import MemoryCatalog
from hearth_gateway.errors import KnowledgeUnavailableError, UnavailableError, UpstreamError, UpstreamTimeoutError
from hearth_gateway.settings import Limits, Settings
from hearth_gateway.upstream import Answer, VariantFailedError
from support.gateway import (
    FakeKnowledge,
    FakeStream,
    FakeUpstream,
    Harness,
    api_key,
    catalog,
    chat_answer,
    chat_events,
    deployment,
    hit,
    key_record,
    sse,
    until,
    variant,
)

CHAT = "/v1/chat/completions"
HELLO = {"model": "chat", "messages": [{"role": "user", "content": "hello"}]}
FACT = "The pump from Nordwerk arrives on 14 October, two weeks late."


async def test_a_body_without_our_fields_reaches_the_model_as_the_same_bytes():
    gateway = Harness()
    raw = b'{ "model": "chat",\n "messages": [{"role":"user","content":"h\\u00e9"}], "x": 1.50 }'
    reply = await gateway.post(CHAT, raw)
    assert reply.status == 200
    assert gateway.upstream.sent == [("cpu", CHAT, raw)]
    assert reply.body == chat_answer("hello").body


async def test_an_alias_reaches_the_model_under_its_own_name():
    gateway = Harness()
    await gateway.post(CHAT, {**HELLO, "model": "gpt-4o"})
    assert json.loads(gateway.upstream.sent[0][2])["model"] == "chat"


async def test_the_response_tells_variant_overhead_and_request_id():
    reply = await Harness().post(CHAT, HELLO, headers={"x-request-id": "mine-1"})
    assert reply.headers["x-hearth-variant"] == "cpu"
    assert float(reply.headers["x-hearth-overhead-ms"]) < 1000
    assert reply.headers["x-request-id"] == "mine-1"
    assert "x-hearth-degraded" not in reply.headers


async def test_stream_bytes_pass_untouched():
    events = chat_events("one two three")
    gateway = Harness(upstream=FakeUpstream(lambda *_: FakeStream(events)))
    reply = await gateway.post(CHAT, {**HELLO, "stream": True})
    assert reply.body == b"".join(events)
    assert reply.headers["content-type"] == "text/event-stream"


async def test_embeddings_and_completions_pass_through():
    gateway = Harness()
    assert (await gateway.post("/v1/embeddings", {"model": "embed", "input": ["a", "b"]})).status == 200
    assert (await gateway.post("/v1/completions", {"model": "chat", "prompt": "a"})).status == 200
    assert [path for _, path, _ in gateway.upstream.sent] == ["/v1/embeddings", "/v1/completions"]


async def test_ranking_passes_through_to_a_model_for_it_and_to_no_other():
    ranker = deployment("ranker", task="Rerank", variants=[variant(url="http://node:8000/ranker/cpu")])
    gateway = Harness(source=MemoryCatalog(catalog(deployment(), ranker)))
    body = {"query": "a", "documents": ["b", {"text": "c"}], "top_n": 1}
    assert (await gateway.post("/v1/rerank", {"model": "ranker", **body})).status == 200
    assert [path for _, path, _ in gateway.upstream.sent] == ["/v1/rerank"]
    for path, model in (("/v1/rerank", "chat"), ("/v1/embeddings", "ranker"), (CHAT, "ranker")):
        reply = await gateway.post(path, {**HELLO, "model": model, **body})
        assert (reply.status, reply.json()["error"]["code"]) == (400, "wrong_task")


async def test_an_error_that_the_model_explained_passes_as_it_is():
    body = b'{"error": {"message": "dimensions must be 384", "type": "invalid_request_error"}}'
    answer = Answer(status=400, content_type=b"application/json", body=body)
    reply = await Harness(upstream=FakeUpstream(lambda *_: answer)).post("/v1/embeddings", {"model": "embed"})
    assert (reply.status, reply.body) == (400, body)


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        (b"", 400, "invalid_value", None),
        (b"{", 400, "invalid_value", None),
        (b"[]", 400, "invalid_value", None),
        (b"\xff\xfe", 400, "invalid_value", None),
        (b"[" * 100_000, 400, "invalid_value", None),
        (b'{"model": NaN}', 400, "invalid_value", None),
        ({"messages": []}, 400, "invalid_value", "model"),
        ({"model": 3}, 400, "invalid_value", "model"),
        ({**HELLO, "stream": "yes"}, 400, "invalid_value", "stream"),
        ({**HELLO, "model": "nope"}, 404, "model_not_found", "model"),
        ({**HELLO, "model": "embed"}, 400, "wrong_task", "model"),
        ({**HELLO, "knowledge_bases": "work"}, 400, "invalid_value", "knowledge_bases"),
        ({**HELLO, "knowledge_bases": ["work"], "filters": {"sorce": ["x"]}}, 400, "invalid_value", "filters.sorce"),
        ({**HELLO, "knowledge_bases": ["work"], "as_of": "never"}, 400, "invalid_value", "as_of"),
        ({**HELLO, "model": "chat@nope"}, 404, "knowledge_base_not_found", "knowledge_bases"),
        ({"model": "chat@work", "messages": "hello"}, 400, "invalid_value", "messages"),
        ({"model": "chat@work", "messages": [{"role": "system", "content": "x"}]}, 400, "invalid_value", "messages"),
        (
            {**HELLO, "model": "chat@work", "max_tokens": 2000},
            400,
            "context_length_exceeded",
            "messages",
        ),
    ],
)
async def test_a_wrong_body_is_answered_in_openais_shape(body, status, code, param):
    gateway = Harness()
    reply = await gateway.post(CHAT, body)
    error = reply.json()["error"]
    assert (reply.status, error["code"], error["param"]) == (status, code, param)
    assert error["message"]
    assert gateway.upstream.sent == []


async def test_an_unknown_model_is_told_with_the_list():
    reply = await Harness().post(CHAT, {**HELLO, "model": "gpt-9"})
    assert "chat, embed" in reply.json()["error"]["message"]


async def test_a_model_that_is_not_ready_tells_why_and_when_to_come_back():
    loading = deployment(variants=[variant(state="Loading")], ready=False, message="weights are being read")
    reply = await Harness(source=MemoryCatalog(catalog(loading))).post(CHAT, HELLO)
    assert reply.status == 503
    assert "weights are being read" in reply.json()["error"]["message"]
    assert reply.headers["retry-after"] == "5"


async def test_a_body_beyond_the_limit_is_refused_before_it_is_read():
    gateway = Harness(settings=Settings(limits=Limits(body_bytes=2048)))
    reply = await gateway.post(CHAT, {**HELLO, "pad": "x" * 3000})
    assert reply.status == 413


@pytest.mark.parametrize("key", [None, "sk-x", "hearth_abcdefghij_wrong", "hearth_zzzzzzzzzz_" + "s" * 43, "a.b.c"])
async def test_without_a_valid_key_nothing_is_told(key):
    reply = await Harness().post(CHAT, {**HELLO, "model": "nope"}, key=key)
    assert reply.status == 401
    assert reply.json()["error"]["code"] == "invalid_api_key"
    assert reply.headers["www-authenticate"] == "Bearer"


async def test_an_expired_key_is_refused():
    gateway = Harness()
    gateway.source.keys = {"abcdefghij": key_record(gateway.key, expires=datetime(2020, 1, 1, tzinfo=UTC))}
    assert (await gateway.post(CHAT, HELLO)).status == 401


async def test_a_revoked_key_is_refused_at_once():
    gateway = Harness()
    assert (await gateway.post(CHAT, HELLO)).status == 200
    gateway.source.keys = {"other": key_record(api_key("other"))}
    assert (await gateway.post(CHAT, HELLO)).status == 401


@pytest.mark.parametrize(
    ("scopes", "bases", "body", "status"),
    [
        ((Scope.EMBED,), None, HELLO, 403),
        ((Scope.CHAT,), None, HELLO, 200),
        ((Scope.CHAT,), None, {**HELLO, "model": "chat@work"}, 403),
        ((Scope.CHAT, Scope.SEARCH), ("home",), {**HELLO, "model": "chat@work"}, 403),
        ((Scope.CHAT, Scope.SEARCH), ("home",), {**HELLO, "model": "chat@unknown"}, 403),
        ((Scope.CHAT, Scope.SEARCH), ("work",), {**HELLO, "knowledge_bases": ["work"]}, 200),
        ((Scope.ADMIN,), None, {**HELLO, "model": "chat@work"}, 200),
    ],
    ids=["no chat", "chat", "chat without search", "another base", "no probing of names", "its base", "admin"],
)
async def test_scopes_and_knowledge_bases_bind(scopes, bases, body, status):
    gateway = Harness(knowledge=FakeKnowledge({"work": [hit(FACT)]}))
    gateway.source.keys = {"abcdefghij": key_record(gateway.key, scopes=scopes, knowledge_bases=bases)}
    assert (await gateway.post(CHAT, body)).status == status


async def test_requests_per_minute_are_counted_with_retry_after():
    gateway = Harness()
    gateway.source.keys = {"abcdefghij": key_record(gateway.key, rpm=2)}
    replies = [await gateway.post(CHAT, HELLO) for _ in range(3)]
    assert [reply.status for reply in replies] == [200, 200, 429]
    assert 1 <= int(replies[2].headers["retry-after"]) <= 30
    assert replies[2].json()["error"]["code"] == "rate_limit_exceeded"


async def test_an_unknown_priority_is_refused():
    reply = await Harness().post(CHAT, HELLO, headers={"x-hearth-priority": "now"})
    assert (reply.status, reply.json()["error"]["param"]) == (400, "x-hearth-priority")


async def test_another_variant_answers_where_the_first_gives_no_byte():
    both = deployment(variants=[variant("gpu", url="http://gpu"), variant("cpu", url="http://cpu")])
    failure = VariantFailedError("refused", shown=UnavailableError("down"))
    upstream = FakeUpstream(lambda name, *_: failure if name == "gpu" else chat_answer("hi"))
    gateway = Harness(source=MemoryCatalog(catalog(both)), upstream=upstream)
    reply = await gateway.post(CHAT, HELLO)
    assert reply.status == 200
    assert [name for name, *_ in upstream.sent] == ["gpu", "cpu"]
    assert (reply.headers["x-hearth-variant"], reply.headers["x-hearth-degraded"]) == ("cpu", "true")
    await gateway.post(CHAT, HELLO)
    await gateway.post(CHAT, HELLO)
    assert [name for name, *_ in upstream.sent][-1] == "cpu"
    assert [name for name, *_ in upstream.sent].count("gpu") == 2, "the circuit opened after two failures"


async def test_who_waits_for_a_machine_that_fell_asleep_is_answered_by_another():
    def both(state: str):
        return deployment(
            variants=[variant("desk", url="http://desk", state=state), variant("rack", url="http://rack")]
        )

    async def asleep():
        await asyncio.Event().wait()

    upstream = FakeUpstream(lambda name, *_: asleep() if name == "desk" else chat_answer("hi"))
    gateway = Harness(source=MemoryCatalog(catalog(both("Available"))), upstream=upstream)
    task = asyncio.create_task(gateway.post(CHAT, HELLO))
    await until(lambda: upstream.sent)
    gateway.source.set_catalog(catalog(both("Loading")))
    gateway.source.set_catalog(catalog(deployment(variants=[variant("desk", url="http://desk", state="Unreachable")])))
    await asyncio.sleep(0)
    assert not task.done(), "it is not given up before another variant can answer"
    gateway.source.set_catalog(catalog(both("Unreachable")))
    gateway.source.set_catalog(catalog(both("Unreachable")))
    reply = await task
    assert (reply.status, reply.headers["x-hearth-variant"]) == (200, "rack")
    assert upstream.cancelled == 1
    assert gateway.admission.busy("chat", gateway.source.catalog.models["chat"].variants[0]) == 0


async def test_the_last_failure_is_shown_where_no_variant_answers():
    failure = VariantFailedError("refused", shown=UnavailableError("The model's node does not answer.", retry_after=5))
    gateway = Harness(upstream=FakeUpstream(lambda *_: failure))
    reply = await gateway.post(CHAT, HELLO)
    assert (reply.status, reply.json()["error"]["message"]) == (503, "The model's node does not answer.")
    assert gateway.admission.busy("chat", gateway.source.catalog.models["chat"].variants[0]) == 0


async def test_a_silent_model_is_a_timeout():
    gateway = Harness(upstream=FakeUpstream(lambda *_: UpstreamTimeoutError("silent")))
    assert (await gateway.post(CHAT, HELLO)).status == 504


async def test_a_stream_that_breaks_ends_with_an_error_event():
    chunks = [*chat_events("one two")[:2], UpstreamError("broke")]
    gateway = Harness(upstream=FakeUpstream(lambda *_: FakeStream(list(chunks))))
    reply = await gateway.post(CHAT, {**HELLO, "stream": True})
    assert reply.events()[-1]["error"]["message"] == "broke"
    assert "[DONE]" not in reply.events()


async def test_a_client_that_leaves_while_the_model_thinks_frees_the_slot():
    started, leave = asyncio.Event(), asyncio.Event()

    async def think():
        started.set()
        await asyncio.Event().wait()

    gateway = Harness(upstream=FakeUpstream(lambda *_: think()))
    task = asyncio.create_task(gateway.post(CHAT, HELLO, leave=leave))
    await started.wait()
    leave.set()
    reply = await task
    assert reply.status == 0
    assert gateway.upstream.cancelled == 1
    assert gateway.admission.busy("chat", gateway.source.catalog.models["chat"].variants[0]) == 0


async def test_a_client_that_leaves_in_a_stream_closes_the_upstream():
    leave = asyncio.Event()
    stream = FakeStream(chat_events("one two three"))
    stream.gate = asyncio.Event()
    gateway = Harness(upstream=FakeUpstream(lambda *_: stream))
    task = asyncio.create_task(gateway.post(CHAT, {**HELLO, "stream": True}, leave=leave))
    await until(lambda: gateway.upstream.sent)
    leave.set()
    await task
    assert stream.closed
    assert gateway.admission.busy("chat", gateway.source.catalog.models["chat"].variants[0]) == 0


async def test_a_client_that_leaves_the_queue_is_forgotten():
    gate, leave = asyncio.Event(), asyncio.Event()

    async def slow():
        await gate.wait()
        return chat_answer("x")

    gateway = Harness(upstream=FakeUpstream(lambda *_: slow()))
    first = asyncio.create_task(gateway.post(CHAT, HELLO))
    await until(lambda: gateway.upstream.sent)
    second = asyncio.create_task(gateway.post(CHAT, HELLO, leave=leave))
    await until(lambda: sum(gateway.admission.waiting("chat").values()))
    leave.set()
    await second
    assert gateway.admission.waiting("chat")[Priority.NORMAL] == 0
    gate.set()
    assert (await first).status == 200
    assert len(gateway.upstream.sent) == 1


async def test_an_answer_from_knowledge_carries_annotations_and_citations():
    knowledge = FakeKnowledge({"work": [hit(FACT, title="Re: pump", permalink="mid:<1@x>", version=2)]})
    upstream = FakeUpstream(lambda *_: chat_answer("It arrives on 14 October, two weeks late."))
    gateway = Harness(knowledge=knowledge, upstream=upstream)
    reply = await gateway.post(
        CHAT, {"model": "chat@work", "messages": [{"role": "user", "content": "When does the pump arrive?"}]}
    )
    answer = reply.json()
    message = answer["choices"][0]["message"]
    (annotation,) = message["annotations"]
    detail = annotation["url_citation"]
    assert annotation["type"] == "url_citation"
    assert message["content"][detail["start_index"] : detail["end_index"]] == message["content"]
    assert detail["title"] == "Re: pump"
    assert detail["url"] == "http://hearth.local/v1/knowledge-bases/work/documents/email-aaaaaaaaaaaaaaaaaaaa?version=2"
    (citation,) = answer["hearth"]["citations"]
    assert citation["quote"] in FACT
    assert citation["permalink"] == "mid:<1@x>"
    assert citation["matched"] is True
    assert answer["hearth"]["variant"] == "cpu"
    sent = json.loads(upstream.sent[0][2])
    assert sent["model"] == "chat"
    assert FACT in sent["messages"][-1]["content"]
    assert "knowledge_bases" not in sent


async def test_a_streamed_answer_carries_citations_in_the_last_chunk_before_done():
    knowledge = FakeKnowledge({"work": [hit(FACT)]})
    events = chat_events("It arrives on 14 October.")
    joined = b"".join(events)
    # Cut where events do not end, as networks do.
    pieces = [joined[start : start + 37] for start in range(0, len(joined), 37)]
    gateway = Harness(knowledge=knowledge, upstream=FakeUpstream(lambda *_: FakeStream(pieces)))
    reply = await gateway.post(CHAT, {**HELLO, "knowledge_bases": ["work"], "stream": True})
    found = reply.events()
    assert found[-1] == "[DONE]"
    assert found[:-2] == [json.loads(event[6:]) for event in events[:-1]]
    last = found[-2]
    assert last["id"] == "chatcmpl-1"
    assert last["choices"][0]["delta"]["annotations"][0]["type"] == "url_citation"
    assert last["hearth"]["citations"][0]["quote"] in FACT


async def test_a_grounded_stream_without_done_ends_with_an_error():
    knowledge = FakeKnowledge({"work": [hit(FACT)]})
    stream = FakeStream(chat_events("one")[:1])
    gateway = Harness(knowledge=knowledge, upstream=FakeUpstream(lambda *_: stream))
    reply = await gateway.post(CHAT, {**HELLO, "model": "chat@work", "stream": True})
    assert reply.events()[-1]["error"]["code"] == "upstream_error"


async def test_where_nothing_is_found_the_prompt_says_so_and_nothing_is_cited():
    gateway = Harness(knowledge=FakeKnowledge())
    reply = await gateway.post(CHAT, {**HELLO, "model": "chat@work"})
    sent = json.loads(gateway.upstream.sent[0][2])
    assert "No passage was found" in sent["messages"][0]["content"]
    assert reply.json()["choices"][0]["message"]["annotations"] == []
    assert reply.json()["hearth"]["citations"] == []


async def test_without_the_knowledge_service_the_answer_is_503_and_no_slot_is_used():
    down = KnowledgeUnavailableError("The knowledge service does not answer at the moment.", retry_after=5)
    gateway = Harness(knowledge=FakeKnowledge({"work": down}))
    reply = await gateway.post(CHAT, {**HELLO, "model": "chat@work"})
    assert (reply.status, reply.json()["error"]["code"]) == (503, "knowledge_unavailable")
    assert gateway.upstream.sent == []


async def test_half_a_character_in_a_question_is_survived():
    gateway = Harness(knowledge=FakeKnowledge({"work": [hit(FACT)]}))
    raw = b'{"model": "chat@work", "messages": [{"role": "user", "content": "when \\ud83d does the pump arrive"}]}'
    assert (await gateway.post(CHAT, raw)).status == 200
    assert gateway.knowledge.requests[0][1].query == "when ? does the pump arrive"


async def test_filters_and_as_of_reach_the_search():
    gateway = Harness(knowledge=FakeKnowledge({"work": [hit(FACT)]}))
    await gateway.post(
        CHAT,
        {
            **HELLO,
            "model": "chat@work",
            "filters": {"people": ["Anna"], "after": "2026-01-01T00:00:00Z"},
            "as_of": "2026-06-01T00:00:00Z",
            "top_k": 3,
        },
    )
    ((name, request),) = gateway.knowledge.requests
    assert (name, request.top_k, request.filters.people) == ("work", 3, ("Anna",))
    assert request.as_of == datetime(2026, 6, 1, tzinfo=UTC)


async def test_a_grounded_answer_that_cannot_be_read_is_502():
    broken = Answer(status=200, content_type=b"application/json", body=b"[1]")
    gateway = Harness(knowledge=FakeKnowledge({"work": [hit(FACT)]}), upstream=FakeUpstream(lambda *_: broken))
    assert (await gateway.post(CHAT, {**HELLO, "model": "chat@work"})).status == 502


async def test_a_bug_is_answered_with_500_in_the_same_shape():
    gateway = Harness(upstream=FakeUpstream(lambda *_: ZeroDivisionError("secret detail")))
    reply = await gateway.post(CHAT, HELLO)
    assert reply.status == 500
    assert "secret" not in reply.body.decode()


async def test_an_error_event_inside_a_grounded_stream_passes(caplog):
    error = sse({"error": {"message": "out of memory"}})
    gateway = Harness(
        knowledge=FakeKnowledge({"work": [hit(FACT)]}), upstream=FakeUpstream(lambda *_: FakeStream([error]))
    )
    reply = await gateway.post(CHAT, {**HELLO, "model": "chat@work", "stream": True})
    assert reply.events()[0]["error"]["message"] == "out of memory"
