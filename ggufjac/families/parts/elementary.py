"""Parts with one purpose each: norms, affine projections, constants, elementwise functions."""

from __future__ import annotations

import math
from collections.abc import Callable

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
        frozen = run.freeze(x, "norm")
        length = torch.rsqrt(frozen.square().mean(-1, keepdim=True) + self.eps)
        scale = ops.Scale(length if self.weight is None else length * run.fitted(self.weight, x))
        return normed(run, scale, frozen, length), scale.apply(x)


class LayerNorm(Part):
    """y = w (x - mean x) / sqrt(var x + eps) + b: centring is live under all rules, b is a constant.

    name: what b is called in the file.
    """

    def __init__(self, weight: Tensor | None, bias: Tensor | None, eps: float, name: str = "") -> None:
        self.weight = weight
        self.bias = bias
        self.eps = eps
        self.name = name

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        frozen = run.freeze(x, "norm")
        length = torch.rsqrt(frozen.var(-1, keepdim=True, correction=0) + self.eps)
        scale = ops.Scale(length if self.weight is None else length * run.fitted(self.weight, x))
        center = ops.Center()
        operators: list[Operator] = [center, normed(run, scale, center.apply(frozen), length)]
        y = scale.apply(center.apply(x))
        if self.bias is not None:
            operators.append(bias := ops.Bias(run.fitted(self.bias, x), self.name))
            y = bias.apply(y, 1.0)
        return ops.Sequential(operators), y


def normed(run: Run, scale: ops.Scale, x: Tensor, length: Tensor, groups: int = 1) -> Operator:
    """The scale of a norm, and under the rule "tangent" what it keeps from changing: x (centred) over its length.

    length: what each of the equal groups of x is multiplied by to be normalised, as wide as x or one number for each.
    """
    if not run.live("norm"):
        return scale
    return ops.Sequential([ops.Reject(x * length * (groups / x.shape[-1]) ** 0.5, groups), scale])


class Linear(Part):
    """y = s (x W^T) + b, with the weight as it lies in the file.

    name: what b is called there, where it is not called like the weight. scale: s, one number [1] or one for each
    output [n_out], which files with NVFP4 weights have beside them.
    """

    def __init__(
        self, weight: QuantTensor, bias: Tensor | None = None, name: str = "", scale: Tensor | None = None
    ) -> None:
        self.weight = weight
        self.bias = bias
        self.name = name or weight.name.removesuffix(".weight") + ".bias"
        self.scale = scale

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        op, y = run.product(self.weight, x)
        operators = [op]
        if self.scale is not None:
            operators.append(scale := ops.Scale(run.fitted(self.scale, x)))
            y = scale.apply(y)
        if self.bias is not None:
            operators.append(bias := ops.Bias(run.fitted(self.bias, x), self.name))
            y = bias.apply(y, 1.0)
        return (op if len(operators) == 1 else ops.Sequential(operators)), y

    def rows(self, start: int, stop: int) -> Linear:
        """The outputs [start, stop) alone; this takes fused projections apart."""
        bias = None if self.bias is None else self.bias[start:stop]
        scale = self.scale if self.scale is None or len(self.scale) == 1 else self.scale[start:stop]
        return Linear(self.weight.rows(start, stop), bias, self.name, scale)


class Grouped(Part):
    """Groups of entries that lie side by side, each multiplied by a matrix of its own: row blocks of one weight."""

    def __init__(self, whole: Linear, n_groups: int) -> None:
        self.whole = whole
        self.n_groups = n_groups

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        n, n_in, m = x.shape[-1], x.shape[-1] // self.n_groups, self.whole.weight.n_out // self.n_groups
        operators, outputs = [], []
        for g, entering in enumerate(x.split(n_in, -1)):
            op, y = self.whole.rows(g * m, (g + 1) * m).build(run, entering)
            operators.append(ops.Sequential([ops.Slice(g * n_in, (g + 1) * n_in, n), op]))
            outputs.append(y)
        return ops.Stack(operators, [m] * self.n_groups), torch.cat(outputs, -1)


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
    """y = x + c with a constant c, a number or one for each entry: part of the map's constant, under a name."""

    def __init__(self, c: float | Tensor, name: str) -> None:
        self.c = c
        self.name = name

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        op = ops.Bias(constant(self.c, x), self.name)
        return op, op.apply(x, 1.0)


class Gated(Part):
    """y = sigmoid(<w, x>) part(x): a whole part behind one gate per position, a coefficient."""

    def __init__(self, w: Tensor, part: Part) -> None:
        self.w = w
        self.part = part

    @property
    def children(self) -> tuple[Part, ...]:
        return (self.part,)

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        op, y = self.part.build(run, x)
        gate = ops.Dot(self.w.to(x))
        return multiplied(run, (op, y), (gate, gate.apply(run.freeze(x))), torch.sigmoid)


class Elementwise(Part):
    """y = f(x), elementwise."""

    def __init__(self, ratio: Ratio) -> None:
        self.ratio: Ratio = ratio

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        return activated(run, self.ratio, x)


def constant(value: float | Tensor, like: Tensor) -> Tensor:
    """A constant in the precision of a value and where that is; a number is not copied there but made there."""
    if isinstance(value, Tensor):
        return value.to(like)
    beyond = abs(value) > torch.finfo(like.dtype).max  # torch refuses it
    return like.new_full((), math.copysign(math.inf, value) if beyond else value)


def activated(run: Run, ratio: Ratio, u: Tensor) -> tuple[ops.Scale, Tensor]:
    """An activation f at u: by its ratio f(u)/u, or by its slope f'(u); and f(u). How GELU is evaluated, the run
    decides."""
    f = run.gelu if ratio is activations.gelu else ratio
    by_ratio = ops.Scale(f(run.freeze(u, "activation")))
    value = by_ratio.apply(u)
    return (ops.Scale(slope(lambda v: v * f(v), u)) if run.live("activation") else by_ratio), value


def slope(f: Callable[[Tensor], Tensor], u: Tensor) -> Tensor:
    """f'(u) of an elementwise function."""
    with torch.enable_grad():
        point = u.detach().requires_grad_()
        (found,) = torch.autograd.grad(f(point).sum(), point)
    return found


def multiplied(
    run: Run,
    live: tuple[Operator, Tensor],
    gate: tuple[Operator, Tensor],
    f: Callable[[Tensor], Tensor],
) -> tuple[Operator, Tensor]:
    """y f(u), elementwise, of two branches with the same input: `live` gives y, `gate` gives u, and f(u) is a
    coefficient."""
    (op, y), (before, u) = live, gate
    scale = ops.Scale(f(run.freeze(u)))
    product = ops.Sequential([op, scale])
    if not run.live("coefficients"):
        return product, scale.apply(y)
    spread = ops.Outer(y) if u.shape[-1] == 1 else ops.Scale(y)
    through = ops.Sequential([before, ops.Scale(slope(f, u)), spread])
    return ops.Parallel([product, through]), scale.apply(y)
