"""Encoders in torch: sentence vectors, and scores of a query with a document."""

import asyncio
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from hearth_serve.engines.batches import plan_batches
from hearth_serve.engines.tokens.vocabulary import well_formed

Value = TypeVar("Value")


class Encoder:
    """Runs batches of texts in threads. Results are in the order of the texts."""

    def __init__(self, *, model: Any, tokenizer: Any, context: int, slots: int, folder: Path) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._context = context
        self._pooling = _pooling(folder)
        self._pool = ThreadPoolExecutor(max_workers=slots, thread_name_prefix="torch")

    async def vectors(self, texts: Sequence[str]) -> tuple[list[list[float]], list[int]]:
        """Return vectors of unit length, and the tokens of each text before it was cut."""
        return await self._run([(well_formed(text),) for text in texts], self._vectors)

    async def scores(self, query: str, documents: Sequence[str]) -> tuple[list[float], list[int]]:
        """Return how well each document answers the query, 0 to 1, and the tokens of each pair before it was cut."""
        return await self._run([(well_formed(query), well_formed(text)) for text in documents], self._scores)

    async def _run(
        self, texts: list[tuple[str, ...]], compute: Callable[[list[tuple[str, ...]]], list[Value]]
    ) -> tuple[list[Value], list[int]]:
        columns = [list(column) for column in zip(*texts, strict=True)]
        encoded = await asyncio.to_thread(self._tokenizer, *columns, verbose=False)
        lengths = [len(ids) for ids in encoded["input_ids"]]
        found: dict[int, Value] = {}
        loop = asyncio.get_running_loop()
        for batch in plan_batches([min(length, self._context) for length in lengths]):
            values = await loop.run_in_executor(self._pool, compute, [texts[n] for n in batch])
            found |= zip(batch, values, strict=True)
        return [found[n] for n in range(len(texts))], lengths

    def _inputs(self, texts: list[tuple[str, ...]]) -> Any:
        columns = [list(column) for column in zip(*texts, strict=True)]
        # Of a pair the document is cut, never the query alone.
        cut = "only_second" if len(columns) > 1 else True
        try:
            inputs = self._tokenizer(
                *columns, padding=True, truncation=cut, max_length=self._context, return_tensors="pt"
            )
        except Exception:  # noqa: BLE001 a query longer than the context leaves nothing of the document to cut
            inputs = self._tokenizer(
                *columns, padding=True, truncation=True, max_length=self._context, return_tensors="pt"
            )
        return inputs.to(self._model.device)

    def _vectors(self, texts: list[tuple[str, ...]]) -> list[list[float]]:
        import torch

        with torch.inference_mode():
            inputs = self._inputs(texts)
            hidden = self._model(**inputs).last_hidden_state
            unit = torch.nn.functional.normalize(self._pooled(hidden, inputs["attention_mask"]).float(), dim=1)
        rows: list[list[float]] = unit.cpu().tolist()
        return rows

    def _pooled(self, hidden: Any, present: Any) -> Any:
        import torch

        rows = torch.arange(hidden.shape[0], device=hidden.device)
        if self._pooling == "first":
            return hidden[rows, present.argmax(dim=1)]
        if self._pooling == "last":
            # With padding on either side: the last position that is present.
            place = present.shape[1] - 1 - present.flip(dims=[1]).argmax(dim=1)
            return hidden[rows, place]
        mask = present.unsqueeze(-1).to(hidden.dtype)
        return (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1e-9)

    def _scores(self, texts: list[tuple[str, ...]]) -> list[float]:
        import torch

        with torch.inference_mode():
            logits = self._model(**self._inputs(texts)).logits.float()
            chances = logits.sigmoid()[:, 0] if logits.shape[1] == 1 else logits.softmax(dim=1)[:, -1]
        scores: list[float] = chances.cpu().tolist()
        return scores

    async def close(self) -> None:
        """Let running batches end."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _pooling(folder: Path) -> str:
    """Return which tokens make the vector, by sentence-transformers' file beside the model; else their mean."""
    settings = folder / "1_Pooling" / "config.json"
    try:
        given = json.loads(settings.read_bytes()) if settings.is_file() else {}
    except (OSError, ValueError):
        given = {}
    mode = given.get("pooling_mode", "")
    if given.get("pooling_mode_cls_token") or mode == "cls":
        return "first"
    return "last" if given.get("pooling_mode_lasttoken") or mode == "lasttoken" else "mean"
