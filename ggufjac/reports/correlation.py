"""How well one list of numbers ranks what another one measures."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence


def spearman(expected: Sequence[float], measured: Sequence[float]) -> float | None:
    """The rank correlation of the pairs that are finite; None where it says nothing: fewer than three, or all alike.

    Raises ValueError for lists of different lengths.
    """
    pairs = [pair for pair in zip(expected, measured, strict=True) if all(map(math.isfinite, pair))]
    if len(pairs) < 3:
        return None
    middle = (len(pairs) - 1) / 2
    x, y = ([rank - middle for rank in _ranks([pair[i] for pair in pairs])] for i in (0, 1))
    sizes = math.hypot(*x) * math.hypot(*y)
    return sum(a * b for a, b in zip(x, y, strict=True)) / sizes if sizes > 0 else None


def _ranks(values: Sequence[float]) -> list[float]:
    """From 0; equal values share the mean of theirs."""
    order = sorted(values)
    return [(bisect_left(order, value) + bisect_right(order, value) - 1) / 2 for value in values]
