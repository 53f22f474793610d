"""Parts that act on every head of a projection alone."""

from __future__ import annotations

import torch
from torch import Tensor

from ggufjac.families.parts.elementary import normed
from ggufjac.families.parts.run import Part, Run
from ggufjac.operators import Bias, Center, Operator, Scale, Sequential


class HeadNorm(Part):
    """RMSNorm over each of the n_head heads that lie side by side; weight [n_head d_head], None: 1."""

    def __init__(self, n_head: int, eps: float, weight: Tensor | None = None) -> None:
        self.n_head = n_head
        self.eps = eps
        self.weight = weight

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        frozen = run.freeze(x, "norm")
        heads = frozen.unflatten(-1, (self.n_head, -1))
        length = torch.rsqrt(heads.square().mean(-1, keepdim=True) + self.eps).expand(heads.shape).flatten(-2)
        scale = Scale(length if self.weight is None else length * run.fitted(self.weight, x))
        return normed(run, scale, frozen, length, self.n_head), scale.apply(x)


class HeadLayerNorm(Part):
    """A LayerNorm over each of n_head heads that lie side by side; weight and bias [n_head d_head].

    name: what the bias is called in the file.
    """

    def __init__(self, n_head: int, weight: Tensor, bias: Tensor, eps: float, name: str) -> None:
        self.n_head = n_head
        self.weight = weight
        self.bias = bias
        self.eps = eps
        self.name = name

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        frozen = run.freeze(x, "norm")
        heads = frozen.unflatten(-1, (self.n_head, -1))
        length = torch.rsqrt(heads.var(-1, keepdim=True, correction=0) + self.eps).expand(heads.shape).flatten(-2)
        center, scale = Center(self.n_head), Scale(length * self.weight.to(x))
        bias = Bias(self.bias.to(x), self.name)
        op = Sequential([center, normed(run, scale, center.apply(frozen), length, self.n_head), bias])
        return op, bias.apply(scale.apply(center.apply(x)), 1.0)
