"""The one operator that touches weights."""

from __future__ import annotations

from torch import Tensor

from ggufjac.operators.base import One, Operator, Tally
from ggufjac.quants import products
from ggufjac.quants.memory.store import DeviceWeights
from ggufjac.quants.tensor import QuantTensor


class MatMul(Operator):
    """y = x W^T with a packed W [n_out, n_in]; store: where a device has the weights (None: they are the file's)."""

    def __init__(self, weight: QuantTensor, store: DeviceWeights | None = None) -> None:
        self.weight = weight
        self.store = store

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        return products.apply(self.weight, x, self.store)

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        return products.adjoint(self.weight, g, self.store)
