"""Routes, tokens, errors, streams and callers that go away, through ASGI with a fake engine."""

import asyncio
import base64
import json
import re
from array import array
from pathlib import Path

import pytest

from hearth_api.wire.serve import ServeInfo, ServeTunables, Task
from hearth_serve.errors import ApiError, context_exceeded
from support.serve_fakes import TOKEN, Call, FakeEngine, make_app

CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "Hi"}]}


@pytest.mark.parametrize("token", [None, "", "x" * 40, TOKEN + "x", TOKEN[:-1]])
@pytest.mark.parametrize("path", ["/info", CHAT, "/probe", "/unknown", ""])
async def test_every_route_but_healthz_demands_the_token(tmp_path: Path, path: str, token: str | None) -> None:
    engine = FakeEngine()
    app = make_app(engine, tmp_path)
    call = await Call(app, "POST", path, HELLO, token=token).run()
    assert call.status == 401
    assert call.json["error"]["code"] == "invalid_api_key"
    assert engine.tokens_produced == 0
    assert (await Call(app, "GET", "/healthz", token=token).run()).status == 200


async def test_token_is_read_again_when_its_file_changes(tmp_path: Path) -> None:
    app = make_app(FakeEngine(), tmp_path)
    assert (await Call(app, "GET", "/info").run()).status == 200
    (tmp_path / "token").write_text("another-token-0123456789")
    assert (await Call(app, "GET", "/info").run()).status == 401
    assert (await Call(app, "GET", "/info", token="another-token-0123456789").run()).status == 200


@pytest.mark.parametrize("content", [None, "", "short"])
async def test_without_a_usable_token_nothing_is_open(tmp_path: Path, content: str | None) -> None:
    app = make_app(FakeEngine(), tmp_path)
    (tmp_path / "token").unlink()
    if content is not None:
        (tmp_path / "token").write_text(content)
    for token in (None, content, TOKEN):
        call = await Call(app, "GET", "/info", token=token).run()
        assert (call.status, call.json["error"]["code"]) == (503, "token_unreadable")


async def test_whole_answer_is_the_fold_of_the_stream(tmp_path: Path) -> None:
    call = await Call(make_app(FakeEngine(), tmp_path), "POST", CHAT, HELLO).run()
    assert call.status == 200
    assert call.json["object"] == "chat.completion"
    assert call.json["usage"] == {"total_tokens": 7}
    message = {"role": "assistant", "content": "Hello"}
    assert call.json["choices"] == [{"index": 0, "finish_reason": "stop", "message": message}]


@pytest.mark.parametrize("wanted", [True, False])
async def test_stream_ends_with_usage_only_when_asked(tmp_path: Path, wanted: bool) -> None:
    body = HELLO | {"stream": True} | ({"stream_options": {"include_usage": True}} if wanted else {})
    call = await Call(make_app(FakeEngine(), tmp_path), "POST", CHAT, body).run()
    assert call.headers[b"content-type"] == b"text/event-stream"
    assert call.events[-1] == "[DONE]"
    assert ["usage" in event for event in call.events[:-1]] == [False, False, False, *([True] if wanted else [])]
    assert [event["choices"][0]["delta"]["content"] for event in call.events[:3]] == ["Hel", "lo", ""]


async def test_system_message_is_added_only_where_none_is(tmp_path: Path) -> None:
    engine = FakeEngine()
    app = make_app(engine, tmp_path)
    await Call(app, "POST", CHAT, HELLO).run()
    assert engine.bodies[-1]["messages"][0]["role"] == "system"
    app.tunables = ServeTunables(system_prompt="Be terse.", temperature=0.25, top_p=0.5, max_tokens=9)
    await Call(app, "POST", CHAT, HELLO | {"temperature": 0}).run()
    assert engine.bodies[-1]["messages"][0] == {"role": "system", "content": "Be terse."}
    assert {name: engine.bodies[-1][name] for name in ("temperature", "top_p", "max_tokens")} == {
        "temperature": 0,
        "top_p": 0.5,
        "max_tokens": 9,
    }
    own = [{"role": "developer", "content": "Own."}, *HELLO["messages"]]
    await Call(app, "POST", CHAT, {"messages": own, "max_completion_tokens": 4}).run()
    assert engine.bodies[-1]["messages"] == own
    assert engine.bodies[-1]["max_tokens"] == 4
    app.tunables = ServeTunables(system_prompt="")
    await Call(app, "POST", CHAT, HELLO).run()
    assert engine.bodies[-1]["messages"] == HELLO["messages"]


