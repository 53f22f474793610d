"""How well an account ranks the tokens: areas between curves of deletion, rank correlation, and who takes how much."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from scipy.stats import rankdata

#: At most so many points of a curve are measured, evenly spread; prompts that are no longer have one for every token.
POINTS = 6


def order(terms: Sequence[float]) -> list[int]:
    """The tokens by their terms, the largest first; of equal ones the earlier."""
    return sorted(range(len(terms)), key=lambda t: -terms[t])


def points(n_tokens: int) -> list[int]:
    """After how many deletions a curve is looked at; after all of them, last."""
    return sorted({round((i + 1) * n_tokens / min(n_tokens, POINTS)) for i in range(min(n_tokens, POINTS))})


def deleted(ranked: Sequence[int]) -> Iterator[frozenset[int]]:
    """What is gone at every point of a curve that deletes in this order."""
    return (frozenset(ranked[:k]) for k in points(len(ranked)))


def area(most_first: Sequence[float], least_first: Sequence[float]) -> float:
    """How much lower, on the mean over the points, the prediction stands when the most relevant tokens go first."""
    return sum(low - high for low, high in zip(least_first, most_first, strict=True)) / len(most_first)


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """The correlation of ranks; 0 where one of them ranks nothing."""
    x, y = (ranks - ranks.mean() for ranks in (rankdata(a), rankdata(b)))
    size = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / size if size else 0.0


def share(terms: Sequence[float], token: int = 0) -> float:
    """|term| of one token, of the sum over all."""
    whole = sum(map(abs, terms))
    return abs(terms[token]) / whole if whole else 0.0
