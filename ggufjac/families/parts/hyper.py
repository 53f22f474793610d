"""Hyper-connections (Zhu et al., arXiv 2409.19606): several planes of the stream, from which a block reads a sum with
weights, and to all of which it writes.

What the whole state says, normalised, gives the weights at every position. They are coefficients; planes and what is
written are live. Formulas as in llama.cpp's hy-v4.cpp, and, where a plane's entries have gates, qwen4exp.cpp.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ggufjac.families.parts.elementary import Linear, RMSNorm
from ggufjac.families.parts.fallback import Differentiated
from ggufjac.families.parts.joins import Sequential
from ggufjac.families.parts.narrowing import kept
from ggufjac.families.parts.run import Part, Run
from ggufjac.operators import Blend, Derivative, Identity, Operator, Parallel, Scale, Stack
from ggufjac.operators import Residual as ResidualOperator
from ggufjac.operators import Sequential as Chain


@dataclass(frozen=True)
class Weights:
    """magnitude sigmoid(scale W norm(x) + base) + offset: one weight for every plane, [..., T, planes].

    W [planes, planes d]; base [planes].
    """

    norm: Part
    projection: Linear
    scale: float
    base: Tensor
    magnitude: float
    offset: float

    @property
    def planes(self) -> int:
        return self.base.shape[0]

    def value(self, run: Run, x: Tensor) -> Tensor:
        """The weights at this state x [..., T, planes d]."""
        u = self.projection.value(run, self.norm.value(run, x))
        return self.magnitude * torch.sigmoid(self.scale * u + self.base.to(u)) + self.offset


@dataclass(frozen=True)
class Mixing:
    """How planes are mixed where a block writes to them, [..., T, planes, planes]: a matrix whose rows and columns sum
    to about 1.

    exp(scale W norm(x) + base), the rows (planes that are read) and columns (planes that are written) of which are in
    turn divided by their sums, `rounds` times (Sinkhorn's algorithm); W [planes planes, planes d], base [planes
    planes], row by row.
    """

    norm: RMSNorm
    projection: Linear
    scale: float
    base: Tensor
    rounds: int
    eps: float

    def value(self, run: Run, x: Tensor) -> Tensor:
        """[..., T, planes that are written, planes that are read]"""
        u = self.projection.value(run, self.norm.value(run, x))
        n = math.isqrt(self.base.shape[0])
        m = (self.scale * u + self.base.to(u)).unflatten(-1, (n, n)).softmax(-1) + self.eps
        m = m / (m.sum(-2, keepdim=True) + self.eps)
        for _ in range(1, self.rounds):
            m = m / (m.sum(-1, keepdim=True) + self.eps)
            m = m / (m.sum(-2, keepdim=True) + self.eps)
        written_by_read: Tensor = m.mT
        return written_by_read


class MeanOfCopies(Part):
    """The mean of the planes of a state; one that is a single plane wide is that plane."""

    def __init__(self, planes: int, d: int) -> None:
        self.planes = planes
        self.d = d

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        if x.shape[-1] == self.d:
            return Identity(), x
        op = Blend(x.new_full((1, 1, self.planes), 1 / self.planes))
        return op, op.apply(x)


class Merge(Differentiated):
    """sum_h w_h X_h of the planes X of a state; one that is a single plane wide is that plane in every place."""

    def __init__(self, weights: Weights, d: int) -> None:
        self.weights = weights
        self.d = d

    def detached(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        copies, x = in_planes(x, self.weights.planes, self.d)
        merge = Blend(self.weights.value(run, run.freeze(x))[..., None, :])
        return Chain([copies, merge]), merge.apply(x)


class GatedMerge(Differentiated):
    """mean_h sigmoid(U silu(D N / planes))_h N_h of the normalised planes N of a state, entry by entry; of one that is
    a single plane wide with that plane in every place.

    norm: of every plane alone; down: D [m, planes d]; up: U [planes d, m].
    """

    def __init__(self, norm: Part, down: Linear, up: Linear, planes: int, d: int) -> None:
        self.norm = norm
        self.down = down
        self.up = up
        self.planes = planes
        self.d = d

    def detached(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        n = self.planes
        copies, x = in_planes(x, n, self.d)
        norm, u = self.norm.build(run, x)
        low = F.silu(self.down.value(run, run.freeze(u)) / n)
        gates, mean = Scale(self.up.value(run, low).sigmoid()), Blend(x.new_full((1, 1, n), 1 / n))
        return Chain([copies, norm, gates, mean]), mean.apply(gates.apply(u))


def in_planes(x: Tensor, planes: int, d: int) -> tuple[Operator, Tensor]:
    """A state of several planes as it is; one of a single plane with that plane in every place."""
    if x.shape[-1] != d:
        return Identity(), x
    return Stack([Identity()] * planes, [d] * planes), torch.cat([x] * planes, -1)


class HyperResidual(Part):
    """sum_k m_hk X_k + w_h branch(merge(X)) for all planes X_h: what one block writes, under a name.

    mixing: m; None: the planes stay as they are.
    """

    def __init__(
        self, name: str, merge: Merge | GatedMerge, gains: Weights, *parts: Part, mixing: Mixing | None = None
    ) -> None:
        self.name = name
        self.merge = merge
        self.gains = gains
        self.mixing = mixing
        self.branch = Sequential(*parts)

    @property
    def children(self) -> tuple[Part, ...]:
        return (self.branch,)

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        keep = kept(run, x) if self.narrows else Identity()
        merge, u = self.merge.build(run.at(run.layer), x)
        op, y = self.branch.build(run.within(), u)
        state = keep.apply(x)
        stay, spread = (Blend(c) for c in self._coefficients(run, run.freeze(state)).split((self.gains.planes, 1), -1))
        written: Operator = Chain([merge, op, spread])
        if run.live("coefficients"):
            attached = replace(run, attached=True, watch=None)
            planes = torch.cat((state, y), -1).detach().unflatten(-1, (self.gains.planes + 1, -1))
            through = Derivative(lambda at: (self._coefficients(attached, at) @ planes.to(at)).flatten(-2), state)
            written = Parallel([written, Chain([keep, through])])
        added = run.written(self.name, spread.apply(y))
        return ResidualOperator(written, Chain([keep, stay]), self.name), stay.apply(state) + added

    def _coefficients(self, run: Run, x: Tensor) -> Tensor:
        """[..., T, planes, planes + 1]: of what stays, then of what is written."""
        gains = self.gains.value(run, x)[..., None]
        n = self.gains.planes
        stay = torch.eye(n, dtype=x.dtype, device=x.device).expand(*gains.shape[:-2], n, n)
        return torch.cat((stay if self.mixing is None else self.mixing.value(run, x), gains), -1)


class NamedPlanes(Part):
    """A part whose planes are announced under llama.cpp's name for them, [T, planes, d], or [planes, d] of one
    position."""

    def __init__(self, name: str, planes: int, part: Part) -> None:
        self.name = name
        self.planes = planes
        self.part = part

    @property
    def children(self) -> tuple[Part, ...]:
        return (self.part,)

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        op, y = self.part.build(run, x)
        if run.watch is None:
            return op, y
        planes = y.unflatten(-1, (self.planes, -1))
        return op, run.value(self.name, planes[0] if len(planes) == 1 else planes).reshape(y.shape)
