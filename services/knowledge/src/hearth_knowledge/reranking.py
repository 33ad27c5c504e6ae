"""The second look at what a search found: a cross-encoder reads the best candidates beside the query.

It can only improve an answer: one that is down, slow or talks nonsense leaves the order as it was.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from hearth_api.wire.keys import Priority
from hearth_api.wire.knowledge import NotReranked, RerankConfig
from hearth_knowledge.errors import InvalidRequestError, RerankerError
from hearth_knowledge.metrics import Metrics
from hearth_knowledge.ports import Relevance, Reranker

RANKED = "ranked"

log = structlog.get_logger()


class Reranking:
    """Asks the reranker, for so many seconds and no longer."""

    def __init__(
        self,
        reranker: Reranker,
        *,
        seconds: float,
        metrics: Metrics,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reranker = reranker
        self._seconds = seconds
        self._metrics = metrics
        self._monotonic = monotonic

    async def score(
        self, kb: str, config: RerankConfig, *, query: str, texts: Sequence[str]
    ) -> list[float] | NotReranked:
        """Return a score from 0 to 1 for each text, or why there is none."""
        started = self._monotonic()
        try:
            async with asyncio.timeout(self._seconds):
                said = await self._reranker.rerank(query, texts, model=config.model, priority=Priority.INTERACTIVE)
            scores = read_scores(said, count=len(texts))
        except TimeoutError:
            return self._without(kb, config, RerankerError(NotReranked.TIMEOUT, f"{self._seconds:g} s"), since=started)
        except RerankerError as error:
            return self._without(kb, config, error, since=started)
        self._metrics.reranks.labels(kb=kb, outcome=RANKED).observe(self._monotonic() - started)
        return scores

    def _without(self, kb: str, config: RerankConfig, error: RerankerError, *, since: float) -> NotReranked:
        self._metrics.reranks.labels(kb=kb, outcome=error.reason.value).observe(self._monotonic() - since)
        log.warning("search without reranking", kb=kb, model=config.model, reason=error.reason.value, detail=str(error))
        return error.reason


def choose_reranker(kb: str, *, asked: bool | None, config: RerankConfig | None) -> RerankConfig | NotReranked:
    """Return the reranker that a request uses, or why it uses none.

    InvalidRequestError where the request demands one that is not there.
    """
    if asked is False:
        return NotReranked.OFF
    if config is not None:
        return config
    if asked:
        raise InvalidRequestError(
            "rerank",
            f"knowledge base {kb} has no reranker: name a ModelDeployment with task Rerank in its spec.rerank.model, "
            "or leave the field out",
        )
    return NotReranked.NOT_CONFIGURED


def read_scores(said: Sequence[Relevance], *, count: int) -> list[float]:
    """Return one score for each text in their order. RerankerError for anything but exactly that."""
    scores = {item.index: item.score for item in said if 0.0 <= item.score <= 1.0}  # NaN is in no range
    if len(said) != count or scores.keys() != set(range(count)):
        raise RerankerError(NotReranked.BAD_ANSWER, f"expected {count} scores from 0 to 1, each of another passage")
    return [scores[number] for number in range(count)]
