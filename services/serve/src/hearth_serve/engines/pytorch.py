"""Any safetensors model through transformers and torch, on CUDA, MPS or the CPU.

Weights are safetensors only and code in a model's folder never runs. Chat templates render in a process of their own.
"""

from collections.abc import AsyncGenerator, Sequence
from typing import Any

from hearth_api.wire.serve import ServeArgs, Task
from hearth_serve.engines.folders import Folder, first_line, open_folder, open_tokenizer, template_of, words_of
from hearth_serve.engines.protocol import Body, Embedded, EngineFacts, Reranked
from hearth_serve.engines.pytorch_batch import TorchStepper
from hearth_serve.engines.pytorch_encode import Encoder
from hearth_serve.engines.tokens.answers import Answers
from hearth_serve.engines.tokens.batcher import Batcher
from hearth_serve.engines.tokens.constraints import Constraints
from hearth_serve.errors import StartError, invalid
from hearth_serve.shapes.known import known_shape


class TransformersEngine:
    """A causal language model, a sentence encoder, or a cross-encoder."""

    def __init__(self, *, facts: EngineFacts, answers: Answers | None = None, encoder: Encoder | None = None) -> None:
        self.facts = facts
        self._answers = answers
        self._encoder = encoder
        self._encoded = 0

    @property
    def tokens_produced(self) -> int:
        """See the Protocol."""
        return self._encoded + (self._answers.tokens_produced if self._answers is not None else 0)

    @classmethod
    def load(cls, args: ServeArgs, *, threads: int) -> "TransformersEngine":
        """Find, check and load the folder. Raises StartError."""
        folder = open_folder(args)
        try:
            import torch
            import transformers
        except ImportError as error:
            raise StartError("Engine Transformers needs torch: use the image hearth-serve-torch.") from error
        torch.set_num_threads(threads)
        device = choose_device(torch)
        tokenizer = open_tokenizer(folder)
        model = _open_model(args, folder, device=device)
        facts = EngineFacts(
            version=f"transformers {transformers.__version__}, torch {torch.__version__}, {device}",
            context_tokens=min(args.context_tokens, folder.positions or args.context_tokens),
            digest=folder.weights.digest,
            dimensions=model.config.hidden_size if args.task is Task.EMBED else None,
            shape=known_shape(folder.weights.files),
        )
        if args.task is Task.CHAT:
            return cls(facts=facts, answers=_answers(args, folder, model=model, tokenizer=tokenizer, facts=facts))
        encoder = Encoder(
            model=model,
            tokenizer=tokenizer,
            context=facts.context_tokens,
            slots=args.concurrency,
            folder=folder.path,
        )
        return cls(facts=facts, encoder=encoder)

    async def stream_chat(self, body: Body) -> AsyncGenerator[bytes, None]:
        """See the Protocol."""
        async for chunk in self._writing().stream_chat(body):
            yield chunk

    async def stream_completion(self, body: Body) -> AsyncGenerator[bytes, None]:
        """See the Protocol."""
        async for chunk in self._writing().stream_completion(body):
            yield chunk

    def _writing(self) -> Answers:
        if self._answers is None:
            raise invalid("This model reads; it does not chat.", param="model")
        return self._answers

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """See the Protocol."""
        if self._encoder is None:
            raise invalid("This model chats; it does not embed.", param="model")
        vectors, lengths = await self._encoder.vectors(texts)
        return Embedded(vectors=vectors, tokens=self._count(lengths), truncated=self._cut(lengths))

    async def rerank(self, query: str, documents: Sequence[str]) -> Reranked:
        """Score each document of a cross-encoder for a query."""
        if self._encoder is None:
            raise invalid("This model chats; it does not rank.", param="model")
        scores, lengths = await self._encoder.scores(query, documents)
        self._count(lengths)
        return Reranked.of(scores, lengths, context=self.facts.context_tokens)

    def _count(self, lengths: list[int]) -> int:
        tokens = sum(min(length, self.facts.context_tokens) for length in lengths)
        self._encoded += tokens
        return tokens

    def _cut(self, lengths: list[int]) -> tuple[int, ...]:
        return tuple(n for n, length in enumerate(lengths) if length > self.facts.context_tokens)

    async def check(self) -> None:
        """Raise EngineFailedError where the engine computes no more."""
        if self._answers is not None:
            await self._answers.check()

    async def close(self) -> None:
        """See the Protocol."""
        if self._answers is not None:
            await self._answers.close()
        if self._encoder is not None:
            await self._encoder.close()


def _answers(args: ServeArgs, folder: Folder, *, model: Any, tokenizer: Any, facts: EngineFacts) -> Answers:
    words = words_of(folder, tokenizer)
    constraints = Constraints(tokenizer, vocabulary=words.size, ends=words.ends)
    constraints.prepare()
    return Answers(
        model_id=args.model_id,
        facts=facts,
        source=Batcher(
            lambda: TorchStepper(model, slots=args.concurrency, constraints=constraints),
            slots=args.concurrency,
            name="torch",
        ),
        words=words,
        template=template_of(tokenizer),
        constraints=constraints,
    )


def _open_model(args: ServeArgs, folder: Folder, *, device: str) -> Any:
    """Load the weights. Raises StartError."""
    import torch
    import transformers

    families = {
        Task.CHAT: transformers.AutoModelForCausalLM,
        Task.EMBED: transformers.AutoModel,
    }
    family = families.get(args.task, transformers.AutoModelForSequenceClassification)
    dtype = torch.bfloat16 if args.task is Task.CHAT and device != "cpu" else torch.float32
    try:
        model = family.from_pretrained(
            str(folder.path), dtype=dtype, use_safetensors=True, local_files_only=True, trust_remote_code=False
        )
        return model.to(device).eval()
    except torch.OutOfMemoryError as error:
        raise StartError(f"{device} has no room for {folder.path}: {first_line(error)}.") from error
    except Exception as error:
        raise StartError(
            f"transformers cannot load {folder.path} ({folder.architecture}): {first_line(error)}."
        ) from error


def choose_device(torch: Any) -> str:
    """Return `cuda`, `mps` or `cpu`: the best that this machine has."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
