"""Texts to batches of like length, bounded in memory."""

from collections.abc import Sequence

MOST_TEXTS = 16
MOST_TOKENS = 2048
"""Padded tokens of one run: 16 texts of 512 tokens at once took 1.4 GiB with MiniLM, four take 0.6."""


def plan_batches(lengths: Sequence[int]) -> list[list[int]]:
    """Return the positions of texts of `lengths` tokens, grouped from short to long so that little is padded."""
    batches: list[list[int]] = []
    for n in sorted(range(len(lengths)), key=lambda n: lengths[n]):
        last = batches[-1] if batches else []
        if last and len(last) < MOST_TEXTS and (len(last) + 1) * lengths[n] <= MOST_TOKENS:
            last.append(n)
        else:
            batches.append([n])
    return batches
