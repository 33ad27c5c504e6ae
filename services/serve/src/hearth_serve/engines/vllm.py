"""Models on CUDA cards through vLLM: chat, completions, embeddings, and scores of cross-encoders.

vLLM computes in processes of its own and is asked for tokens only. Templates, tools, stop sequences and OpenAI's shapes
are those of the other engines; grammars, penalties and seeds are vLLM's. Its context is taken in whole when it loads:
exactly for `concurrency` requests of `context_tokens`, the same sum that the operator plans with.
"""

import asyncio
import itertools
import uuid
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from hearth_api.wire.serve import ServeArgs, Task, WeightsShape
from hearth_serve.engines.folders import Folder, first_line, open_folder, open_tokenizer, template_of, words_of
from hearth_serve.engines.protocol import Body, Embedded, EngineFacts, Reranked
from hearth_serve.engines.tokens.answers import Answers
from hearth_serve.engines.tokens.constraints import Constraints
from hearth_serve.engines.tokens.job import Job, Sampling, Token
from hearth_serve.engines.vllm_encode import VllmEncoder
from hearth_serve.errors import ApiError, EngineFailedError, StartError, invalid
from hearth_serve.shapes.known import known_shape

if TYPE_CHECKING:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.logprobs import Logprob
    from vllm.sampling_params import SamplingParams
    from vllm.v1.engine.async_llm import AsyncLLM

BATCH_TOKENS = 2048
"""Tokens of one step, prompts and answers together."""
BLOCK = 16
"""Tokens of a page of the context."""
_MOST_LOGPROBS = 20


class VllmEngine:
    """A model in vLLM."""

    def __init__(
        self, *, facts: EngineFacts, engine: "AsyncLLM", answers: Answers | None, encoder: VllmEncoder | None
    ) -> None:
        self.facts = facts
        self._engine = engine
        self._answers = answers
        self._encoder = encoder

    @property
    def tokens_produced(self) -> int:
        """See the Protocol."""
        return sum(part.tokens_produced for part in (self._answers, self._encoder) if part is not None)

    @classmethod
    def load(cls, args: ServeArgs) -> "VllmEngine":
        """Find, check and load the folder. Raises StartError."""
        folder = open_folder(args)
        try:
            import vllm
        except ImportError as error:
            raise StartError("Engine VLLM needs vllm: install hearth-serve with the extra vllm, on Linux.") from error
        shape = known_shape(folder.weights.files)
        context = min(args.context_tokens, folder.positions or args.context_tokens)
        tokenizer = open_tokenizer(folder)
        engine = _open_engine(args, folder, shape=shape, context=context)
        facts = EngineFacts(
            version=f"vllm {vllm.__version__}",
            context_tokens=context,
            digest=folder.weights.digest,
            dimensions=engine.model_config.get_hidden_size() if args.task is Task.EMBED else None,
            shape=shape,
        )
        if args.task is not Task.CHAT:
            encoder = VllmEncoder(engine, tokenizer=tokenizer, context=context)
            return cls(facts=facts, engine=engine, answers=None, encoder=encoder)
        words = words_of(folder, tokenizer)
        constraints = Constraints(tokenizer, vocabulary=words.size, ends=words.ends)
        constraints.prepare()
        answers = Answers(
            model_id=args.model_id,
            facts=facts,
            source=VllmSource(engine),
            words=words,
            template=template_of(tokenizer),
            constraints=constraints,
        )
        return cls(facts=facts, engine=engine, answers=answers, encoder=None)

    async def stream_chat(self, body: Body) -> AsyncGenerator[bytes, None]:
        """See the Protocol."""
        async with aclosing(self._writing().stream_chat(body)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def stream_completion(self, body: Body) -> AsyncGenerator[bytes, None]:
        """See the Protocol."""
        async with aclosing(self._writing().stream_completion(body)) as chunks:
            async for chunk in chunks:
                yield chunk

    def _writing(self) -> Answers:
        if self._answers is None:
            raise invalid("This model reads; it does not chat.", param="model")
        return self._answers

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """See the Protocol."""
        if self._encoder is None:
            raise invalid("This model chats; it does not embed.", param="model")
        return await self._encoder.embed(texts)

    async def rerank(self, query: str, documents: Sequence[str]) -> Reranked:
        """Score each document of a cross-encoder for a query."""
        if self._encoder is None:
            raise invalid("This model chats; it does not rank.", param="model")
        scores, lengths = await self._encoder.scores(query, documents)
        return Reranked.of(scores, lengths, context=self.facts.context_tokens)

    async def check(self) -> None:
        """Raise EngineFailedError where vLLM's process is dead: it does not come back by itself."""
        try:
            await self._engine.check_health()
        except Exception as error:
            raise EngineFailedError(f"vLLM has ended: {first_line(error)}.") from error

    async def close(self) -> None:
        """See the Protocol."""
        if self._answers is not None:
            await self._answers.close()
        await asyncio.to_thread(self._engine.shutdown)


def _open_engine(args: ServeArgs, folder: Folder, *, shape: WeightsShape | None, context: int) -> "AsyncLLM":
    """Start vLLM; takes a minute. Raises StartError."""

    def start() -> "AsyncLLM":
        from vllm.v1.engine.async_llm import AsyncLLM

        return AsyncLLM.from_engine_args(engine_arguments(args, folder, shape=shape, context=context))

    # In a thread without an event loop: vLLM ties itself to the first loop that asks it, which is the one that serves.
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="vllm-start") as pool:
        try:
            return pool.submit(start).result()
        except StartError:
            raise
        except Exception as error:
            raise StartError(f"vLLM cannot load {folder.path} ({folder.architecture}): {first_line(error)}.") from error


