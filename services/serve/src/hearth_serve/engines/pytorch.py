"""Any safetensors model through transformers and torch, on CUDA, MPS or the CPU.

Weights are safetensors only and code in a model's folder never runs. Chat templates render in transformers' own
sandbox. Generation runs in a thread of its own per request; a stopping criterion reads a flag that cancelling sets.
"""

import asyncio
import json
import threading
import time
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hearth_api.wire.serve import ServeArgs, Task
from hearth_serve.engines.batches import plan_batches
from hearth_serve.engines.chunks import Stops, chat_choice, encode_chunk, text_choice
from hearth_serve.engines.protocol import Body, Embedded, EngineFacts
from hearth_serve.errors import ApiError, StartError, context_exceeded, invalid
from hearth_serve.shapes.known import known_shape
from hearth_serve.sources import Weights, load_weights, locate

DEFAULT_MAX_TOKENS = 512
"""Where neither the request nor the deployment says: torch on a CPU gives some 10 tokens a second."""
UNSUPPORTED = ("tools", "response_format", "logprobs", "logit_bias")
"""Fields that would silently mean nothing here."""


@dataclass(slots=True)
class _Run:
    """One generation: where its pieces go, and the flag that ends it."""

    loop: asyncio.AbstractEventLoop
    pieces: "asyncio.Queue[str | BaseException | None]" = field(default_factory=asyncio.Queue)
    stop: threading.Event = field(default_factory=threading.Event)
    produced: int = 0
    limit: int = 0

    def put(self, piece: str | BaseException | None) -> None:
        self.loop.call_soon_threadsafe(self.pieces.put_nowait, piece)


