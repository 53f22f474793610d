"""Every position drawn towards the one before it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ggufjac.operators.base import One, Operator, Tally


class Shift(Operator):
    """y[t] = x[t] + m (x[t-1] - x[t]), with zeros before the first position: RWKV's token shift.

    m [n], or [..., T, n] with leading dimensions, if any, that are those of the block; blocks [..., T, n] -> the same.
    """

    def __init__(self, m: Tensor) -> None:
        self.m = m

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        return x + self.m * (F.pad(x, (0, 0, 1, -1)) - x)

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        drawn = self.m * g
        return g - drawn + F.pad(drawn, (0, 0, -1, 1))
