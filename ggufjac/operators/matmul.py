"""The one operator that touches weights."""

from __future__ import annotations

from torch import Tensor

from ggufjac.operators.base import One, Operator, Tally
from ggufjac.quants import products
from ggufjac.quants.tensor import QuantTensor


class MatMul(Operator):
    """y = x W^T with a packed W [n_out, n_in]."""

    def __init__(self, weight: QuantTensor) -> None:
        self.weight = weight

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        return products.apply(self.weight, x)

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        return products.adjoint(self.weight, g)
