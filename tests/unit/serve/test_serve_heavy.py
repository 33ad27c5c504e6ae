"""Folders of safetensors, and what is asked of vLLM and MLX, without those libraries."""

import json
import struct
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from hearth_api.wire.serve import Engine as EngineName
from hearth_api.wire.serve import ServeArgs, ServeModel, Task, WeightsShape
from hearth_operator.plan.fit.cache import cache_bytes as planned_bytes
from hearth_operator.plan.fit.shape import Shape
from hearth_operator.plan.fit.workload import Workload
from hearth_serve.engines.factory import load_engine
from hearth_serve.engines.folders import open_folder
from hearth_serve.engines.protocol import Reranked
from hearth_serve.engines.tokens.job import Job, Sampling, Token
from hearth_serve.engines.vllm import VllmSource, cache_bytes, engine_arguments
from hearth_serve.engines.vllm_encode import VllmEncoder
from hearth_serve.errors import ApiError, EngineFailedError, StartError, WeightsMissingError

LLAMA = {"layers": 32, "kv_heads": 8, "head_dim": 128, "hidden_size": 4096}


def args(path: Path, **fields: Any) -> ServeArgs:
    fixed = {"model_id": "m", "task": Task.CHAT, "engine": EngineName.VLLM, "node": "gpu", "num_cpus": 0}
    return ServeArgs(**{**fixed, "model": ServeModel(source=f"file://{path}"), **fields})


def safetensors(path: Path, *, numbers: int = 4) -> bytes:
    header = json.dumps({"a": {"dtype": "F32", "shape": [numbers], "data_offsets": [0, 4 * numbers]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4 * numbers))
    return path.read_bytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    safetensors(tmp_path / "model.safetensors")
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 9, "eos_token_id": 2}
    (tmp_path / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 4096}))
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [2, 7]}')
    return tmp_path


def test_a_folder_tells_what_engines_need(folder: Path) -> None:
    found = open_folder(args(folder))
    assert (found.architecture, found.positions, found.vocabulary) == ("LlamaForCausalLM", 4096, 9)
    assert set(found.ends()) == {2, 7}
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 256}')
    assert open_folder(args(folder)).positions == 256
    nested = {"model_type": "gemma3", "text_config": {"vocab_size": 5, "max_position_embeddings": 8}}
    (folder / "config.json").write_text(json.dumps(nested))
    assert (open_folder(args(folder)).vocabulary, open_folder(args(folder)).positions) == (5, 8)


def test_what_is_wrong_with_a_folder_is_said_in_one_sentence(folder: Path) -> None:
    def refused(pattern: str, kind: type[StartError] = StartError, path: Path = folder) -> None:
        with pytest.raises(kind, match=pattern) as caught:
            open_folder(args(path))
        assert "\n" not in str(caught.value)

    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    for content in (b"", b"GGUF", whole[:20], struct.pack("<Q", 2**60) + b"{}", struct.pack("<Q", 2) + b"[]"):
        weights.write_bytes(content)
        refused("is not a safetensors file")
    weights.write_bytes(whole[:-3])
    refused(f"is truncated: it has {len(whole) - 3} bytes of {len(whole)}")
    weights.write_bytes(whole)
    index = folder / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}')
    refused(r"misses 1 of its files of weights: model-2\.safetensors", WeightsMissingError)
    index.unlink()
    for content, pattern in (("{", "is not JSON"), ("[]", "holds no JSON object"), ("{}", "names no model_type")):
        (folder / "config.json").write_text(content)
        refused(pattern)
    weights.unlink()
    (folder / "model.gguf").write_bytes(b"GGUF")
    refused("that is for engine LlamaCpp", WeightsMissingError)
    refused("is one file: engine VLLM takes a folder", path=folder / "model.gguf")
    (folder / "model.gguf").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"x")
    refused("Pickled weights", WeightsMissingError)


