"""Reranking through the gateway, the same way as embedding."""

from collections.abc import Sequence
from typing import Any

import aiohttp

from hearth_api.wire.keys import Priority
from hearth_api.wire.knowledge import NotReranked
from hearth_common.errors import TokenFileError
from hearth_common.tokens import ProjectedToken
from hearth_knowledge.errors import RerankerError
from hearth_knowledge.index.embedder import REFUSALS
from hearth_knowledge.ports import Relevance


class GatewayReranker:
    """`POST <gateway>/v1/rerank` with our projected token."""

    def __init__(self, url: str, *, token: ProjectedToken, session: aiohttp.ClientSession) -> None:
        self._url = url + "/v1/rerank"
        self._token = token
        self._session = session

    async def rerank(self, query: str, texts: Sequence[str], *, model: str, priority: Priority) -> list[Relevance]:
        """Return what the model says of each text."""
        try:
            headers = {**self._token.header(), "x-hearth-priority": priority.value}
            async with self._session.post(
                self._url, json={"model": model, "query": query, "documents": list(texts)}, headers=headers
            ) as answer:
                if answer.status in REFUSALS:
                    raise RerankerError(NotReranked.REFUSED, f"status {answer.status}")
                if answer.status != 200:
                    raise RerankerError(NotReranked.UNAVAILABLE, f"the gateway answered {answer.status}")
                body = await answer.json(content_type=None)
        except TokenFileError as error:
            raise RerankerError(NotReranked.UNAVAILABLE, "our own token cannot be read") from error
        except (aiohttp.ClientError, OSError) as error:
            raise RerankerError(NotReranked.UNAVAILABLE, type(error).__name__) from error
        except (ValueError, RecursionError) as error:
            raise RerankerError(NotReranked.BAD_ANSWER, "the answer is not JSON") from error
        return read_relevances(body)


def read_relevances(body: Any) -> list[Relevance]:
    """Read the answer's shape, as Jina, Cohere and vLLM have it. What it says is for the caller to judge."""
    try:
        return [
            Relevance(index=_index(item["index"]), score=float(item["relevance_score"])) for item in body["results"]
        ]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RerankerError(NotReranked.BAD_ANSWER, "the answer has not the shape of a ranking") from error


def _index(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("index")
    return value
