"""Positions that were computed before, in front of those in hand."""

from __future__ import annotations

import torch
from torch import Tensor

from ggufjac.operators.base import One, Operator, Tally


class Preceded(Operator):
    """y [..., P + T, n] = x [..., T, n] with the rows `past` [..., P, n] before it, which are constants of the map."""

    def __init__(self, past: Tensor) -> None:
        self.past = past

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        before = torch.zeros_like(self.past) if one is None else one * self.past
        shape = torch.broadcast_shapes(before.shape[:-2], x.shape[:-2])
        return torch.cat((before.expand(*shape, *before.shape[-2:]), x.expand(*shape, *x.shape[-2:])), -2)

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        n = self.past.shape[-2]
        if tally is not None:
            tally((g[..., :n, :] * self.past).sum((-2, -1)))
        return g[..., n:, :]

    @property
    def affine(self) -> bool:
        return True
