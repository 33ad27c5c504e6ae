"""Encoders in vLLM: sentence vectors, and scores of a query with a document."""

import asyncio
import itertools
import math
import uuid
from collections.abc import Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from hearth_serve.engines.folders import first_line
from hearth_serve.engines.protocol import Embedded
from hearth_serve.engines.tokens.vocabulary import well_formed
from hearth_serve.errors import ApiError, invalid

if TYPE_CHECKING:
    from vllm.pooling_params import PoolingParams
    from vllm.v1.engine.async_llm import AsyncLLM


class VllmEncoder:
    """vLLM batches by itself: all texts of a request are given at once."""

    def __init__(self, engine: "AsyncLLM", *, tokenizer: Any, context: int) -> None:
        self.tokens_produced = 0
        self._engine = engine
        self._tokenizer = tokenizer
        self._context = context
        self._mark = uuid.uuid4().hex
        self._count = itertools.count()

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """See the Protocol."""
        from vllm.pooling_params import PoolingParams

        encoded = await asyncio.to_thread(self._tokenizer, [well_formed(text) for text in texts], verbose=False)
        ids: list[list[int]] = encoded["input_ids"]
        rows = await asyncio.gather(
            *(self._pooled(_cut(one, self._context), PoolingParams(task="embed")) for one in ids)
        )
        return Embedded(
            vectors=[_unit(row) for row in rows],
            tokens=self._counted(ids),
            truncated=tuple(n for n, one in enumerate(ids) if len(one) > self._context),
        )

    async def scores(self, query: str, documents: Sequence[str]) -> tuple[list[float], list[int]]:
        """Return how well each document answers the query, 0 to 1, and the tokens of each pair before it was cut."""
        from vllm.pooling_params import PoolingParams

        pairs = [[well_formed(query)] * len(documents), [well_formed(text) for text in documents]]
        whole = await asyncio.to_thread(self._tokenizer, *pairs, verbose=False)
        encoded = await asyncio.to_thread(
            self._tokenizer, *pairs, truncation="longest_first", max_length=self._context, verbose=False
        )
        kinds = encoded.get("token_type_ids") or [None] * len(documents)
        asked = []
        for ids, types in zip(encoded["input_ids"], kinds, strict=True):
            # vLLM takes the place where the document begins instead of a number for each token.
            extra = {"compressed_token_type_ids": types.index(1) if 1 in types else len(types)} if types else None
            asked.append(self._pooled(ids, PoolingParams(task="classify", extra_kwargs=extra)))
        rows = await asyncio.gather(*asked)
        lengths = [len(ids) for ids in whole["input_ids"]]
        self._counted(whole["input_ids"])
        return [row[-1] for row in rows], lengths

    def _counted(self, ids: list[list[int]]) -> int:
        tokens = sum(min(len(one), self._context) for one in ids)
        self.tokens_produced += tokens
        return tokens

    async def _pooled(self, ids: list[int], parameters: "PoolingParams") -> list[float]:
        from vllm.exceptions import VLLMClientError
        from vllm.inputs import TokensPrompt

        name = f"{self._mark}-{next(self._count)}"
        running = self._engine.encode(TokensPrompt(prompt_token_ids=ids), parameters, name)
        values: list[float] = []
        try:
            async with aclosing(running) as outputs:
                async for output in outputs:
                    values = output.outputs.data.float().flatten().tolist()
        except VLLMClientError as error:
            raise invalid(f"{first_line(error)}.") from error
        except asyncio.CancelledError:
            raise
        except Exception as error:
            raise ApiError(500, "The model failed while it read.", kind="server_error") from error
        if not values:
            raise ApiError(500, "The model ended before it had read.", kind="server_error")
        return values


def _cut(ids: list[int], most: int) -> list[int]:
    """The last token closes the text: it stays when the text is cut."""
    return ids if len(ids) <= most else [*ids[: most - 1], ids[-1]]


def _unit(row: list[float]) -> list[float]:
    length = math.sqrt(sum(value * value for value in row)) or 1.0
    return [value / length for value in row]