@pytest.mark.parametrize("engine", [EngineName.VLLM, EngineName.MLX, EngineName.TRANSFORMERS])
def test_an_engine_that_is_not_installed_says_how_to_get_it(folder: Path, engine: EngineName, monkeypatch: Any) -> None:
    for name in ("vllm", "mlx", "mlx.core", "mlx_lm", "torch"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(StartError, match=r"extra (vllm|mlx)|hearth-serve-torch"):
        load_engine(args(folder, engine=engine))


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(LLAMA, id="grouped heads"),
        pytest.param({**LLAMA, "kv_heads": None}, id="heads not known"),
        pytest.param({**LLAMA, "kv_lora_rank": 512, "rope_dim": 64}, id="latent attention"),
        pytest.param({**LLAMA, "cache_layers": 8, "recurrent_state": 1 << 20}, id="a hybrid"),
        pytest.param({"layers": None}, id="nothing known"),
    ],
)
def test_the_replica_takes_the_context_that_was_planned(shape: dict[str, Any]) -> None:
    work = Workload(engine=EngineName.VLLM, context_tokens=8000, concurrency=4)
    taken = cache_bytes(WeightsShape(**shape), context=8000, concurrency=4)
    assert taken == planned_bytes(Shape(**shape), work)


# vLLM's side of the seam, by the shapes that its sources have (test_serve_vllm_signatures.py compares them)


class Recorded(SimpleNamespace):
    """Keeps its arguments."""


class ClientError(Exception):
    """vLLM's error of a caller."""


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    contents: dict[str, dict[str, Any]] = {
        "vllm": {},
        "vllm.config": {"StructuredOutputsConfig": Recorded},
        "vllm.engine": {},
        "vllm.engine.arg_utils": {"AsyncEngineArgs": Recorded},
        "vllm.exceptions": {"VLLMClientError": ClientError},
        "vllm.inputs": {"TokensPrompt": dict},
        "vllm.platforms": {"current_platform": SimpleNamespace(get_device_total_memory=lambda: 24 << 30)},
        "vllm.pooling_params": {"PoolingParams": Recorded},
        "vllm.sampling_params": {
            "RequestOutputKind": SimpleNamespace(DELTA="delta"),
            "SamplingParams": Recorded,
            "StructuredOutputsParams": Recorded,
        },
    }
    for name, members in contents.items():
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)


