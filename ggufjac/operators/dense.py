"""Products with one vector, and products the other way round."""

from __future__ import annotations

from torch import Tensor

from ggufjac.operators.base import One, Operator, Tally
from ggufjac.operators.matmul import MatMul


class Dot(Operator):
    """y = <w, x>, one number per position: [..., T, n] -> [..., T, 1]; w [n]."""

    def __init__(self, w: Tensor) -> None:
        self.w = w

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        return (x * self.w).sum(-1, keepdim=True)

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        return g * self.w


class Outer(Operator):
    """y = x v, one number per position times a vector: [..., T, 1] -> [..., T, n]; v [T, n]."""

    def __init__(self, v: Tensor) -> None:
        self.v = v

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        return x * self.v

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        return (g * self.v).sum(-1, keepdim=True)


class Transposed(Operator):
    """y = x W for a packed W [n_in, n_out], whose rows are what enters."""

    def __init__(self, op: MatMul) -> None:
        self.op = op

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        return self.op.adjoint(x)

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        return self.op.apply(g)

    @property
    def children(self) -> tuple[Operator, ...]:
        return (self.op,)
