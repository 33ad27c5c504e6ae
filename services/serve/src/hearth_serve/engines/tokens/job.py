"""One answer to compute: prompt, limits and sampling, checked once for all engines that give tokens."""

import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from hearth_serve.engines.protocol import Body
from hearth_serve.errors import invalid

MOST_BIAS = 100.0
"""As OpenAI has it: enough to forbid or to force a token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One token of an answer."""

    id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()
    """The likeliest tokens in its place, the likeliest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a token is chosen."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repeat_penalty: float = 1.0
    """Over the prompt and the answer."""
    seed: int | None = None
    logit_bias: tuple[tuple[int, float], ...] = ()
    logprobs: int | None = None
    """How many likely tokens are told beside each; None: not even the chosen one's probability."""

    @property
    def penalizes(self) -> bool:
        """Whether what was written before counts."""
        return bool(self.presence_penalty or self.frequency_penalty) or self.repeat_penalty != 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One answer."""

    prompt: tuple[int, ...]
    limit: int
    """Most tokens of the answer."""
    ends: frozenset[int]
    """Tokens that end it."""
    sampling: Sampling
    schema: str | None = None
    """JSON schema, as JSON, that the answer keeps to."""


class TokenSource(Protocol):
    """What computes tokens."""

    def generate(self, job: Job, /) -> AsyncGenerator[Token, None]:
        """Yield tokens until one of `job.ends` (which is yielded too) or the limit. Closing it stops computing."""
        ...

    def check(self) -> None:
        """Raise EngineFailedError where computing has ended for good."""
        ...

    async def close(self) -> None:
        """Stop computing and give back memory."""
        ...


def read_sampling(body: Body, *, vocabulary: int) -> Sampling:
    """Return the sampling of a request whose fields `hearth_serve.requests` has checked."""
    seed = body.get("seed")
    wanted = body.get("logprobs")
    return Sampling(
        temperature=number(body, "temperature", 1.0),
        top_p=number(body, "top_p", 1.0),
        top_k=int(number(body, "top_k", 0)),
        min_p=number(body, "min_p", 0.0),
        presence_penalty=number(body, "presence_penalty", 0.0),
        frequency_penalty=number(body, "frequency_penalty", 0.0),
        repeat_penalty=number(body, "repeat_penalty", 1.0),
        seed=int(str(seed)) % 2**63 if seed is not None else None,
        logit_bias=_bias(mapping(body.get("logit_bias")), vocabulary=vocabulary),
        logprobs=int(number(body, "top_logprobs", 0)) if wanted is not None and wanted is not False else None,
    )


def _bias(given: Mapping[str, Any], *, vocabulary: int) -> tuple[tuple[int, float], ...]:
    try:
        pairs = tuple((int(token), float(value)) for token, value in given.items())
    except ValueError as error:
        raise invalid("logit_bias maps token numbers to numbers.", param="logit_bias") from error
    for token, _ in pairs:
        if not 0 <= token < vocabulary:
            raise invalid(f"logit_bias names token {token}; there are {vocabulary}.", param="logit_bias")
    if not all(math.isfinite(value) for _, value in pairs):
        raise invalid("logit_bias maps token numbers to numbers from -100 to 100.", param="logit_bias")
    # Beyond that scores overflow, and with them the step that all answers share.
    return tuple((token, max(-MOST_BIAS, min(MOST_BIAS, value))) for token, value in pairs)


def number(body: Body, name: str, default: float) -> float:
    """Return a number of the body."""
    value = body.get(name)
    return default if value is None else float(str(value))


def stop_texts(body: Body) -> list[str]:
    """Return the stop sequences of the body."""
    stop = body.get("stop") or []
    return [stop] if isinstance(stop, str) else [str(item) for item in sequence(stop)]


def sequence(value: object) -> Sequence[Any]:
    """Return a list of the body, or an empty one."""
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()


def mapping(value: object) -> Mapping[str, Any]:
    """Return an object of the body, or an empty one."""
    return value if isinstance(value, Mapping) else {}
