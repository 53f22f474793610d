"""What is left of a vector without its part along another one: how a norm looks from inside."""

from __future__ import annotations

import torch
from torch import Tensor

from ggufjac.operators.base import One, Operator, Tally


class Reject(Operator):
    """y = x - <u, x> u over the last dimension; its own transpose.

    u broadcasts against [..., T, n]. The derivative of RMSNorm is its scale times this, with u = x / sqrt(n (mean x^2 +
    eps)); that of LayerNorm the same behind `Center`. groups: so many equal parts of the last dimension have a product
    each.
    """

    def __init__(self, u: Tensor, groups: int = 1) -> None:
        self.u = u
        self.groups = groups

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        if self.groups == 1:
            return torch.addcmul(x, (x * self.u).sum(-1, keepdim=True), self.u, value=-1)
        u: Tensor = self.u.unflatten(-1, (self.groups, -1))
        along = (x.unflatten(-1, (self.groups, -1)) * u).sum(-1, keepdim=True)
        left: Tensor = x - (along * u).flatten(-2)
        return left

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        return self.apply(g)