async def test_fields_that_are_not_for_callers_never_reach_the_engine(tmp_path: Path) -> None:
    engine = FakeEngine()
    extra = {"id_slot": 0, "lora": [{"id": 0}], "n_predict": 9, "model": "other", "user": "me", "cache_prompt": True}
    await Call(make_app(engine, tmp_path), "POST", CHAT, HELLO | extra | {"seed": 3, "stop": "x"}).run()
    assert set(engine.bodies[0]) == {"messages", "seed", "stop"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b"[1]", None),
        (b"\xff\xfe", None),
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages"),
        (HELLO | {"temperature": 3}, "temperature"),
        (HELLO | {"max_tokens": 0}, "max_tokens"),
        (HELLO | {"stop": ["a"] * 17}, "stop"),
        (HELLO | {"continue_final_message": True}, None),
    ],
)
async def test_bad_bodies_are_refused_with_the_field(tmp_path: Path, body: object, param: str | None) -> None:
    engine = FakeEngine()
    call = await Call(make_app(engine, tmp_path), "POST", CHAT, body).run()
    assert call.status == 400
    assert set(call.json["error"]) == {"message", "type", "param", "code"}
    assert call.json["error"]["type"] == "invalid_request_error"
    assert call.json["error"]["param"] == param
    assert engine.bodies == []


@pytest.mark.parametrize("stream", [True, False])
async def test_refusal_of_the_engine_keeps_its_status(tmp_path: Path, stream: bool) -> None:
    app = make_app(FakeEngine(failure=context_exceeded("Too long.")), tmp_path)
    call = await Call(app, "POST", CHAT, HELLO | {"stream": stream}).run()
    assert call.status == 400
    assert call.json["error"]["code"] == "context_length_exceeded"
    assert app.slots.busy == 0


async def test_failure_in_the_middle_of_a_stream_is_its_last_event(tmp_path: Path) -> None:
    engine = FakeEngine(failure=ApiError(500, "Broke.", kind="server_error"))
    engine.fail_after = 1
    call = await Call(make_app(engine, tmp_path), "POST", CHAT, HELLO | {"stream": True}).run()
    assert call.status == 200
    assert call.events[-1]["error"]["message"] == "Broke."
    assert call.sent[-1].get("more_body", False) is False


@pytest.mark.parametrize("stream", [True, False])
async def test_caller_that_goes_away_stops_the_engine(tmp_path: Path, stream: bool) -> None:
    engine = FakeEngine()
    engine.hold = asyncio.Event()
    app = make_app(engine, tmp_path)
    call = Call(app, "POST", CHAT, HELLO | {"stream": stream})
    running = asyncio.create_task(call.run())
    await asyncio.wait_for(engine.began.wait(), 5)
    assert app.slots.busy == 1
    call.gone.set()
    await asyncio.wait_for(running, 5)
    assert (engine.stopped, engine.tokens_produced, app.slots.busy) == (1, 1, 0)


