"""What the HTTP side asks of an engine.

Chunks and bodies are JSON objects in OpenAI's shapes. Cancelling the task that iterates a stream, or closing the
stream, stops the computation. All methods are called from one event loop and must not block it.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from hearth_api.wire.serve import WeightsShape

Body = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """Vectors of a batch, in its order."""

    vectors: Sequence[Sequence[float]]
    """Unit length, all of the engine's `dimensions`."""
    tokens: int
    """Tokens that were computed, all texts together."""
    truncated: tuple[int, ...] = ()
    """Positions of the texts that did not fit and were cut at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reranked:
    """Scores of documents for a query, in the documents' order."""

    scores: Sequence[float]
    """0 to 1."""
    tokens: int
    """Tokens that were computed, the query again with each document."""
    truncated: tuple[int, ...] = ()
    """Positions of the documents that did not fit beside the query and were cut at the end."""

    @classmethod
    def of(cls, scores: Sequence[float], lengths: Sequence[int], *, context: int) -> "Reranked":
        """Return the same for pairs of so many tokens before they were cut."""
        return cls(
            scores=scores,
            tokens=sum(min(length, context) for length in lengths),
            truncated=tuple(n for n, length in enumerate(lengths) if length > context),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """What does not change after loading."""

    version: str
    context_tokens: int
    """Tokens that one request may use: what was declared, or what the model was trained for where that is less."""
    digest: str
    """SHA-256 of the weights in hex."""
    dimensions: int | None = None
    shape: WeightsShape | None = None
    """What the header of the weights says; None where it could not be read."""


class Engine(Protocol):
    """One loaded model."""

    facts: EngineFacts

    @property
    def tokens_produced(self) -> int:
        """Tokens decoded, or embedded, since the start. While it grows the engine is alive."""
        ...

    def stream_chat(self, body: Body, /) -> AsyncGenerator[bytes, None]:
        """Yield `chat.completion.chunk` objects as JSON; the last one carries `usage`. Raises ApiError before it."""
        ...

    def stream_completion(self, body: Body, /) -> AsyncGenerator[bytes, None]:
        """Yield `text_completion` chunks as JSON; the last one carries `usage`. Raises ApiError before the first."""
        ...

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Compute one vector for each text."""
        ...

    async def rerank(self, query: str, documents: Sequence[str]) -> Reranked:
        """Score each document for a query. Raises ApiError where the model is no cross-encoder."""
        ...

    async def close(self) -> None:
        """Give back what the engine holds."""
        ...
