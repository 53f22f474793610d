"""Positions that were computed before, in front of those in hand."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ggufjac.operators.base import One, Operator, Tally

#: What the constant is called that comes from positions before.
PAST = "positions before"


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
            worth = (g[..., :n, :] * self.past).sum(-1)
            tally(PAST, F.pad(worth, (0, g.shape[-2] - n)))
        return g[..., n:, :]

    @property
    def affine(self) -> bool:
        return True
