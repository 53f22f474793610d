"""Sparse activations: of the entries of a gate only the largest pass."""

from __future__ import annotations

import torch
from torch import Tensor

from ggufjac.families.parts.run import Part, Run
from ggufjac.operators import Operator, Scale


class LargestEntries(Part):
    """y = max(u - cut, 0), where cut is `deviations` standard deviations above the mean of the entries of u.

    The ratio y/u is frozen. Entries are taken for normally distributed (llama.cpp's gaussian_topk in gemma3n.cpp); the
    variance is the unbiased one.
    """

    def __init__(self, deviations: float) -> None:
        self.deviations = deviations

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        u = run.freeze(x)
        cut = u.mean(-1, keepdim=True) + self.deviations * u.std(-1, keepdim=True)
        passes = (u > cut) & (u != 0)
        op = Scale(torch.where(passes, (u - cut) / torch.where(passes, u, torch.ones_like(u)), torch.zeros_like(u)))
        return op, op.apply(x)