class TransformersEngine:
    """A causal language model or a sentence encoder."""

    def __init__(self, *, model: Any, tokenizer: Any, facts: EngineFacts, slots: int) -> None:
        self.facts = facts
        self.tokens_produced = 0
        self._model = model
        self._tokenizer = tokenizer
        self._pool = ThreadPoolExecutor(max_workers=slots, thread_name_prefix="torch")

    @classmethod
    def load(cls, args: ServeArgs, *, threads: int) -> "TransformersEngine":
        """Find, check and load the folder."""
        config = locate(args.model.source, pattern="config.json")
        folder = config.parent
        files = tuple(sorted(folder.glob("*.safetensors")))
        if not files:
            raise StartError(f"Model folder {folder} holds no file *.safetensors.")
        weights = load_weights(folder, sha256=args.model.sha256, files=files)
        return cls.start(args, weights=weights, threads=threads)

    @classmethod
    def start(cls, args: ServeArgs, *, weights: Weights, threads: int) -> "TransformersEngine":
        """Load weights that were checked."""
        try:
            import torch
            import transformers
        except ImportError as error:
            raise StartError("Engine Transformers needs torch: use the image hearth-serve-torch.") from error
        torch.set_num_threads(threads)
        device = choose_device(torch)
        dtype = torch.float32 if device == "cpu" or args.task is Task.EMBED else torch.bfloat16
        family = transformers.AutoModelForCausalLM if args.task is Task.CHAT else transformers.AutoModel
        options = {"local_files_only": True, "trust_remote_code": False}
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(weights.path, **options)
            model = family.from_pretrained(weights.path, dtype=dtype, use_safetensors=True, **options)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise StartError(f"transformers cannot load {weights.path}: {first}") from error
        trained = getattr(model.config, "max_position_embeddings", None) or args.context_tokens
        facts = EngineFacts(
            version=f"transformers {transformers.__version__}, torch {torch.__version__}, {device}",
            context_tokens=min(args.context_tokens, trained, _sentence_limit(weights.path) or args.context_tokens),
            digest=weights.digest,
            dimensions=model.config.hidden_size if args.task is Task.EMBED else None,
            shape=known_shape(weights.files),
        )
        return cls(model=model.to(device).eval(), tokenizer=tokenizer, facts=facts, slots=args.concurrency)

    async def stream_chat(self, body: Body) -> AsyncGenerator[bytes, None]:
        """See the Protocol. Tools and grammars are refused, not ignored."""
        inputs = await asyncio.to_thread(self._render, body)
        async for chunk in self._stream(body, inputs, shape=chat_choice, kind="chat.completion.chunk"):
            yield chunk

    async def stream_completion(self, body: Body) -> AsyncGenerator[bytes, None]:
        """See the Protocol."""
        inputs = self._tokenizer(str(body["prompt"]), return_tensors="pt")
        async for chunk in self._stream(body, inputs, shape=text_choice, kind="text_completion"):
            yield chunk

    def _render(self, body: Body) -> Any:
        if self._tokenizer.chat_template is None:
            raise invalid("This model has no chat template.", param="model")
        messages = [_plain(message) for message in _sequence(body["messages"])]
        going_on = bool(body.get("continue_final_message"))
        try:
            return self._tokenizer.apply_chat_template(
                messages,
                add_generation_prompt=not going_on,
                continue_final_message=going_on,
                return_tensors="pt",
                return_dict=True,
                **dict(_mapping(body.get("chat_template_kwargs") or {})),
            )
        except (ValueError, TypeError) as error:
            raise invalid(f"The chat template refuses these messages: {error}.", param="messages") from error
        except Exception as error:
            # Templates raise jinja2's errors, which is not among this package's dependencies.
            if type(error).__module__.partition(".")[0] != "jinja2":
                raise
            raise invalid(f"The chat template refuses these messages: {error}.", param="messages") from error

    async def _stream(self, body: Body, inputs: Any, *, shape: Any, kind: str) -> AsyncGenerator[bytes, None]:
        self._refuse(body)
        prompt = int(inputs["input_ids"].shape[1])
        room = self.facts.context_tokens - prompt
        if room < 1:
            raise context_exceeded(
                f"The request has {prompt} tokens; the context is {self.facts.context_tokens} with the answer."
            )
        run = _Run(
            loop=asyncio.get_running_loop(), limit=min(int(_number(body, "max_tokens", DEFAULT_MAX_TOKENS)), room)
        )
        name = kind.partition(".")[0]
        head = {"id": f"{name}-{uuid.uuid4().hex}", "object": kind, "created": int(time.time())}
        done = run.loop.run_in_executor(self._pool, self._generate, run, body, inputs)
        stops = Stops(_stop_texts(body))
        try:
            yield encode_chunk(head, [shape("", first=True)])
            while (piece := await run.pieces.get()) is not None:
                if isinstance(piece, BaseException):
                    raise ApiError(500, "The model failed while it answered.", kind="server_error") from piece
                if text := stops.push(piece):
                    yield encode_chunk(head, [shape(text)])
                if stops.hit:
                    run.stop.set()
                    break
            if text := stops.flush():
                yield encode_chunk(head, [shape(text)])
        finally:
            run.stop.set()
            await asyncio.shield(done)
        reason = "length" if run.produced >= run.limit and not stops.hit else "stop"
        yield encode_chunk(head, [shape("", finish=reason)])
        usage = {"prompt_tokens": prompt, "completion_tokens": run.produced, "total_tokens": prompt + run.produced}
        yield encode_chunk(head | {"usage": usage}, [])

    def _refuse(self, body: Body) -> None:
        for name in UNSUPPORTED:
            if body.get(name):
                raise invalid(f"Engine Transformers does not offer {name}: use LlamaCpp.", param=name)
        if _number(body, "n", 1) != 1:
            raise invalid("Engine Transformers gives one choice.", param="n")

    def _generate(self, run: _Run, body: Body, inputs: Any) -> None:
        """Generate in a thread of the pool until the end, the limit, or the flag."""
        try:
            self._generate_tokens(run, body, inputs)
        except Exception as error:  # noqa: BLE001 whatever torch raises belongs to this one request, not to the pool
            run.put(error)
        else:
            run.put(None)

    def _generate_tokens(self, run: _Run, body: Body, inputs: Any) -> None:
        import torch
        import transformers

        engine = self

        class Watch(transformers.StoppingCriteria):  # type: ignore[misc]
            """Called after each token: counts it, and looks at the flag."""

            def __call__(self, input_ids: Any, _scores: Any, **_: Any) -> Any:
                run.produced += 1
                engine.tokens_produced += 1
                return torch.full((input_ids.shape[0],), run.stop.is_set(), device=input_ids.device, dtype=torch.bool)

        class Pieces(transformers.TextIteratorStreamer):  # type: ignore[misc]
            """Hands decoded text to the event loop instead of a thread's queue."""

            def on_finalized_text(self, text: str, stream_end: bool = False) -> None:  # noqa: ARG002
                if text:
                    run.put(text)

        streamer = Pieces(self._tokenizer, skip_prompt=True, skip_special_tokens=True)
        with torch.inference_mode():
            if (seed := body.get("seed")) is not None:
                torch.manual_seed(int(str(seed)))
            self._model.generate(
                **{name: value.to(self._model.device) for name, value in inputs.items() if name != "token_type_ids"},
                max_new_tokens=run.limit,
                streamer=streamer,
                stopping_criteria=transformers.StoppingCriteriaList([Watch()]),
                pad_token_id=self._tokenizer.pad_token_id or self._tokenizer.eos_token_id,
                **_sampling(body),
            )

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """See the Protocol. Mean over the tokens, unit length."""
        limit = self.facts.context_tokens
        lengths = [len(ids) for ids in self._tokenizer(list(texts), verbose=False)["input_ids"]]
        vectors: list[Sequence[float]] = [()] * len(texts)
        loop = asyncio.get_running_loop()
        for batch in plan_batches([min(length, limit) for length in lengths]):
            rows = await loop.run_in_executor(self._pool, self._vectors, [texts[n] for n in batch])
            for n, row in zip(batch, rows, strict=True):
                vectors[n] = row
        tokens = sum(min(length, limit) for length in lengths)
        self.tokens_produced += tokens
        truncated = tuple(n for n, length in enumerate(lengths) if length > limit)
        return Embedded(vectors=vectors, tokens=tokens, truncated=truncated)

    def _vectors(self, texts: list[str]) -> list[list[float]]:
        import torch

        limit = self.facts.context_tokens
        inputs = self._tokenizer(texts, padding=True, truncation=True, max_length=limit, return_tensors="pt")
        with torch.inference_mode():
            hidden = self._model(**inputs.to(self._model.device)).last_hidden_state
            mask = inputs["attention_mask"].unsqueeze(-1).to(hidden.dtype)
            mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1e-9)
            unit = torch.nn.functional.normalize(mean, dim=1)
        rows: list[list[float]] = unit.float().cpu().tolist()
        return rows

    async def close(self) -> None:
        """Let running generations end by their flags."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def choose_device(torch: Any) -> str:
    """Return `cuda`, `mps` or `cpu`: the best that this machine has."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _sentence_limit(folder: Path) -> int | None:
    """Return the length an embedder was trained with, which is less than its positions."""
    settings = folder / "sentence_bert_config.json"
    if not settings.is_file():
        return None
    limit = json.loads(settings.read_text()).get("max_seq_length")
    return int(limit) if limit else None


