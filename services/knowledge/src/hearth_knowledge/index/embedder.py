"""Embedding through the gateway, so that there is one place with slots and priorities."""

from collections.abc import Sequence
from typing import Any

import aiohttp

from hearth_api.wire.keys import Priority
from hearth_common.errors import TokenFileError
from hearth_common.tokens import ProjectedToken
from hearth_knowledge.errors import EmbedderRefusedError, EmbedderUnavailableError

# The request itself is wrong; all else (no permission yet, too many, not found while it loads) may pass later.
REFUSALS = frozenset({400, 413, 422})


class GatewayEmbedder:
    """`POST <gateway>/v1/embeddings` with our projected token."""

    def __init__(self, url: str, *, token: ProjectedToken, session: aiohttp.ClientSession) -> None:
        self._url = url + "/v1/embeddings"
        self._token = token
        self._session = session

    async def embed(
        self, texts: Sequence[str], *, model: str, dimensions: int, priority: Priority, seconds: float
    ) -> list[list[float]]:
        """Return one vector of `dimensions` floats per text."""
        try:
            headers = {**self._token.header(), "x-hearth-priority": priority.value}
            async with self._session.post(
                self._url,
                json={"model": model, "input": list(texts), "encoding_format": "float"},
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=seconds),
            ) as answer:
                if answer.status in REFUSALS:
                    raise EmbedderRefusedError(f"status {answer.status}")
                if answer.status != 200:
                    raise EmbedderUnavailableError(f"the gateway answered {answer.status}")
                body = await answer.json(content_type=None)
        except TokenFileError as error:
            raise EmbedderUnavailableError("our own token cannot be read") from error
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise EmbedderUnavailableError(type(error).__name__) from error
        return read_vectors(body, count=len(texts), dimensions=dimensions)


def read_vectors(body: Any, *, count: int, dimensions: int) -> list[list[float]]:
    """Read OpenAI's answer in the order of `index`. A wrong shape means another model answers than was configured."""
    try:
        items = sorted(body["data"], key=lambda item: int(item["index"]))
        vectors = [[float(number) for number in item["embedding"]] for item in items]
    except (KeyError, TypeError, ValueError) as error:
        raise EmbedderUnavailableError("the answer has not the shape of embeddings") from error
    if len(vectors) != count or any(len(vector) != dimensions for vector in vectors):
        raise EmbedderUnavailableError(f"expected {count} vectors of {dimensions} numbers")
    return vectors
