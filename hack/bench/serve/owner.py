# ruff: noqa: INP001 (a script, not a package)
"""The owner's table: what the house's machines reach through an OpenAI-compatible endpoint, beside their marks."""

import asyncio
import random
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import aiohttp
from asking import Taken, Target, ask

NOT_MEASURED = "not measured"
FEWEST = 16
"""Tokens of an answer that a rate is worth."""
COLUMNS = (
    "row", "machine", "model", "mark, tokens/s", "measured", "of the mark",
    "clients", "1 client", "all together", "first token p50 / p95 ms", "prompt tokens/s",
)  # fmt: skip
SYLLABLES = [first + second for first in "bdklmnprst" for second in "aeiou"]


@dataclass(frozen=True, slots=True)
class Mark:
    """One row: what a machine is expected to reach, of all clients together or of one alone."""

    machine: str
    model: str
    tokens_s: float
    together: bool = False


MARKS: Mapping[str, Mark] = {
    "4090-8b": Mark("4090, vLLM", "8B", 2300, together=True),
    "m3-ultra-8b": Mark("M3 Ultra, MLX", "8B, 4 bits", 110),
    "m3-ultra-671b": Mark("M3 Ultra, MLX", "671B, 4 bits", 18),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """What was measured of one endpoint. Rates are medians of the rounds."""

    measured_on: str
    model: str
    clients: int
    rounds: int
    first_ms_p50: float
    first_ms_p95: float
    tokens_s_alone: float
    tokens_s_together: float
    prompt_tokens_s: float

    def of(self, mark: Mark) -> float:
        """Return the rate that the mark is about."""
        return self.tokens_s_together if mark.together else self.tokens_s_alone


async def measure(target: Target, *, clients: int, rounds: int, tokens: int, firsts: int, prompt_words: int) -> Reached:
    """Ask one endpoint: short answers, a new long prompt, one long answer alone, then all clients at once."""
    chance = random.Random(1)  # noqa: S311 (words, no secret)
    story = "Tell a long story about a house by the sea."
    begun_with: list[float] = []
    alone: list[float] = []
    together: list[float] = []
    prompts: list[float] = []
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
    ) as session:
        await asyncio.gather(*(ask(session, target, tokens=8, prompt=story) for _ in range(clients)))  # warm
        for _ in range(rounds):
            begun_with += [(await ask(session, target, tokens=1, prompt="Hello")).first for _ in range(firsts)]
            read = await ask(session, target, tokens=1, prompt=long_prompt(chance, words=prompt_words))
            prompts.append(read.prompt_tokens / read.first)
            one = await ask(session, target, tokens=tokens, prompt=story)
            if one.tokens < FEWEST:
                sys.exit(f"stack: the {one.tokens} tokens of an answer are too few: raise --tokens")
            alone.append(one.rate)
            begun = time.perf_counter()
            # Each has a story of its own: nobody profits from what was computed for another.
            asked = (ask(session, target, tokens=tokens, prompt=f"{story} It has {n} rooms.") for n in range(clients))
            many = await asyncio.gather(*asked)
            together.append(total_rate(many, seconds=time.perf_counter() - begun))
    first = sorted(begun_with)
    return Reached(
        measured_on=datetime.now(UTC).date().isoformat(),
        model=target.model,
        clients=clients,
        rounds=rounds,
        first_ms_p50=round(1000 * statistics.median(first), 1),
        first_ms_p95=round(1000 * first[int(len(first) * 0.95)], 1),
        tokens_s_alone=round(statistics.median(alone), 1),
        tokens_s_together=round(statistics.median(together), 1),
        prompt_tokens_s=round(statistics.median(prompts), 1),
    )


def long_prompt(chance: random.Random, *, words: int) -> str:
    """Return a text that no cache holds, for the first word is another each time."""
    return " ".join("".join(chance.choices(SYLLABLES, k=3)) for _ in range(words))


def total_rate(many: list[Taken], *, seconds: float) -> float:
    """Return tokens a second of all, their prompts' reading included."""
    return sum(one.tokens for one in many) / seconds


def table(reached: Mapping[str, Reached]) -> str:
    """Return the table in Markdown: every mark, then what has none."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "| --- " * len(COLUMNS) + "|"]
    for row, mark in MARKS.items():
        asked = f"{mark.tokens_s:,.0f}, {'all clients' if mark.together else '1 client'}"
        found = reached.get(row)
        if found is None:
            cells = [NOT_MEASURED, *[""] * (len(COLUMNS) - 5)]
        else:
            rate = found.of(mark)
            cells = [f"{rate:,.1f}", f"{rate / mark.tokens_s:.0%}", *_figures(found)]
        lines.append(f"| {row} | {mark.machine} | {mark.model} | {asked} | " + " | ".join(cells) + " |")
    for row, found in reached.items():
        if row not in MARKS:
            lines.append(f"| {row} | | {found.model} | no mark | | | " + " | ".join(_figures(found)) + " |")
    return "\n".join(lines)


def _figures(found: Reached) -> list[str]:
    return [
        str(found.clients),
        f"{found.tokens_s_alone:,.1f}",
        f"{found.tokens_s_together:,.1f}",
        f"{found.first_ms_p50:,.1f} / {found.first_ms_p95:,.1f}",
        f"{found.prompt_tokens_s:,.1f}",
    ]


def kept(reached: Mapping[str, Reached]) -> dict[str, dict[str, object]]:
    """Return what owner.json holds. No address: it is nobody's business."""
    return {row: asdict(found) for row, found in reached.items()}


def read_kept(content: Mapping[str, dict[str, object]]) -> dict[str, Reached]:
    """Return what owner.json held."""
    return {row: Reached(**found) for row, found in content.items()}  # type: ignore[arg-type]
