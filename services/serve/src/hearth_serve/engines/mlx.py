"""Models for Apple's GPUs through mlx-lm (and, for tests, on a processor): chat and completions.

mlx-lm's batch generator reads prompts in pieces and gives all running answers one token per step. Everything of MLX
happens in one thread. Contexts of ended answers are kept while no other answer needs their slot: a conversation that
goes on is read from where it was left.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hearth_api.wire.serve import ServeArgs, Task
from hearth_serve.engines.folders import Folder, first_line, open_folder, open_tokenizer, template_of, words_of
from hearth_serve.engines.protocol import Embedded, EngineFacts, Reranked
from hearth_serve.engines.tokens.answers import Answers
from hearth_serve.engines.tokens.batcher import Batcher
from hearth_serve.engines.tokens.constraints import Constraints, Matcher
from hearth_serve.engines.tokens.contexts import Kept, KeptContexts
from hearth_serve.engines.tokens.job import Job, Sampling, Token
from hearth_serve.errors import StartError, invalid
from hearth_serve.shapes.known import known_shape

PROMPT_STEP = 512
"""Tokens of a prompt per step: the others' next tokens wait for them."""
BUFFERS = 512 * 1024**2
"""Bytes of freed buffers that MLX keeps for the next step. Unbounded it keeps all that a long prompt ever took."""
_NO_LIMIT = 1 << 30


class MlxEngine(Answers):
    """A causal language model in MLX."""

    def __init__(self, *, facts: EngineFacts, **parts: Any) -> None:
        super().__init__(facts=facts, **parts)
        self.facts = facts

    @classmethod
    def load(cls, args: ServeArgs) -> "MlxEngine":
        """Find, check and load the folder. Raises StartError."""
        if args.task is not Task.CHAT:
            raise StartError("Engine MLX serves task Chat only: use LlamaCpp or Transformers.")
        folder = open_folder(args)
        try:
            import mlx.core as mx
            import mlx_lm
        except ImportError as error:
            raise StartError("Engine MLX needs mlx-lm: install hearth-serve with the extra mlx.") from error
        tokenizer = open_tokenizer(folder)
        words = words_of(folder, tokenizer)
        constraints = Constraints(tokenizer, vocabulary=words.size, ends=words.ends)
        constraints.prepare()
        template = template_of(tokenizer)
        source = Batcher(
            lambda: MlxStepper(_open_model(folder), slots=args.concurrency, constraints=constraints),
            slots=args.concurrency,
            name="mlx",
        )
        facts = EngineFacts(
            version=f"mlx-lm {mlx_lm.__version__}, mlx {mx.__version__}, {mx.default_device().type.name}",
            context_tokens=min(args.context_tokens, folder.positions or args.context_tokens),
            digest=folder.weights.digest,
            shape=known_shape(folder.weights.files),
        )
        return cls(
            model_id=args.model_id,
            facts=facts,
            source=source,
            words=words,
            template=template,
            constraints=constraints,
        )

    async def embed(self, _texts: object) -> Embedded:
        """Refuse: mlx-lm has no encoders."""
        raise invalid("This model chats; it does not embed.", param="model")

    async def rerank(self, _query: object, _documents: object) -> Reranked:
        """Refuse: MLX serves chats only."""
        raise invalid("This model chats; it does not rank.", param="model")


def _open_model(folder: Folder) -> Any:
    """Load the weights, in the thread that will compute. Raises StartError."""
    import mlx.core as mx
    from mlx_lm.utils import load_model

    mx.set_cache_limit(BUFFERS)
    try:
        model, _ = load_model(folder.path, model_config=older_rope(folder.config), trust_remote_code=False)
    except ValueError as error:
        raise StartError(f"mlx-lm cannot load {folder.path} ({folder.architecture}): {first_line(error)}.") from error
    except (MemoryError, RuntimeError) as error:
        raise StartError(f"MLX has no room for {folder.path}: {first_line(error)}.") from error
    except Exception as error:
        raise StartError(f"mlx-lm cannot load {folder.path} ({folder.architecture}): {first_line(error)}.") from error
    return model


