"""Operators that are not taken apart."""

from __future__ import annotations

from torch import Tensor

from ggufjac.operators.base import One, Operator, Tally


class Whole(Operator):
    """`op` as one piece: what is inside has other positions than the network's, blocks of them for instance, so that
    cutting everything to the first few positions would cut the wrong ones."""

    def __init__(self, op: Operator) -> None:
        self.op = op

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        return self.op.apply(x, one)

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        return self.op.adjoint(g, tally)

    @property
    def children(self) -> tuple[Operator, ...]:
        return (self.op,)
