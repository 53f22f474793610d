"""The one operator that touches weights."""

from __future__ import annotations

from torch import Tensor

from ggufjac.operators.base import One, Operator, Tally
from ggufjac.quants import device, products
from ggufjac.quants.tensor import QuantTensor


class MatMul(Operator):
    """y = x W^T with a packed W [n_out, n_in]; where weights live on a device, the operator remembers their store."""

    def __init__(self, weight: QuantTensor) -> None:
        self.weight = weight
        self.store = device.current()

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        with device.weights_from(self.store):
            return products.apply(self.weight, x)

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        with device.weights_from(self.store):
            return products.adjoint(self.weight, g)
