"""The MLX engine with a real model. MLX has a build for processors: the same code, without the GPU."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hearth_api.wire.serve import Engine as EngineName
from hearth_api.wire.serve import ServeArgs, ServeModel, Task
from hearth_serve.engines.factory import load_engine
from hearth_serve.engines.mlx import older_rope
from hearth_serve.engines.protocol import Engine
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

pytestmark = [pytest.mark.mlx, pytest.mark.timeout(600), pytest.mark.filterwarnings("default")]


def args(source: str, **fields: Any) -> ServeArgs:
    model = ServeModel(source=source)
    fixed = {"model_id": "m", "task": Task.CHAT, "engine": EngineName.MLX, "node": "home", "num_cpus": 0}
    return ServeArgs(**{**fixed, "model": model, "context_tokens": 512, **fields})


@pytest.fixture(scope="module")
def smol(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_smol_folder(tmp_path_factory.mktemp("smol"))


@pytest.fixture(scope="module")
def chat(smol: Path) -> Iterator[Engine]:
    engine = load_engine(args(f"file://{smol}"))
    yield engine
    asyncio.run(engine.close())


async def test_a_batch_and_a_kept_context_change_no_answer(
    smol: Path, chat: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    reused = watch_reuse(monkeypatch)
    engine = load_engine(args(f"file://{smol}", concurrency=3))
    said = (await whole(engine, {"messages": CAPITAL, "temperature": 0}))["choices"][0]["message"]["content"]
    bodies = [
        {"messages": [*CAPITAL, {"role": "assistant", "content": said}, {"role": "user", "content": "And of Italy?"}]},
        {"messages": [SYSTEM, {"role": "user", "content": "Count to ten. " * 8}]},
        {"messages": CAPITAL, "frequency_penalty": 1.5, "logit_bias": {"2": -100}},
        {"messages": [{"role": "user", "content": "Hi"}]},
    ]
    bodies = [{**body, "temperature": 0, "max_tokens": 6} for body in bodies]
    together = await asyncio.gather(*(whole(engine, body) for body in bodies))
    assert max(reused) > 30
    alone = [await whole(chat, body) for body in bodies]
    assert [answer["choices"] for answer in together] == [answer["choices"] for answer in alone]
    await engine.close()


def test_a_folder_that_mlx_cannot_serve_is_refused_in_one_sentence(tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    with pytest.raises(StartError, match="task Chat only"):
        load_engine(args(f"file://{tmp_path}", task=Task.EMBED))
    save_file({"a": np.zeros(4, dtype="float32")}, tmp_path / "model.safetensors")
    write_smol_folder_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "of-tomorrow", "architectures": ["TomorrowForCausalLM"]}')
    with pytest.raises(StartError, match=r"mlx-lm cannot load .*TomorrowForCausalLM.*not supported") as caught:
        load_engine(args(f"file://{tmp_path}"))
    assert "\n" not in str(caught.value)


def write_smol_folder_tokenizer(folder: Path) -> None:
    """Only what the tokenizer needs."""
    from tokenizers import Tokenizer, models

    Tokenizer(models.BPE({"a": 0, "b": 1}, [])).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "b"}')


def test_rotary_positions_of_newer_files_are_told_to_mlx_as_it_knows_them() -> None:
    assert older_rope({"rope_theta": 1e4, "rope_parameters": {"rope_theta": 5e5}}) == {}
    assert older_rope({"rope_parameters": {"full_attention": {"rope_theta": 1e6}}}) == {}
    assert older_rope({"rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}}) == {"rope_theta": 1e6}
    scaled = {"rope_theta": 5e5, "rope_type": "llama3", "factor": 8.0}
    found = older_rope({"rope_parameters": scaled})
    assert found == {"rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", "factor": 8.0}}