def engine_arguments(args: ServeArgs, folder: Folder, *, shape: WeightsShape | None, context: int) -> "AsyncEngineArgs":
    """Return vLLM's arguments. Raises StartError where the memory to take is not known."""
    from vllm.config import StructuredOutputsConfig
    from vllm.engine.arg_utils import AsyncEngineArgs

    parallel = args.tensor_parallel or 1
    chats = args.task is Task.CHAT
    taken = cache_bytes(shape, context=context, concurrency=args.concurrency) if chats else 0
    if chats and taken is None and not args.memory_bytes:
        raise StartError(
            f"The files of {folder.path} do not say how large a context is: declare resources.memory of the variant."
        )
    return AsyncEngineArgs(
        model=str(folder.path),
        served_model_name=args.model_id,
        runner="generate" if chats else "pooling",
        trust_remote_code=False,
        load_format="safetensors",
        generation_config="vllm",  # no defaults for sampling out of the model's files: they are the deployment's
        max_model_len=context,
        max_num_seqs=args.concurrency,
        max_num_batched_tokens=max(BATCH_TOKENS, args.concurrency) if chats else max(BATCH_TOKENS, context),
        gpu_memory_utilization=_share(args.memory_bytes // parallel),
        # The declared memory bounds all that vLLM takes. Where none is declared, its context is what was planned.
        kv_cache_memory_bytes=None if args.memory_bytes or not taken else -(-taken // parallel),
        enable_prefix_caching=chats,
        tensor_parallel_size=parallel,
        # Ray's placement group of the replica holds the cards; one card needs none of that.
        distributed_executor_backend="ray" if parallel > 1 else None,
        max_logprobs=_MOST_LOGPROBS,
        logprobs_mode="raw_logprobs",
        structured_outputs_config=StructuredOutputsConfig(backend="guidance", disable_any_whitespace=True),
        disable_log_stats=True,
        enable_log_requests=False,  # they would hold prompts
        use_tqdm_on_load=False,
    )


def _share(memory_bytes: int) -> float:
    """Return the part of a card's memory that may be taken."""
    from vllm.platforms import current_platform

    if not memory_bytes:
        return 0.9
    card: int = current_platform.get_device_total_memory()
    return min(1.0, memory_bytes / card)


def cache_bytes(shape: WeightsShape | None, *, context: int, concurrency: int) -> int | None:
    """Return the bytes of the context in 16 bits for all slots, as `hearth_operator.plan.fit.cache` counts them."""
    if shape is None:
        return None
    layers = shape.cache_layers if shape.cache_layers is not None else shape.layers
    if shape.kv_lora_rank is not None:
        width: int | None = shape.kv_lora_rank + (shape.rope_dim if shape.rope_dim is not None else 64)
    elif shape.kv_heads is not None and shape.head_dim is not None:
        width = 2 * shape.kv_heads * shape.head_dim
    else:
        width = 2 * shape.hidden_size if shape.hidden_size is not None else None
    if layers is None or width is None:
        return None
    tokens = -(-context // BLOCK) * BLOCK + BLOCK
    return tokens * width * 2 * layers * concurrency + (shape.recurrent_state or 0) * concurrency


class VllmSource:
    """See `hearth_serve.engines.tokens.job.TokenSource`."""

    def __init__(self, engine: "AsyncLLM") -> None:
        self._engine = engine
        self._mark = uuid.uuid4().hex
        self._count = itertools.count()

    async def generate(self, job: Job) -> AsyncGenerator[Token, None]:
        """Yield tokens; closing it takes the request out of vLLM."""
        from vllm.exceptions import VLLMClientError
        from vllm.inputs import TokensPrompt

        prompt = TokensPrompt(prompt_token_ids=list(job.prompt))
        name = f"{self._mark}-{next(self._count)}"
        running = self._engine.generate(prompt, sampling_parameters(job), name)
        try:
            async with aclosing(running) as outputs:
                async for output in outputs:
                    part = output.outputs[0]
                    for place, number in enumerate(part.token_ids):
                        told = part.logprobs[place] if part.logprobs else None
                        yield _token(number, told, job.sampling)
        except VLLMClientError as error:
            raise invalid(f"{first_line(error)}.") from error
        except (ApiError, asyncio.CancelledError):
            raise
        except Exception as error:
            raise ApiError(500, "The model failed while it answered.", kind="server_error") from error

    def check(self) -> None:
        """The engine's owner asks vLLM itself."""
        if self._engine.errored:
            raise EngineFailedError("vLLM has ended.")

    async def close(self) -> None:
        """Nothing is held here: the engine ends with its owner."""


def sampling_parameters(job: Job) -> "SamplingParams":
    """Return vLLM's parameters of an answer. Text is made here: vLLM gives numbers only."""
    from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

    sampling = job.sampling
    return SamplingParams(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p if sampling.temperature else 0.0,
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        repetition_penalty=sampling.repeat_penalty,
        seed=sampling.seed,
        logit_bias=dict(sampling.logit_bias) or None,
        logprobs=sampling.logprobs,
        max_tokens=job.limit,
        stop_token_ids=sorted(job.ends),
        structured_outputs=StructuredOutputsParams(json=job.schema) if job.schema is not None else None,
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
    )


def _token(number: int, told: "dict[int, Logprob] | None", sampling: Sampling) -> Token:
    if told is None or sampling.logprobs is None:
        return Token(id=number)
    ranked: list[tuple[int, Any]] = sorted(told.items(), key=lambda entry: -entry[1].logprob)
    top = tuple((other, float(entry.logprob)) for other, entry in ranked[: sampling.logprobs])
    return Token(id=number, logprob=float(told[number].logprob) if number in told else None, top=top)
