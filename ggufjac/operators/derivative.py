"""The derivative of a function at a point, by torch's differentiation: for parts without an operator of their own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.autograd.forward_ad as dual
from torch import Tensor

from ggufjac.operators.base import One, Operator, Tally

#: Bytes that the copies of a point may take which are differentiated together.
COPIES = 8 << 20


class Derivative(Operator):
    """y = f'(x0) x. Columns are copies of the point x0 [T, n]: f maps [m, T, n] to [m, T', n'], each copy by itself.

    frozen: an operator at the same point that reads the weights of f and carries its constants (None: there are none).
    """

    def __init__(self, f: Callable[[Tensor], Tensor], point: Tensor, frozen: Operator | None = None) -> None:
        self.f = f
        # the point keeps its precision where an operator is cast to a lower one
        self.point = partial(torch.clone, point.detach())
        self.frozen = frozen
        self.copies = max(1, COPIES // max(1, point.numel() * point.element_size()))

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        y = self._in_copies(self._forward, x)
        if one is None or self.frozen is None or not self.frozen.affine:
            return y
        return y + self.frozen.apply(torch.zeros_like(x), one)

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        if tally is not None and self.frozen is not None and self.frozen.affine:
            self.frozen.adjoint(g, tally)
        return self._in_copies(self._reverse, g)

    @property
    def children(self) -> tuple[Operator, ...]:
        return () if self.frozen is None else (self.frozen,)

    def _in_copies(self, differentiate: Callable[[Tensor, Tensor], Tensor], x: Tensor) -> Tensor:
        point, columns = self.point(), x.reshape(-1, *x.shape[-2:])
        found = torch.cat([differentiate(point, piece.to(point)) for piece in columns.split(self.copies)]).to(x)
        return found.reshape(*x.shape[:-2], *found.shape[1:])

    def _forward(self, point: Tensor, x: Tensor) -> Tensor:
        with dual.dual_level():
            y = self.f(dual.make_dual(point.expand_as(x).clone(), x))
            tangent: Tensor | None = dual.unpack_dual(y).tangent
            return torch.zeros_like(y) if tangent is None else tangent

    def _reverse(self, point: Tensor, g: Tensor) -> Tensor:
        with torch.enable_grad():
            copies = point.expand(g.shape[0], *point.shape).clone().requires_grad_()
            y = self.f(copies)
            if not y.requires_grad:
                return torch.zeros_like(copies)
            (gradient,) = torch.autograd.grad(y, copies, g)
        return gradient
