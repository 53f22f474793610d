"""How much two sets of vectors have in common: as subspaces, and as the tokens that they decode to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ggufjac.analyses.text import Piece


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
