"""Continuous batching over a transformers model: each step, one pass gives every running answer its next token.

transformers has a batching manager of its own (`generate_batch`). It is not used: in 5.23 its random numbers, its
grammars and its probabilities belong to the whole manager, not to one request. The model and its cache are
transformers'; only who stands in which row is decided here. Rows of unlike length are padded on the left and masked.

Models whose cache is more than keys and values (windows, recurrent states) have no rows that can be joined: their
answers take turns instead, each with a cache of its own.
"""

import inspect
from dataclasses import dataclass
from typing import Any

from hearth_serve.engines.pytorch_sampling import Chooser
from hearth_serve.engines.tokens.constraints import Constraints
from hearth_serve.engines.tokens.contexts import KeptContexts
from hearth_serve.engines.tokens.job import Job, Token

PROMPT_STEP = 512
"""Tokens of a prompt per step: the others' next tokens wait for them."""


@dataclass(slots=True, kw_only=True)
class _Row:
    """One answer."""

    key: int
    job: Job
    chooser: Chooser
    known: list[int]
    """Tokens whose keys and values are in a cache."""
    cache: Any
    """Its own; None while it stands in the batch."""
    last: int = -1
    """The token that is computed from next."""


class TorchStepper:
    """See `hearth_serve.engines.tokens.batcher.Stepper`."""

    def __init__(self, model: Any, *, slots: int, constraints: Constraints) -> None:
        self._model = model
        self._device = model.device
        self._constraints = constraints
        self._kept = KeptContexts(slots, cut=_cut)
        self._reading: list[_Row] = []
        self._rows: list[_Row] = []
        self._alone: list[_Row] = []
        self._joined: Any = None
        self._turn = 0
        takes = inspect.signature(model.forward).parameters
        self._options = {"use_cache": True} | ({"logits_to_keep": 1} if "logits_to_keep" in takes else {})
        self._positions = "position_ids" in takes

    def start(self, key: int, job: Job) -> None:
        """See the Protocol."""
        from transformers import DynamicCache

        matcher = self._constraints.matcher(job.schema) if job.schema is not None else None
        running = len(self._reading) + len(self._rows) + len(self._alone)
        kept = self._kept.take(job.prompt, running=running)
        self._reading.append(
            _Row(
                key=key,
                job=job,
                chooser=Chooser(job, matcher=matcher, device=self._device),
                known=list(kept.tokens) if kept is not None else [],
                cache=kept.context if kept is not None else DynamicCache(config=self._model.config),
            )
        )

    def step(self) -> list[tuple[int, Token]]:
        """See the Protocol. Reads a piece of one prompt as well, where one waits."""
        import torch

        with torch.inference_mode():
            found = self._step_rows()
            if self._alone:
                self._turn = (self._turn + 1) % len(self._alone)
                found.append(self._step_alone(self._alone[self._turn]))
            if self._reading:
                found += self._read()
        return found

    def _read(self) -> list[tuple[int, Token]]:
        row = self._reading[0]
        piece = row.job.prompt[len(row.known) : len(row.known) + PROMPT_STEP]
        scores = self._pass([list(piece)], cache=row.cache, lengths=[len(row.known)])
        row.known += piece
        if len(row.known) < len(row.job.prompt):
            return []
        del self._reading[0]
        token = row.chooser.choose(scores[0])
        row.last = token.id
        if _joinable(row.cache):
            self._join(row)
        else:
            self._alone.append(row)
        return [(row.key, token)]

    def _step_alone(self, row: _Row) -> tuple[int, Token]:
        scores = self._pass([[row.last]], cache=row.cache, lengths=[len(row.known)])
        return row.key, self._chosen(row, scores[0])

    def _step_rows(self) -> list[tuple[int, Token]]:
        if not self._rows:
            return []
        lengths = [len(row.known) for row in self._rows]
        scores = self._pass([[row.last] for row in self._rows], cache=self._joined, lengths=lengths)
        if all(row.chooser.plain for row in self._rows):
            numbers = scores.argmax(dim=-1).tolist()
            return [(row.key, self._taken(row, Token(id=n))) for row, n in zip(self._rows, numbers, strict=True)]
        return [(row.key, self._chosen(row, scores[n])) for n, row in enumerate(self._rows)]

    def _chosen(self, row: _Row, scores: Any) -> Token:
        token = row.chooser.choose(scores)
        row.known.append(row.last)
        row.last = token.id
        return token

    def _taken(self, row: _Row, token: Token) -> Token:
        row.chooser.accept(token.id)
        row.known.append(row.last)
        row.last = token.id
        return token

    def _pass(self, tokens: list[list[int]], *, cache: Any, lengths: list[int]) -> Any:
        """Return the scores behind the last token of each row, after `lengths` tokens that the cache has of them."""
        import torch

        inputs = torch.tensor(tokens, device=self._device)
        new, most = inputs.shape[1], max(lengths)
        options: dict[str, Any] = dict(self._options)
        if any(length < most for length in lengths):
            options["attention_mask"] = torch.tensor(
                [[0] * (most - length) + [1] * (length + new) for length in lengths], device=self._device
            )
        if self._positions:
            first = torch.tensor(lengths, device=self._device).unsqueeze(1)
            options["position_ids"] = first + torch.arange(new, device=self._device)
        return self._model(input_ids=inputs, past_key_values=cache, **options).logits[:, -1]

    def _join(self, row: _Row) -> None:
        """Put a row behind the others."""
        import torch

        if self._joined is None:
            self._joined = row.cache
        else:
            for ours, theirs in zip(self._joined.layers, row.cache.layers, strict=True):
                most = max(ours.keys.shape[-2], theirs.keys.shape[-2])
                ours.keys = torch.cat([_padded(ours.keys, most), _padded(theirs.keys, most)])
                ours.values = torch.cat([_padded(ours.values, most), _padded(theirs.values, most)])
        row.cache = None
        self._rows.append(row)

    def stop(self, key: int) -> None:
        """See the Protocol. Its context stays while there is a slot for it."""
        for rows in (self._reading, self._alone):
            for row in [row for row in rows if row.key == key]:
                rows.remove(row)
                self._keep(row, row.cache)
        for place, row in enumerate(self._rows):
            if row.key == key:
                cache = self._take_out(place)
                self._keep(row, cache)
                return

    def _take_out(self, place: int) -> Any:
        """Return the cache of one row alone, and close the gap."""
        from transformers import DynamicCache

        row = self._rows.pop(place)
        if not self._rows:
            cache, self._joined = self._joined, None
            return cache
        cache = DynamicCache(config=self._model.config)
        others = [n for n in range(len(self._rows) + 1) if n != place]
        most = max(len(other.known) for other in self._rows)
        for number, layer in enumerate(self._joined.layers):
            begin = layer.keys.shape[-2] - len(row.known)
            cache.update(
                layer.keys[place : place + 1, :, begin:].clone(),
                layer.values[place : place + 1, :, begin:].clone(),
                number,
            )
            surplus = layer.keys.shape[-2] - most  # padding that only the one who left needed
            layer.keys = layer.keys[others, :, surplus:]
            layer.values = layer.values[others, :, surplus:]
        return cache

    def _keep(self, row: _Row, cache: Any) -> None:
        if row.known and _joinable(cache):
            running = len(self._reading) + len(self._rows) + len(self._alone)
            self._kept.put(tuple(row.known), cache, running=running)

    def reset(self) -> None:
        """See the Protocol."""
        self._kept.clear()
        self._rows, self._alone, self._reading, self._joined = [], [], [], None

    def close(self) -> None:
        """See the Protocol."""
        self.reset()


def _joinable(cache: Any) -> bool:
    """Whether a cache is keys and values of all tokens, and nothing else."""
    from transformers.cache_utils import DynamicLayer

    return bool(cache.layers) and all(type(layer) is DynamicLayer and layer.is_initialized for layer in cache.layers)


def _padded(values: Any, most: int) -> Any:
    import torch

    return torch.nn.functional.pad(values, (0, 0, most - values.shape[-2], 0))


def _cut(cache: Any, surplus: int) -> bool:
    """Take the last tokens away."""
    for layer in cache.layers:
        if surplus:
            layer.keys = layer.keys[:, :, :-surplus]
            layer.values = layer.values[:, :, :-surplus]
    return True
