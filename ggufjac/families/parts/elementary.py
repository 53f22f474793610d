"""Parts with one purpose each: norms, affine projections, constants, elementwise functions."""

from __future__ import annotations

import torch
from torch import Tensor

from ggufjac import operators as ops
from ggufjac.families.parts import activations
from ggufjac.families.parts.activations import Ratio
from ggufjac.families.parts.run import Part, Run
from ggufjac.operators import Operator
from ggufjac.quants.tensor import QuantTensor


class RMSNorm(Part):
    """y = w x / sqrt(mean(x^2) + eps), the mean over the last dimension (Zhang and Sennrich, arXiv 1910.07467)."""

    def __init__(self, weight: Tensor | None, eps: float) -> None:
        self.weight = weight
        self.eps = eps

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        frozen = run.freeze(x)
        s = torch.rsqrt(frozen.square().mean(-1, keepdim=True) + self.eps)
        if self.weight is not None:
            s = s * run.fitted(self.weight, x)
        op = ops.Scale(s)
        return op, op.apply(x)


class LayerNorm(Part):
    """y = w (x - mean x) / sqrt(var x + eps) + b: centring stays live, the deviation is frozen, b is a constant."""

    def __init__(self, weight: Tensor | None, bias: Tensor | None, eps: float) -> None:
        self.weight = weight
        self.bias = bias
        self.eps = eps

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        frozen = run.freeze(x)
        s = torch.rsqrt(frozen.var(-1, keepdim=True, correction=0) + self.eps)
        if self.weight is not None:
            s = s * run.fitted(self.weight, x)
        operators: list[Operator] = [ops.Center(), ops.Scale(s)]
        if self.bias is not None:
            operators.append(ops.Bias(run.fitted(self.bias, x)))
        op = ops.Sequential(operators)
        return op, op.apply(x, 1.0)


class Linear(Part):
    """y = x W^T + b, with the weight as it lies in the file."""

    def __init__(self, weight: QuantTensor, bias: Tensor | None = None) -> None:
        self.weight = weight
        self.bias = bias

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        op, y = run.product(self.weight, x)
        if self.bias is None:
            return op, y
        bias = ops.Bias(run.fitted(self.bias, x))
        return ops.Sequential([op, bias]), bias.apply(y, 1.0)

    def rows(self, start: int, stop: int) -> Linear:
        """The outputs [start, stop) alone; this takes fused projections apart."""
        return Linear(self.weight.rows(start, stop), None if self.bias is None else self.bias[start:stop])


class Pick(Part):
    """y = some entries of x, which has n of them."""

    def __init__(self, chosen: Tensor, n: int) -> None:
        self.chosen = chosen
        self.n = n

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        op = ops.Pick(self.chosen.to(x.device), self.n)
        return op, op.apply(x)


class Scale(Part):
    """y = factor x with a constant factor, a number or one for each entry: a family's multipliers."""

    def __init__(self, factor: float | Tensor) -> None:
        self.factor = factor

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        op = ops.Scale(constant(self.factor, x))
        return op, op.apply(x)


class Bias(Part):
    """y = x + c with a constant c, which goes to the constant of the map."""

    def __init__(self, c: float) -> None:
        self.c = c

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        op = ops.Bias(constant(self.c, x))
        return op, op.apply(x, 1.0)


class Gated(Part):
    """y = sigmoid(<w, x>) part(x): a whole part behind one frozen gate per position."""

    def __init__(self, w: Tensor, part: Part) -> None:
        self.w = w
        self.part = part

    @property
    def children(self) -> tuple[Part, ...]:
        return (self.part,)

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        op, y = self.part.build(run, x)
        scale = ops.Scale(torch.sigmoid(run.freeze(x) @ self.w.to(x))[..., None])
        return ops.Sequential([op, scale]), scale.apply(y)


class Elementwise(Part):
    """y = f(x), elementwise: the ratio f(x)/x is frozen, x stays live."""

    def __init__(self, ratio: Ratio) -> None:
        self.ratio: Ratio = ratio

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        op = ops.Scale(activation_ratio(run, self.ratio, run.freeze(x)))
        return op, op.apply(x)


def constant(value: float | Tensor, like: Tensor) -> Tensor:
    """A constant in the precision of a value and where that is; a number is not copied there but made there."""
    return value.to(like) if isinstance(value, Tensor) else like.new_full((), value)


def activation_ratio(run: Run, ratio: Ratio, u: Tensor) -> Tensor:
    """f(u)/u; how GELU is evaluated, the run decides."""
    return run.gelu(u) if ratio is activations.gelu else ratio(u)
