"""Text encoders from ONNX on the CPU: vectors (mean over the tokens, unit length) and scores of a cross-encoder.

Every text, or pair of query and document, is a run of its own.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

from hearth_api.wire.serve import ServeArgs, Task
from hearth_serve.engines.onnx_integer import integer_model
from hearth_serve.engines.protocol import Body, Embedded, EngineFacts, Reranked
from hearth_serve.engines.tokens.vocabulary import well_formed
from hearth_serve.engines.wordpiece import load_tokenizer
from hearth_serve.errors import StartError, invalid
from hearth_serve.shapes.known import known_shape
from hearth_serve.sources import Weights, load_weights, locate

MAX_POSITIONS = 512
"""BERT's: no ONNX file says how many positions it was trained with."""


class OnnxEngine:
    """An encoder such as MiniLM, with `last_hidden_state`, or a cross-encoder with `logits`, of `input_ids`."""

    def __init__(self, *, session: Any, tokenizer: Any, facts: EngineFacts, slots: int) -> None:
        self.facts = facts
        self.tokens_produced = 0
        self._session = session
        self._tokenizer = tokenizer
        self._inputs = {item.name for item in session.get_inputs()}
        self._pool = ThreadPoolExecutor(max_workers=slots, thread_name_prefix="embed")

    @classmethod
    def load(cls, args: ServeArgs, *, threads: int) -> "OnnxEngine":
        """Find, check and load the file and its tokenizer."""
        path = locate(args.model.source, pattern="*.onnx")
        weights = load_weights(path, sha256=args.model.sha256)
        context = min(args.context_tokens, MAX_POSITIONS)
        tokenizer = load_tokenizer(path, digest=weights.digest, max_tokens=context, pairs=args.task is Task.RERANK)
        session = _open_session(weights.path, threads=threads)
        dimensions = _dimensions(session, weights=weights) if args.task is Task.EMBED else None
        if args.task is Task.RERANK:
            _demand_scores(session, weights=weights)
        facts = EngineFacts(
            version=f"onnxruntime {_version()}",
            context_tokens=context,
            digest=weights.digest,
            dimensions=dimensions,
            shape=known_shape(weights.files, hidden_size=dimensions),
        )
        return cls(session=session, tokenizer=tokenizer, facts=facts, slots=args.concurrency)

    def stream_chat(self, _body: Body) -> NoReturn:
        """Refuse: an encoder writes nothing."""
        raise invalid("This model reads; it does not chat.", param="model")

    stream_completion = stream_chat

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """See the Protocol. Runs in a thread; a cancelled request stops between two texts.

        Raises ApiError for a cross-encoder. Each text is a run of its own: on a CPU that is faster than rows filled up
        to the longest (1.4 times, with `hack/bench/serve`), and no vector depends on its neighbours.
        """
        if self.facts.dimensions is None:
            raise invalid("This model ranks; it does not embed.", param="model")
        encodings = await asyncio.to_thread(self._tokenizer.encode_batch, [well_formed(text) for text in texts])
        loop = asyncio.get_running_loop()
        vectors = [await loop.run_in_executor(self._pool, self._vector, encoding) for encoding in encodings]
        tokens = sum(len(encoding.ids) for encoding in encodings)
        truncated = tuple(n for n, encoding in enumerate(encodings) if encoding.overflowing)
        return Embedded(vectors=vectors, tokens=tokens, truncated=truncated)

    async def rerank(self, query: str, documents: Sequence[str]) -> Reranked:
        """See the Protocol. Raises ApiError for an encoder of single texts, and for a query that leaves no room."""
        if self.facts.dimensions is not None:
            raise invalid("This model embeds; it does not rank.", param="model")
        context = self.facts.context_tokens
        pairs = [(well_formed(query), well_formed(text)) for text in documents]
        try:
            encodings = await asyncio.to_thread(self._tokenizer.encode_batch, pairs)
        except Exception as error:  # the library's errors share no base but Exception
            raise invalid(f"query: it leaves no room for a document in {context} tokens.", param="query") from error
        loop = asyncio.get_running_loop()
        scores = [await loop.run_in_executor(self._pool, self._score, encoding) for encoding in encodings]
        lengths = [context + 1 if encoding.overflowing else len(encoding.ids) for encoding in encodings]
        return Reranked.of(scores, lengths, context=context)

    def _run(self, encoding: Any) -> Any:
        """Return the model's first output for one text or pair."""
        import numpy as np

        ids = np.array([encoding.ids], dtype=np.int64)
        kinds = np.array([encoding.type_ids], dtype=np.int64)
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": kinds}
        output = self._session.run(None, {name: feeds[name] for name in self._inputs})[0]
        self.tokens_produced += len(encoding.ids)
        return output[0]

    def _vector(self, encoding: Any) -> list[float]:
        import numpy as np

        mean = self._run(encoding).mean(axis=0)
        unit: list[float] = (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32).tolist()
        return unit

    def _score(self, encoding: Any) -> float:
        """Return the chance that the document answers: of one logit its sigmoid, of two the second's share."""
        import numpy as np

        logits = np.asarray(self._run(encoding), dtype=np.float64)
        against = 0.0 if logits.size == 1 else float(logits[0])
        return float(1 / (1 + np.exp(np.clip(against - float(logits[-1]), -700, 700))))

    async def close(self) -> None:
        """Let running batches end."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _open_session(path: Path, *, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Waiting threads sleep: this process shares its machine with the models that spin.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        model = integer_model(path) or str(path)
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library's exceptions share no base but Exception
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise StartError(f"Model file {path} is not an ONNX model that onnxruntime can load: {first}") from error


def _dimensions(session: Any, *, weights: Weights) -> int:
    shape = session.get_outputs()[0].shape
    names = {item.name for item in session.get_inputs()}
    if len(shape) != 3 or not isinstance(shape[2], int) or "input_ids" not in names:
        raise StartError(f"Model file {weights.path} is not a text encoder with input_ids and hidden states.")
    return shape[2]


def _demand_scores(session: Any, *, weights: Weights) -> None:
    shape = session.get_outputs()[0].shape
    names = {item.name for item in session.get_inputs()}
    if len(shape) != 2 or shape[1] not in (1, 2) or "input_ids" not in names:
        raise StartError(
            f"Model file {weights.path} is not a cross-encoder with input_ids and one or two logits: task Rerank needs "
            "one, task Embed takes encoders."
        )


def _version() -> str:
    import onnxruntime

    return str(onnxruntime.__version__)
