"""Positions that follow one another, summed to one vector per block, every entry with weights of its own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ggufjac.operators.base import One, Operator, Tally


def windows(x: Tensor, lanes: int, before: float) -> Tensor:
    """What each block is made of, [..., B, lanes * r, n], of the r positions of every block, x [..., B, r, lanes * n].

    With two lanes a block takes the first one of the block before it, and then the second one of its own. before: what
    stands there in front of the first block.
    """
    if lanes == 1:
        return x
    earlier, own = x.chunk(2, -1)
    return torch.cat((F.pad(earlier[..., :-1, :, :], (0, 0, 0, 0, 1, 0), value=before), own), -2)


class Pool(Operator):
    """y[b] = sum_j w[b, j] windows(x)[b, j], entry by entry; w [..., B, lanes * r, n].

    Blocks x [..., T, lanes * n] -> [..., B, n]; the positions behind the last whole block give nothing.
    """

    def __init__(self, w: Tensor, size: int, n_positions: int) -> None:
        self.w = w
        self.size = size
        self.n_positions = n_positions

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        n_blocks = self.w.shape[-3]
        whole = x[..., : n_blocks * self.size, :].unflatten(-2, (n_blocks, self.size))
        return (self.w * windows(whole, self.w.shape[-2] // self.size, 0.0)).sum(-2)

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        x = self.w * g[..., None, :]
        if x.shape[-2] > self.size:
            earlier, own = x.split(self.size, -2)
            x = torch.cat((F.pad(earlier[..., 1:, :, :], (0, 0, 0, 0, 0, 1)), own), -1)
        return F.pad(x.flatten(-3, -2), (0, 0, 0, self.n_positions - self.w.shape[-3] * self.size))
