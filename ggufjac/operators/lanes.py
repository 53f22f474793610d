"""Operators for states that are wider than the residual stream: lanes side by side in one vector."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ggufjac.operators.base import One, Operator, Tally


class Slice(Operator):
    """y = the entries start ... stop - 1 of x [..., T, n]."""

    def __init__(self, start: int, stop: int, n: int) -> None:
        self.start = start
        self.stop = stop
        self.n = n

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        return x[..., self.start : self.stop]

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        return F.pad(g, (self.start, self.n - self.stop))


class Pad(Operator):
    """y [..., T, n] = x at the entries start ... stop - 1, zero elsewhere: the transpose of `Slice`."""

    def __init__(self, start: int, stop: int, n: int) -> None:
        self.start = start
        self.stop = stop
        self.n = n

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        return F.pad(x, (self.start, self.n - self.stop))

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        return g[..., self.start : self.stop]


def joined_adjoint(operators: Sequence[Operator], pieces: Sequence[Tensor], tally: Tally) -> Tensor:
    """What operators on one input hand back for the pieces of their joined outputs."""
    first, *rest = zip(operators, pieces, strict=True)
    x = first[0].adjoint(first[1], tally)
    for op, piece in rest:
        x = x + op.adjoint(piece, tally)
    return x


class Stack(Operator):
    """The outputs of several operators on one input, side by side: y = [A_1 x, A_2 x, ...]; widths: their n_out."""

    def __init__(self, operators: Sequence[Operator], widths: Sequence[int]) -> None:
        if len(operators) != len(widths):
            raise ValueError(f"{len(operators)} operators cannot have {len(widths)} widths")
        self.operators = tuple(operators)
        self.widths = tuple(widths)

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        return torch.cat([op.apply(x, one) for op in self.operators], -1)

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        return joined_adjoint(self.operators, g.split(self.widths, -1), tally)

    @property
    def children(self) -> tuple[Operator, ...]:
        return self.operators


class Inside(Operator):
    """x with its entries start ... stop - 1 replaced by A of them, which are `width`; the others stay as they are."""

    def __init__(self, op: Operator, start: int, stop: int, width: int) -> None:
        self.op = op
        self.start = start
        self.stop = stop
        self.width = width

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        inside = self.op.apply(x[..., self.start : self.stop], one)
        return torch.cat((x[..., : self.start], inside, x[..., self.stop :]), -1)

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        end = self.start + self.width
        inside = self.op.adjoint(g[..., self.start : end], tally)
        return torch.cat((g[..., : self.start], inside, g[..., end:]), -1)

    @property
    def children(self) -> tuple[Operator, ...]:
        return (self.op,)


class Blend(Operator):
    """y[t, j] = sum_k c[t, j, k] x[t, k]: planes of equal width, side by side, are mixed at every position alone.

    c [..., T, J, K]; blocks [..., T, K * d] -> [..., T, J * d].
    """

    def __init__(self, c: Tensor) -> None:
        self.c = c

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        planes: Tensor = self.c @ x.unflatten(-1, (self.c.shape[-1], -1))
        return planes.flatten(-2)

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        planes: Tensor = self.c.mT @ g.unflatten(-1, (self.c.shape[-2], -1))
        return planes.flatten(-2)