def older_rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of rotary positions as they were before transformers 5 moved them into one object.

    mlx-lm's classes read the older ones, and take their default without a word where they are missing: the model
    then answers, but badly.
    """
    given = config.get("rope_parameters")
    if not isinstance(given, Mapping) or "rope_theta" in config or not isinstance(given.get("rope_theta"), int | float):
        return {}
    scaling = {name: value for name, value in given.items() if name != "rope_theta"}
    found: dict[str, Any] = {"rope_theta": given["rope_theta"]}
    if scaling.get("rope_type", "default") != "default":
        found["rope_scaling"] = scaling
    return found


@dataclass(slots=True, kw_only=True)
class _Answer:
    """One answer that runs."""

    uid: int
    job: Job
    spent: bool = False
    """Whether the generator has already let go of it."""
    kept: Kept | None = field(default=None)


class MlxStepper:
    """See `hearth_serve.engines.tokens.batcher.Stepper`."""

    def __init__(self, model: Any, *, slots: int, constraints: Constraints) -> None:
        from mlx_lm.models.cache import can_trim_prompt_cache, trim_prompt_cache

        def cut(cache: list[Any], surplus: int) -> bool:
            if surplus and not can_trim_prompt_cache(cache):
                return False
            return not surplus or int(trim_prompt_cache(cache, surplus)) == surplus

        self._constraints = constraints
        self._model = model
        self._slots = slots
        self._generator = self._new_generator()
        self._kept = KeptContexts(slots, cut=cut)
        self._answers: dict[int, _Answer] = {}
        self._keys: dict[int, int] = {}

    def start(self, key: int, job: Job) -> None:
        """See the Protocol."""
        matcher = self._constraints.matcher(job.schema) if job.schema is not None else None
        kept = self._kept.take(job.prompt, running=len(self._answers))
        known = len(kept.tokens) if kept is not None else 0
        (uid,) = self._generator.insert(
            [list(job.prompt[known:])],
            max_tokens=[_NO_LIMIT],
            caches=[kept.context] if kept is not None else None,
            all_tokens=[list(kept.tokens)] if kept is not None else None,
            samplers=[make_sampler(job.sampling)],
            logits_processors=[_processors(job, matcher)],
        )
        self._answers[key] = _Answer(uid=uid, job=job)
        self._keys[uid] = key

    def step(self) -> list[tuple[int, Token]]:
        """See the Protocol."""
        _, responses = self._generator.next()
        found = []
        for response in responses:
            key = self._keys.get(response.uid)
            if key is None:
                continue
            answer = self._answers[key]
            if response.finish_reason is not None:
                answer.spent = True
            found.append((key, _token(response, answer.job.sampling)))
        return found

    def stop(self, key: int) -> None:
        """See the Protocol. Its context stays while there is a slot for it."""
        answer = self._answers.pop(key)
        del self._keys[answer.uid]
        if answer.spent:
            return
        caches = self._generator.remove([answer.uid], return_prompt_caches=True)
        if answer.uid in caches:
            context, tokens = caches[answer.uid]
            self._kept.put(tuple(tokens), context, running=len(self._answers))

    def _new_generator(self) -> Any:
        import mlx.core as mx
        from mlx_lm.generate import BatchGenerator

        return BatchGenerator(
            self._model,
            completion_batch_size=self._slots,
            prefill_batch_size=1,
            prefill_step_size=PROMPT_STEP,
            stream=mx.new_stream(mx.default_device()),
        )

    def reset(self) -> None:
        """See the Protocol."""
        self._generator.close()
        self._kept.clear()
        self._answers.clear()
        self._keys.clear()
        self._generator = self._new_generator()

    def close(self) -> None:
        """See the Protocol."""
        self._generator.close()
        self._kept.clear()


def make_sampler(sampling: Sampling) -> Callable[[Any], Any]:
    """Return what chooses a token from logarithms of probabilities, with a seed of its own."""
    import mlx.core as mx
    from mlx_lm.sample_utils import apply_min_p, apply_top_k, apply_top_p

    if sampling.temperature == 0:
        return lambda logprobs: mx.argmax(logprobs, axis=-1)
    keys = [mx.random.key(sampling.seed % 2**64 if sampling.seed is not None else time.time_ns())]

    def choose(logprobs: Any) -> Any:
        if 0 < sampling.top_p < 1:
            logprobs = apply_top_p(logprobs, sampling.top_p)
        if sampling.min_p > 0:
            logprobs = apply_min_p(logprobs, sampling.min_p)
        if 0 < sampling.top_k < logprobs.shape[-1]:
            logprobs = apply_top_k(logprobs, sampling.top_k)
        keys[0], mine = mx.random.split(keys[0])
        return mx.random.categorical(logprobs * (1 / sampling.temperature), key=mine)

    return choose


def _processors(job: Job, matcher: Matcher | None) -> list[Callable[[Any, Any], Any]]:
    found: list[Callable[[Any, Any], Any]] = []
    if job.sampling.logit_bias:
        found.append(_biased(job.sampling))
    if job.sampling.penalizes:
        found.append(_penalized(job))
    if matcher is not None:
        found.append(_constrained(matcher))
    return found


def _biased(sampling: Sampling) -> Callable[[Any, Any], Any]:
    import mlx.core as mx

    tokens = mx.array([token for token, _ in sampling.logit_bias])
    values = mx.array([value for _, value in sampling.logit_bias])

    def bias(_: Any, logits: Any) -> Any:
        return logits.at[:, tokens].add(values.astype(logits.dtype))

    return bias


def _penalized(job: Job) -> Callable[[Any, Any], Any]:
    """OpenAI's penalties count the answer; the other one looks at the prompt as well."""
    import mlx.core as mx

    sampling, prompt = job.sampling, len(job.prompt)

    def penalize(context: Any, logits: Any) -> Any:
        seen: list[int] = context.tolist()
        counts: dict[int, int] = {}
        for token in seen[prompt:]:
            counts[token] = counts.get(token, 0) + 1
        if sampling.repeat_penalty != 1.0 and seen:
            tokens = mx.array(sorted(set(seen)))
            chosen = logits[:, tokens]
            less = mx.where(chosen < 0, chosen * sampling.repeat_penalty, chosen / sampling.repeat_penalty)
            logits = logits.at[:, tokens].add(less - chosen)
        if counts:
            tokens = mx.array(list(counts))
            given = [sampling.presence_penalty + sampling.frequency_penalty * count for count in counts.values()]
            logits = logits.at[:, tokens].subtract(mx.array(given).astype(logits.dtype))
        return logits

    return penalize


def _constrained(matcher: Matcher) -> Callable[[Any, Any], Any]:
    import mlx.core as mx

    begun = [False]

    def constrain(context: Any, logits: Any) -> Any:
        if begun[0]:  # the first call comes with the prompt alone
            matcher.accept(int(context[-1].item()))
        begun[0] = True
        allowed = mx.array(matcher.allowed()[: logits.shape[-1]])
        return mx.where(allowed, logits, mx.array(-float("inf"), dtype=logits.dtype))

    return constrain


def _token(response: Any, sampling: Sampling) -> Token:
    if sampling.logprobs is None:
        return Token(id=response.token)
    import mlx.core as mx

    chosen = float(response.logprobs[response.token].item())
    if not sampling.logprobs:
        return Token(id=response.token, logprob=chosen)
    best = mx.argpartition(-response.logprobs, kth=sampling.logprobs - 1)[: sampling.logprobs]
    pairs = zip(best.tolist(), response.logprobs[best].tolist(), strict=True)
    return Token(id=response.token, logprob=chosen, top=tuple(sorted(pairs, key=lambda pair: -pair[1])))