class FakeLlm:
    """Streams what it was given."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts
        self.errored = False
        self.asked: list[Any] = []
        self.closed = 0

    async def generate(self, prompt: Any, parameters: Any, request_id: str) -> AsyncGenerator[Any, None]:
        self.asked.append((prompt, parameters, request_id))
        try:
            for part in self.parts:
                if isinstance(part, Exception):
                    raise part
                yield part
        finally:
            self.closed += 1

    encode = generate


def piece(*ids: int, logprobs: Any = None) -> Any:
    return SimpleNamespace(outputs=[SimpleNamespace(token_ids=ids, logprobs=logprobs)])


def job(**sampling: Any) -> Job:
    return Job(prompt=(1, 2), limit=9, ends=frozenset({7, 2}), sampling=Sampling(**sampling))


async def test_tokens_of_vllm_become_ours(vllm: None) -> None:
    told = [{5: SimpleNamespace(logprob=-1.0), 6: SimpleNamespace(logprob=-0.5), 8: SimpleNamespace(logprob=-3.0)}]
    llm = FakeLlm(piece(3, 4), piece(5, logprobs=told))
    source = VllmSource(llm)  # type: ignore[arg-type]
    found = [token async for token in source.generate(job(logprobs=2, seed=4, temperature=0.0, min_p=0.1))]
    assert found == [Token(id=3), Token(id=4), Token(id=5, logprob=-1.0, top=((6, -0.5), (5, -1.0)))]
    prompt, parameters, _ = llm.asked[0]
    assert prompt == {"prompt_token_ids": [1, 2]}
    assert (parameters.stop_token_ids, parameters.max_tokens, parameters.detokenize) == ([2, 7], 9, False)
    assert (parameters.seed, parameters.min_p, parameters.logprobs, parameters.logit_bias) == (4, 0.0, 2, None)
    source.check()
    llm.errored = True
    with pytest.raises(EngineFailedError):
        source.check()


async def test_closing_an_answer_closes_vllms_and_errors_are_told_apart(vllm: None) -> None:
    llm = FakeLlm(*(piece(n) for n in range(100)))
    source = VllmSource(llm)  # type: ignore[arg-type]
    async with aclosing(source.generate(job())) as tokens:
        async for _ in tokens:
            break
    assert llm.closed == 1
    for failure, status in ((ClientError("too deep\nmore"), 400), (RuntimeError("died"), 500)):
        with pytest.raises(ApiError) as told:
            async for _ in VllmSource(FakeLlm(failure)).generate(job()):  # type: ignore[arg-type]
                pass
        assert told.value.status == status
        assert "died" not in told.value.message


def test_vllm_takes_what_was_declared_or_what_was_planned(vllm: None, folder: Path) -> None:
    found = open_folder(args(folder))
    shape = WeightsShape(**LLAMA)
    planned: Any = engine_arguments(args(folder, concurrency=2, tensor_parallel=2), found, shape=shape, context=4096)
    whole = cache_bytes(shape, context=4096, concurrency=2)
    assert whole is not None
    assert (planned.kv_cache_memory_bytes, planned.tensor_parallel_size) == (whole // 2, 2)
    assert (planned.distributed_executor_backend, planned.trust_remote_code) == ("ray", False)
    declared: Any = engine_arguments(args(folder, memory_bytes=6 << 30), found, shape=None, context=4096)
    assert (declared.gpu_memory_utilization, declared.kv_cache_memory_bytes) == (0.25, None)
    with pytest.raises(StartError, match=r"declare resources\.memory"):
        engine_arguments(args(folder), found, shape=None, context=4096)
    embeds: Any = engine_arguments(args(folder, task=Task.EMBED), found, shape=None, context=8192)
    assert (embeds.runner, embeds.max_num_batched_tokens, embeds.enable_prefix_caching) == ("pooling", 8192, False)


class Words:
    """A tokenizer of one token a letter."""

    def __call__(self, texts: list[str], others: list[str] | None = None, **options: Any) -> dict[str, Any]:
        most = options.get("max_length", 10**6)
        pairs = list(zip(texts, others or [""] * len(texts), strict=True))
        found = {"input_ids": [[ord(c) for c in one + other][:most] for one, other in pairs]}
        if others:
            found["token_type_ids"] = [([0] * len(one) + [1] * len(other))[:most] for one, other in pairs]
        return found


def tensor(*values: float) -> Any:
    """Return as much of a tensor as is asked of one."""
    made = SimpleNamespace(tolist=lambda: list(values))
    made.float = made.flatten = lambda: made
    return made


async def test_vectors_and_scores_of_vllm_become_ours(vllm: None) -> None:
    llm = FakeLlm(SimpleNamespace(outputs=SimpleNamespace(data=tensor(3.0, 4.0))))
    encoder = VllmEncoder(llm, tokenizer=Words(), context=4)  # type: ignore[arg-type]
    found = await encoder.embed(["ab", "abcdef"])
    assert ([list(row) for row in found.vectors], found.tokens, found.truncated) == ([[0.6, 0.8]] * 2, 6, (1,))
    assert llm.asked[1][0] == {"prompt_token_ids": [ord(c) for c in "abcf"]}
    scores, lengths = await encoder.scores("q", ["d", "defgh"])
    assert (scores, lengths) == ([4.0, 4.0], [2, 6])
    ranked = Reranked.of(scores, lengths, context=4)
    assert (ranked.tokens, ranked.truncated) == (6, (1,))
    assert llm.asked[-1][1].extra_kwargs == {"compressed_token_type_ids": 1}
    assert encoder.tokens_produced == 6 + 2 + 4
