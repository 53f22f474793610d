"""How much two sets of vectors have in common: as subspaces, and as the tokens that they decode to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ggufjac.analyses.common.tokens import Piece


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """The cosines of the principal angles between the spans of the rows of a [k, n] and b [m, n], largest first.

    Bjorck and Golub (1973): singular values of Q_a^T Q_b for orthonormal bases.
    """
    one, other = (torch.linalg.qr(x.double().mT).Q for x in (a, b))
    values: Tensor = torch.linalg.svdvals(one.mT @ other)
    return values.clamp(max=1.0)


def overlap(a: Tensor, b: Tensor) -> float:
    """The mean squared cosine of the principal angles: 1 for the same subspace, k / n for unrelated ones."""
    return float(cosines(a, b).square().mean())


def concepts(rows: Iterable[Sequence[Piece]], n: int) -> set[str]:
    """What the first n tokens of each row say, without spaces at the edges and without case."""
    said = (piece.text.strip().casefold() for row in rows for piece in row[:n])
    return {word for word in said if word}


def shared(a: set[str], b: set[str]) -> float:
    """Of what either says, the share that both say (Jaccard's index); 1 where both say nothing."""
    return len(a & b) / len(a | b) if a | b else 1.0


def matched(similarity: Tensor) -> list[tuple[int, int]]:
    """The pairs (row, column) of similarity [k, m] that belong together: each row and column once, the sum the largest.

    The assignment problem, solved exactly (scipy.optimize.linear_sum_assignment; the Hungarian method's task); pairs
    are in the order of the rows.
    """
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(similarity.double().cpu().numpy(), maximize=True)
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True)]


def kept(a: Tensor, b: Tensor) -> Tensor:
    """How much of each row of a [k, n] lies in the span of the rows of b [m, n]: |Q_b^T a_i|^2 / |a_i|^2, [k]."""
    a = a.double()
    inside = a @ torch.linalg.qr(b.double().mT).Q
    shares: Tensor = inside.square().sum(-1) / a.square().sum(-1)
    return shares
