"""Parts that act on every head of a projection alone."""

from __future__ import annotations

import torch
from torch import Tensor

from ggufjac.families.parts.run import Part, Run
from ggufjac.operators import Bias, Center, Operator, Scale, Sequential


class HeadNorm(Part):
    """RMSNorm without a weight over each of the n_head heads that lie side by side; its scale is frozen."""

    def __init__(self, n_head: int, eps: float) -> None:
        self.n_head = n_head
        self.eps = eps

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        heads = run.freeze(x).unflatten(-1, (self.n_head, -1))
        s = torch.rsqrt(heads.square().mean(-1, keepdim=True) + self.eps)
        op = Scale(s.expand(heads.shape).flatten(-2))
        return op, op.apply(x)


class HeadLayerNorm(Part):
    """A LayerNorm over each of n_head heads that lie side by side; weight and bias [n_head d_head]."""

    def __init__(self, n_head: int, weight: Tensor, bias: Tensor, eps: float) -> None:
        self.n_head = n_head
        self.weight = weight
        self.bias = bias
        self.eps = eps

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        heads = run.freeze(x).unflatten(-1, (self.n_head, -1))
        s = torch.rsqrt(heads.var(-1, keepdim=True, correction=0) + self.eps).expand(heads.shape).flatten(-2)
        op = Sequential([Center(self.n_head), Scale(s * self.weight.to(x)), Bias(self.bias.to(x))])
        return op, op.apply(x, 1.0)
