"""Bringing two ranked lists together. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

RRF_K = 60


class FusionMethod(StrEnum):
    """How the dense and the sparse leg become one list."""

    RRF = "rrf"
    WEIGHTED = "weighted"


@dataclass(frozen=True, slots=True)
class Fusion:
    """Method, and the dense leg's share for WEIGHTED (the sparse leg has the rest)."""

    method: FusionMethod = FusionMethod.WEIGHTED
    dense_weight: float = 0.6


@dataclass(frozen=True, slots=True)
class Fused:
    """One row with its fused score (higher is better) and what each leg gave (None: not found by it)."""

    id: str
    score: float
    dense: float | None
    sparse: float | None


def fuse(dense: Sequence[tuple[str, float]], sparse: Sequence[tuple[str, float]], *, fusion: Fusion) -> list[Fused]:
    """Fuse lists of (row id, score), each sorted best first. Ties are broken by id, so the order is always the same."""
    raw_dense, raw_sparse = dict(dense), dict(sparse)
    if fusion.method is FusionMethod.RRF:
        left, right = _reciprocal_ranks(dense), _reciprocal_ranks(sparse)
        weight_left = weight_right = 1.0
    else:
        left, right = _scale(raw_dense), _scale(raw_sparse)
        weight_left, weight_right = fusion.dense_weight, 1.0 - fusion.dense_weight
        if not left or not right:
            weight_left = weight_right = 1.0
    rows = [
        Fused(
            id=row,
            score=weight_left * left.get(row, 0.0) + weight_right * right.get(row, 0.0),
            dense=raw_dense.get(row),
            sparse=raw_sparse.get(row),
        )
        for row in {**left, **right}
    ]
    return sorted(rows, key=lambda row: (-row.score, row.id))


def spread(keys: Sequence[str], *, limit: int, per_key: int) -> list[int]:
    """Return positions of at most `limit` rows: at most `per_key` of one key, then the passed over ones in order."""
    seen: dict[str, int] = {}
    taken: list[int] = []
    passed: list[int] = []
    for position, key in enumerate(keys):
        seen[key] = seen.get(key, 0) + 1
        (taken if seen[key] <= per_key else passed).append(position)
    return sorted((taken + passed)[:limit])


def _reciprocal_ranks(rows: Sequence[tuple[str, float]]) -> dict[str, float]:
    return {row: 1.0 / (RRF_K + rank) for rank, (row, _) in enumerate(rows, start=1)}


def _scale(rows: Mapping[str, float]) -> dict[str, float]:
    """Divide by the best score: 0 keeps its meaning ("nothing in common"), where min-max would invent one."""
    best = max(rows.values(), default=0.0)
    if best <= 0:
        return dict.fromkeys(rows, 0.0)
    return {row: max(0.0, score) / best for row, score in rows.items()}
