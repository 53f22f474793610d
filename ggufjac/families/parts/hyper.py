"""Hyper-connections (Zhu et al., arXiv 2409.19606): several planes of the stream, from which a block reads a sum with
weights, and to all of which it writes.

What the whole state says, normalised, gives the weights at every position. They are coefficients; planes and what is
written are live. Formulas as in llama.cpp's hy-v4.cpp.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ggufjac.families.parts.elementary import Linear, RMSNorm
from ggufjac.families.parts.fallback import Differentiated
from ggufjac.families.parts.joins import Sequential
from ggufjac.families.parts.narrowing import kept
from ggufjac.families.parts.run import Part, Run
from ggufjac.operators import Blend, Derivative, Identity, Operator, Parallel, Stack
from ggufjac.operators import Residual as ResidualOperator
from ggufjac.operators import Sequential as Chain


@dataclass(frozen=True)
class Weights:
    """magnitude sigmoid(scale W norm(x) + base) + offset: one weight for every plane, [..., T, planes].

    W [planes, planes d]; base [planes].
    """

    norm: RMSNorm
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


class Merge(Differentiated):
    """sum_h w_h X_h of the planes X of a state; one that is a single plane wide is that plane in every place."""

    def __init__(self, weights: Weights, d: int) -> None:
        self.weights = weights
        self.d = d

    def detached(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        n = self.weights.planes
        copies: Operator = Identity()
        if x.shape[-1] == self.d:
            copies, x = Stack([Identity()] * n, [self.d] * n), torch.cat([x] * n, -1)
        merge = Blend(self.weights.value(run, run.freeze(x))[..., None, :])
        return Chain([copies, merge]), merge.apply(x)


class HyperResidual(Part):
    """X_h + w_h branch(merge(X)) for all planes X_h: what one block writes, under a name."""

    def __init__(self, name: str, merge: Merge, gains: Weights, *parts: Part) -> None:
        self.name = name
        self.merge = merge
        self.gains = gains
        self.branch = Sequential(*parts)

    @property
    def children(self) -> tuple[Part, ...]:
        return (self.branch,)

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        skip = kept(run, x) if self.narrows else Identity()
        merge, u = self.merge.build(run.at(run.layer), x)
        op, y = self.branch.build(run, u)
        state = skip.apply(x)
        spread = Blend(self._gains(run, state))
        written: Operator = Chain([merge, op, spread])
        if run.live("coefficients"):
            attached = replace(run, attached=True, watch=None)
            wrote = y.detach()[..., None, :]
            through = Derivative(lambda at: (self._gains(attached, at) @ wrote.to(at)).flatten(-2), state)
            written = Parallel([written, Chain([skip, through])])
        return ResidualOperator(written, skip, self.name), state + spread.apply(y)

    def _gains(self, run: Run, x: Tensor) -> Tensor:
        """[..., T, planes, 1]"""
        return self.gains.value(run, run.freeze(x))[..., None]


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
