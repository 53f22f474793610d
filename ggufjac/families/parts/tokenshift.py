"""RWKV's token shift, and the small networks that give its coefficients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from ggufjac.families.parts.elementary import Linear, multiplied
from ggufjac.families.parts.fallback import Differentiated
from ggufjac.families.parts.narrowing import kept
from ggufjac.families.parts.run import Part, Run
from ggufjac.operators import Operator, Sequential, Shift

#: What stands between the two matrices of a small network.
Squash: TypeAlias = "Callable[[Tensor], Tensor]"


@dataclass(frozen=True)
class LowRank:
    """second(f(first(x))), the small networks that give RWKV's coefficients; nothing in them is live."""

    first: Part
    f: Squash
    second: Linear

    def value(self, run: Run, x: Tensor) -> Tensor:
        return self.second.value(run, self.f(self.first.value(run, x)))


class TokenShift(Differentiated):
    """x + m (x_prev - x) with the position before; m [n] is the file's, or found from x (RWKV 6), a coefficient."""

    mixes = True

    def __init__(self, m: Tensor | LowRank) -> None:
        self.m = m

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        return self.detached(run, x) if isinstance(self.m, Tensor) else super().build(run, x)

    def detached(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        m = self.m.to(x) if isinstance(self.m, Tensor) else self.m.value(run.at(run.layer), run.freeze(x))
        op = Sequential([Shift(m), kept(run, x)])
        return op, op.apply(x)


class Receptive(Part):
    """sigmoid(receptance(x)) part(x), of which the first factor is a coefficient; both look at the position before."""

    def __init__(self, receptance: Part, part: Part) -> None:
        self.receptance = receptance
        self.part = part

    @property
    def children(self) -> tuple[Part, ...]:
        return (self.receptance, self.part)

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        return multiplied(run, self.part.build(run, x), self.receptance.build(run, x), torch.sigmoid)
