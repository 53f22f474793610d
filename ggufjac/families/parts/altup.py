"""AltUp (Baykal et al., arXiv 2301.13310): several planes as wide as the stream, of which each block computes one.

A small router looks at the active plane, the first one. Its outputs give, at every position, the coefficients by which
the planes are mixed into predictions, and by which what the block made of its prediction corrects all of them. Formulas
as in llama.cpp's gemma3n.cpp. The coefficients are frozen, the mixing is live.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ggufjac.families.parts.elementary import Linear, constant
from ggufjac.families.parts.fallback import Differentiated
from ggufjac.families.parts.run import Part, Run
from ggufjac.operators import Blend, Identity, Operator, Parallel, Scale, Sequential, Slice, Stack


class Predict(Differentiated):
    """Q_j = P_j + sum_k c_jk P_k for the K planes P; c is a linear function of what the router says of P_0.

    router: from a plane to its outputs [..., T, m]; coefficients: [K K, m], c row by row.
    """

    def __init__(self, router: Part, coefficients: Linear, planes: int) -> None:
        self.router = router
        self.coefficients = coefficients
        self.planes = planes

    def detached(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        n = self.planes
        active = run.freeze(x)[..., : x.shape[-1] // n]
        c = self.coefficients.value(run, self.router.value(run, active)).unflatten(-1, (n, n))
        op = Blend(c + torch.eye(n, dtype=x.dtype, device=x.device))
        return op, op.apply(x)


class Correct(Differentiated):
    """P_k = Q_k + (1 + c_k) (y - Q_0) for the K planes Q of a prediction and y, what the block made of Q_0.

    They enter as (y | Q_1 | ... | Q_0). c is a linear function of what the router says of y; coefficients: [K, m].
    """

    def __init__(self, router: Part, coefficients: Linear, planes: int) -> None:
        self.router = router
        self.coefficients = coefficients
        self.planes = planes

    def detached(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        n = self.planes
        made = run.freeze(x)[..., : x.shape[-1] // (n + 1)]
        c = 1 + self.coefficients.value(run, self.router.value(run, made))[..., None]
        same = torch.eye(n, dtype=x.dtype, device=x.device).expand(*c.shape[:-2], n, n)
        op = Blend(torch.cat((c, same[..., 1:], same[..., :1] - c), -1))
        return op, op.apply(x)


class Spread(Differentiated):
    """(x | W_1 x | W_2 x | ...), every plane as long as x at each position; the ratios of lengths are frozen."""

    def __init__(self, projections: Sequence[Linear]) -> None:
        self.projections = projections

    def detached(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        operators: list[Operator] = [Identity()]
        planes = [x]
        for projection in self.projections:
            op, y = as_long_as(run, x, projection, x)
            operators.append(op)
            planes.append(y)
        return Stack(operators, [x.shape[-1]] * len(planes)), torch.cat(planes, -1)


class Gather(Differentiated):
    """(P_0 + W_1 P_1 + W_2 P_2 + ...) / K, every term as long as P_0; the ratios of lengths are frozen.

    The first K planes of the state are read. An embedding that was not spread yet is first: spread.
    """

    def __init__(self, projections: Sequence[Linear], spread: Spread, d: int) -> None:
        self.projections = projections
        self.spread = spread
        self.d = d

    def detached(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        if x.shape[-1] == self.d:
            first, x = self.spread.build(run.at(run.layer), x)
        else:
            first = Identity()
        n = x.shape[-1]
        plane = Slice(0, self.d, n)
        total = plane.apply(x)
        operators: list[Operator] = [plane]
        for k, projection in enumerate(self.projections, 1):
            plane = Slice(k * self.d, (k + 1) * self.d, n)
            op, y = as_long_as(run, x[..., : self.d], projection, plane.apply(x))
            operators.append(Sequential([plane, op]))
            total = total + y
        mean = Scale(constant(1 / len(operators), x))
        return Sequential([first, Parallel(operators), mean]), mean.apply(total)


def as_long_as(run: Run, other: Tensor, projection: Linear, x: Tensor) -> tuple[Operator, Tensor]:
    """The projection of x, scaled to the length of `other` at every position; the scale is frozen.

    Where there is nothing to scale, as in what a block writes into one plane alone, it is 0.
    """
    op, y = projection.build(run, x)
    wanted, length = (run.freeze(z).norm(dim=-1, keepdim=True) for z in (other, y))
    nothing = length == 0
    scale = Scale(torch.where(nothing, 0, wanted / torch.where(nothing, 1, length)))
    return Sequential([op, scale]), scale.apply(y)