def _sampling(body: Body) -> dict[str, Any]:
    temperature = _number(body, "temperature", 1.0)
    if temperature == 0:
        return {"do_sample": False}
    options: dict[str, Any] = {"do_sample": True, "temperature": temperature, "top_p": _number(body, "top_p", 1.0)}
    if "top_k" in body:
        options["top_k"] = int(_number(body, "top_k", 0))
    if "repeat_penalty" in body:
        options["repetition_penalty"] = _number(body, "repeat_penalty", 1.0)
    return options


def _number(body: Body, name: str, default: float) -> float:
    value = body.get(name)
    return default if value is None else float(str(value))


def _stop_texts(body: Body) -> list[str]:
    stop = body.get("stop") or []
    return [stop] if isinstance(stop, str) else [str(item) for item in _sequence(stop)]


def _plain(message: object) -> dict[str, object]:
    """Templates of text models take text only: parts are joined, an image is refused."""
    fields = dict(_mapping(message))
    content = fields.get("content")
    if isinstance(content, list):
        if any(part.get("type") != "text" for part in content):
            raise invalid("This model reads text only.", param="messages")
        fields["content"] = "".join(str(part.get("text", "")) for part in content)
    return fields


def _sequence(value: object) -> Sequence[Any]:
    return value if isinstance(value, Sequence) else ()


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
