"""Sparse activations: of the entries of a gate only the largest pass."""

from __future__ import annotations

import torch
from torch import Tensor

from ggufjac.families.parts.run import Part, Run
from ggufjac.operators import Derivative, Operator, Scale


class LargestEntries(Part):
    """y = max(u - cut, 0), where cut is `deviations` standard deviations above the mean of the entries of u.

    An activation, whose ratio is y/u. Entries are taken for normally distributed (llama.cpp's gaussian_topk in
    gemma3n.cpp); the variance is the unbiased one.
    """

    def __init__(self, deviations: float) -> None:
        self.deviations = deviations

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        u = run.freeze(x, "activation")
        passes = ((u > self._cut(u)) & (u != 0)).detach()
        ratio = Scale(torch.where(passes, (u - self._cut(u)) / torch.where(passes, u, torch.ones_like(u)), 0))
        op = Derivative(self._largest, x) if run.live("activation") else ratio
        return op, ratio.apply(x)

    def _largest(self, u: Tensor) -> Tensor:
        return (u - self._cut(u)).clamp(min=0)

    def _cut(self, u: Tensor) -> Tensor:
        return u.mean(-1, keepdim=True) + self.deviations * u.std(-1, keepdim=True)
