"""How torch chooses a token from a row of scores."""

from typing import Any

from hearth_serve.engines.tokens.constraints import Matcher
from hearth_serve.engines.tokens.job import Job, Sampling, Token


class Chooser:
    """Chooses the tokens of one answer."""

    def __init__(self, job: Job, *, matcher: Matcher | None, device: Any) -> None:
        import torch

        self._job = job
        self._matcher = matcher
        self._written: list[int] = []
        self._generator = torch.Generator(device=device)
        if job.sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(job.sampling.seed)

    @property
    def plain(self) -> bool:
        """Whether the highest score is all that counts: then rows are compared together."""
        sampling = self._job.sampling
        return (
            sampling.temperature == 0
            and self._matcher is None
            and not sampling.penalizes
            and not sampling.logit_bias
            and sampling.logprobs is None
        )

    def choose(self, scores: Any) -> Token:
        """Return the token for scores of shape (vocabulary,)."""
        import torch

        sampling = self._job.sampling
        scores = self._adjusted(scores.float())
        number = _drawn(scores, sampling, generator=self._generator)
        self.accept(number)
        if sampling.logprobs is None:
            return Token(id=number)
        logprobs = torch.log_softmax(scores, dim=-1)
        chosen = float(logprobs[number])
        if not sampling.logprobs:
            return Token(id=number, logprob=chosen)
        values, indices = torch.topk(logprobs, sampling.logprobs)
        return Token(id=number, logprob=chosen, top=tuple(zip(indices.tolist(), values.tolist(), strict=True)))

    def accept(self, number: int) -> None:
        """Remember a token."""
        self._written.append(number)
        if self._matcher is not None:
            self._matcher.accept(number)

    def _adjusted(self, scores: Any) -> Any:
        import torch

        sampling = self._job.sampling
        if sampling.logit_bias or sampling.penalizes:
            scores = scores.clone()
        for number, value in sampling.logit_bias:
            scores[number] += value
        if sampling.repeat_penalty != 1.0:
            seen = torch.tensor(sorted({*self._job.prompt, *self._written}), device=scores.device)
            chosen = scores[seen]
            penalty = sampling.repeat_penalty
            scores[seen] = torch.where(chosen < 0, chosen * penalty, chosen / penalty)
        if (sampling.presence_penalty or sampling.frequency_penalty) and self._written:
            written = torch.tensor(self._written, device=scores.device)
            numbers, counts = written.unique(return_counts=True)
            scores[numbers] -= sampling.presence_penalty + sampling.frequency_penalty * counts
        if self._matcher is not None:
            allowed = torch.from_numpy(self._matcher.allowed()[: scores.shape[-1]]).to(scores.device)
            scores = scores.masked_fill(~allowed, -torch.inf)
        return scores


def _drawn(scores: Any, sampling: Sampling, *, generator: Any) -> int:
    import torch

    if sampling.temperature == 0:
        return int(scores.argmax())
    scores = scores / sampling.temperature
    if 0 < sampling.top_k < scores.shape[-1]:
        scores = scores.masked_fill(scores < scores.topk(sampling.top_k).values[-1], -torch.inf)
    chances = scores.softmax(dim=-1)
    if sampling.min_p > 0:
        chances = chances.masked_fill(chances < sampling.min_p * chances.max(), 0)
    if sampling.top_p < 1:
        ordered, indices = chances.sort(descending=True)
        before = ordered.cumsum(dim=-1) - ordered
        chances = chances.index_fill(0, indices[before >= sampling.top_p * ordered.sum()], 0)
    return int(torch.multinomial(chances, 1, generator=generator))
