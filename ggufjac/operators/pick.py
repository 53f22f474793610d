"""Some entries of every position's vector."""

from __future__ import annotations

from torch import Tensor

from ggufjac.operators.base import One, Operator, Tally


class Pick(Operator):
    """y = the entries `chosen` of x [..., T, n]: what a projection gives besides them is of no use here.

    chosen: [m] int64, each below n; an entry can be chosen again.
    """

    def __init__(self, chosen: Tensor, n: int) -> None:
        self.chosen = chosen
        self.n = n

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        return x.index_select(-1, self.chosen.to(x.device))

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        return g.new_zeros(*g.shape[:-1], self.n).index_add(-1, self.chosen.to(g.device), g)
