"""What every engine answers that gives tokens: tests that a module takes by name and runs on its own fixture `chat`.

The fixture is an engine with SmolLM2, a context of 512 tokens and one slot.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from hearth_serve.engines.protocol import Engine
from hearth_serve.engines.tokens.contexts import Kept, KeptContexts
from hearth_serve.errors import ApiError
from hearth_serve.fold import fold

SYSTEM = {"role": "system", "content": "You are a helpful assistant. Answer briefly."}
CAPITAL = [SYSTEM, {"role": "user", "content": "What is the capital of France?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


def watch_reuse(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by the tokens that each answer from now on need not read again."""
    reused: list[int] = []
    take = KeptContexts.take

    def watched(self: KeptContexts, prompt: Sequence[int], *, running: int) -> Kept | None:
        found = take(self, prompt, running=running)
        reused.append(len(found.tokens) if found is not None else 0)
        return found

    monkeypatch.setattr(KeptContexts, "take", watched)
    return reused


async def whole(engine: Engine, body: Mapping[str, Any]) -> Any:
    """Return the whole answer."""
    return fold([chunk async for chunk in engine.stream_chat(body)])


async def test_chats_goes_on_and_stops(chat: Engine) -> None:
    answer = await whole(chat, {"messages": CAPITAL, "temperature": 0})
    assert "Paris" in answer["choices"][0]["message"]["content"]
    assert answer["choices"][0]["finish_reason"] == "stop"
    begun = [*CAPITAL, {"role": "assistant", "content": "The capital of France is Par"}]
    rest = await whole(chat, {"messages": begun, "temperature": 0, "continue_final_message": True, "max_tokens": 5})
    assert rest["choices"][0]["message"]["content"].startswith("is")
    stopped = await whole(chat, {"messages": CAPITAL, "temperature": 0, "stop": "Paris"})
    before = answer["choices"][0]["message"]["content"].partition("Paris")[0]
    assert stopped["choices"][0]["message"]["content"] == before
    parts = [{"type": "text", "text": "What is the capital "}, {"type": "text", "text": "of France?"}]
    short = await whole(chat, {"messages": [SYSTEM, {"role": "user", "content": parts}], "max_tokens": 2})
    assert (short["choices"][0]["finish_reason"], short["usage"]["completion_tokens"]) == ("length", 2)


async def test_closing_a_stream_stops_generating(chat: Engine) -> None:
    before = chat.tokens_produced
    async with aclosing(chat.stream_completion({"prompt": "1 2 3 4 5", "max_tokens": 500, "temperature": 1})) as chunks:
        async for _ in chunks:
            if chat.tokens_produced - before > 3:
                break
    after = chat.tokens_produced
    assert after - before < 30
    await whole(chat, {"messages": CAPITAL, "max_tokens": 2})  # the only slot is free again
    assert chat.tokens_produced - after <= 3


async def test_refuses_what_it_cannot_do(chat: Engine) -> None:
    for body, param in (
        ({"messages": CAPITAL, "tools": [{}]}, "tools"),
        ({"messages": CAPITAL, "response_format": {"type": "json_schema"}}, "response_format"),
        (
            {"messages": CAPITAL, "response_format": {"type": "json_object", "schema": {"type": "nonsense"}}},
            "response_format",
        ),
        ({"messages": CAPITAL, "logit_bias": {"99999999": 1}}, "logit_bias"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
        ({"messages": [{"role": "user", "content": "hello " * 600}]}, "messages"),
    ):
        with pytest.raises(ApiError) as refused:
            await whole(chat, body)
        assert (refused.value.status, refused.value.param) == (400, param)
    with pytest.raises(ApiError, match="does not embed"):
        await chat.embed(["a"])


async def test_keeps_to_a_schema_and_calls_the_tool_that_is_demanded(chat: Engine) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}, "visits": {"type": "integer", "maximum": 9}},
        "required": ["city", "visits"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema}}
    answer = await whole(chat, {"messages": CAPITAL, "response_format": wanted, "temperature": 1, "max_tokens": 60})
    assert set(json.loads(answer["choices"][0]["message"]["content"])) == {"city", "visits"}
    assert answer["choices"][0]["finish_reason"] == "stop"
    called = await whole(chat, {"messages": CAPITAL, "tools": [WEATHER], "tool_choice": "required", "temperature": 0})
    (call,) = called["choices"][0]["message"]["tool_calls"]
    assert (call["function"]["name"], list(json.loads(call["function"]["arguments"]))) == ("get_weather", ["city"])
    assert called["choices"][0]["finish_reason"] == "tool_calls"
    free = await whole(chat, {"messages": CAPITAL, "tools": [WEATHER], "tool_choice": "none", "temperature": 0})
    assert "Paris" in free["choices"][0]["message"]["content"]


async def test_tells_probabilities_and_repeats_itself_with_a_seed(chat: Engine) -> None:
    body = {"messages": CAPITAL, "temperature": 1.3, "seed": 7, "max_tokens": 8}
    one, other = await whole(chat, body), await whole(chat, body)
    assert one["choices"] == other["choices"]
    both = await whole(chat, {**body, "n": 2})
    assert both["choices"][0]["message"] == one["choices"][0]["message"]
    assert both["choices"][1]["message"] != one["choices"][0]["message"]
    assert both["usage"]["completion_tokens"] == 2 * one["usage"]["completion_tokens"]
    told = await whole(
        chat, {"messages": CAPITAL, "temperature": 0, "max_tokens": 4, "logprobs": True, "top_logprobs": 3}
    )
    entries = told["choices"][0]["logprobs"]["content"]
    assert "".join(entry["token"] for entry in entries) == told["choices"][0]["message"]["content"]
    for entry in entries:
        assert entry["top_logprobs"][0]["token"] == entry["token"]
        assert len(entry["top_logprobs"]) == 3
        assert entry["logprob"] == pytest.approx(entry["top_logprobs"][0]["logprob"])
        assert entry["logprob"] < 0
