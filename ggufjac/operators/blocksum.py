"""Sums over blocks: what a weight's minima are multiplied by."""

from __future__ import annotations

from torch import Tensor

from ggufjac.operators.base import One, Operator, Tally


class BlockSum(Operator):
    """y[b] = the sum of the entries b size ... (b + 1) size - 1 of x: [..., T, n] -> [..., T, n / size]."""

    def __init__(self, size: int) -> None:
        self.size = size

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        y: Tensor = x.unflatten(-1, (-1, self.size)).sum(-1)
        return y

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        return g.repeat_interleave(self.size, -1)