async def test_cancelled_request_stops_the_engine_before_it_ends(tmp_path: Path) -> None:
    engine = FakeEngine()
    engine.hold = asyncio.Event()
    app = make_app(engine, tmp_path)
    call = Call(app, "POST", CHAT, HELLO | {"stream": True})
    running = asyncio.create_task(call.run())
    await asyncio.wait_for(call.first_piece.wait(), 5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (engine.stopped, app.slots.busy) == (1, 0)


async def test_full_queue_answers_503_and_healthz_and_info_still_answer(tmp_path: Path) -> None:
    engine = FakeEngine()
    engine.hold = asyncio.Event()
    app = make_app(engine, tmp_path, concurrency=1, max_waiting=1)
    calls = [Call(app, "POST", CHAT, HELLO) for _ in range(2)]
    running = [asyncio.create_task(call.run()) for call in calls]
    await asyncio.wait_for(engine.began.wait(), 5)
    assert (app.slots.busy, app.slots.waiting) == (1, 1)
    refused = await Call(app, "POST", CHAT, HELLO).run()
    assert (refused.status, refused.json["error"]["code"]) == (503, "overloaded")
    assert refused.headers[b"retry-after"] == b"1"
    assert (await Call(app, "POST", "/probe").run()).status == 503
    assert (await Call(app, "GET", "/healthz", token=None).run()).status == 200
    assert (await Call(app, "GET", "/info").run()).json["slotsBusy"] == 1
    engine.hold.set()
    await asyncio.gather(*running)
    assert [call.status for call in calls] == [200, 200]
    assert (app.slots.busy, app.slots.waiting) == (0, 0)


async def test_info_is_the_contract(tmp_path: Path) -> None:
    call = await Call(make_app(FakeEngine(), tmp_path, concurrency=3), "GET", "/info").run()
    info = ServeInfo.model_validate(call.json)
    assert (info.slots_total, info.model_digest, info.context_tokens, info.node) == (3, "d" * 64, 64, "home")
    assert info.memory.peak >= info.memory.now > 0


@pytest.mark.parametrize("task", [Task.CHAT, Task.EMBED, Task.RERANK])
async def test_probe_computes_one_token_or_vector(tmp_path: Path, task: Task) -> None:
    engine = FakeEngine(words=("a",))
    call = await Call(make_app(engine, tmp_path, task=task), "POST", "/probe").run()
    assert call.status == 200
    assert call.json["ok"] is True
    assert engine.tokens_produced == 1


@pytest.mark.parametrize(
    ("task", "method", "path", "status"),
    [
        (Task.CHAT, "GET", CHAT, 405),
        (Task.CHAT, "POST", "/v1/embeddings", 404),
        (Task.EMBED, "POST", CHAT, 404),
        (Task.CHAT, "GET", "/", 404),
    ],
)
async def test_routes_of_the_task_only(tmp_path: Path, task: Task, method: str, path: str, status: int) -> None:
    call = await Call(make_app(FakeEngine(), tmp_path, task=task), method, path, HELLO).run()
    assert call.status == status


async def test_embeddings_in_both_encodings_with_prefixes_and_truncation(tmp_path: Path) -> None:
    engine = FakeEngine()
    app = make_app(engine, tmp_path, task=Task.EMBED)
    app.tunables = ServeTunables(query_prefix="q: ", document_prefix="d: ")
    plain = await Call(app, "POST", "/v1/embeddings", {"input": ["a", "b"], "input_type": "query"}).run()
    packed = await Call(app, "POST", "/v1/embeddings", {"input": "a", "encoding_format": "base64"}).run()
    assert engine.texts == [["q: a", "q: b"], ["d: a"]]
    assert [row["embedding"] for row in plain.json["data"]] == [[1.0, -0.5], [1.0, -0.5]]
    assert plain.json["usage"] == {"prompt_tokens": 6, "total_tokens": 6, "truncated_inputs": [0]}
    assert array("f", base64.b64decode(packed.json["data"][0]["embedding"])).tolist() == [1.0, -0.5]


@pytest.mark.parametrize(
    "body",
    [
        {"input": ""},
        {"input": []},
        {"input": [""]},
        {"input": "a", "dimensions": 3},
        {"input": [1, 2]},
        {"input": "a", "encoding_format": "hex"},
    ],
)
async def test_bad_embedding_requests_are_refused(tmp_path: Path, body: object) -> None:
    call = await Call(make_app(FakeEngine(), tmp_path, task=Task.EMBED), "POST", "/v1/embeddings", body).run()
    assert call.status == 400, call.json


async def test_documents_are_ranked_best_first(tmp_path: Path) -> None:
    engine = FakeEngine()
    app = make_app(engine, tmp_path, task=Task.RERANK)
    documents = ["aa", {"text": "aaaa"}, "bb"]
    body = {"query": "q", "documents": documents, "return_documents": True}
    call = await Call(app, "POST", "/v1/rerank", body).run()
    assert engine.texts == [["q", "aa", "aaaa", "bb"]]
    assert [(r["index"], r["relevance_score"], r["document"]["text"]) for r in call.json["results"]] == [
        (1, 0.04, "aaaa"), (0, 0.02, "aa"), (2, 0.02, "bb"),
    ]  # fmt: skip
    assert call.json["usage"] == {"prompt_tokens": 82, "total_tokens": 82, "truncated_inputs": [0]}
    assert list(call.json)[-1] == "usage", "the gateway reads it at the end"
    again = await Call(app, "POST", "/v1/rerank", body).run()
    assert all(re.fullmatch(r"rerank-[0-9a-f]{32}", one.json["id"]) for one in (call, again))
    assert call.json["id"] != again.json["id"]
    few = await Call(app, "POST", "/v1/rerank", {"query": "q", "documents": documents, "top_n": 1}).run()
    assert few.json["results"] == [{"index": 1, "relevance_score": 0.04}]
    assert (await Call(app, "POST", "/probe").run()).status == 200


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"query": "", "documents": ["a"]}, "query"),
        ({"query": "q", "documents": []}, "documents"),
        ({"query": "q", "documents": [""]}, "documents"),
        ({"query": "q", "documents": ["a"] * 1001}, "documents"),
        ({"query": "q", "documents": ["a"], "top_n": 0}, "top_n"),
        ({"documents": ["a"]}, "query"),
    ],
)
async def test_bad_rerank_requests_are_refused_and_name_the_field(tmp_path: Path, body: object, param: str) -> None:
    call = await Call(make_app(FakeEngine(), tmp_path, task=Task.RERANK), "POST", "/v1/rerank", body).run()
    assert (call.status, call.json["error"]["param"]) == (400, param)


async def test_body_beyond_the_limit_is_413(tmp_path: Path) -> None:
    call = await Call(make_app(FakeEngine(), tmp_path), "POST", CHAT, b"x" * (16 * 2**20 + 1)).run()
    assert call.status == 413


async def test_lifespan_closes_the_engine(tmp_path: Path) -> None:
    engine = FakeEngine()
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[str] = []

    async def receive() -> dict[str, str]:
        return messages.pop(0)

    async def send(message: dict[str, str]) -> None:
        sent.append(message["type"])

    await make_app(engine, tmp_path)({"type": "lifespan"}, receive, send)  # type: ignore[arg-type]
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert engine.closed


async def test_completions(tmp_path: Path) -> None:
    engine = FakeEngine()
    call = await Call(make_app(engine, tmp_path), "POST", "/v1/completions", {"prompt": ["Once"]}).run()
    assert call.json["choices"][0]["text"] == "Hello"
    assert call.json["object"] == "text_completion"
    assert engine.bodies[0] == {"prompt": "Once"}
    assert json.dumps(call.json)
