"""The outputs of several operators one behind the other along the positions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ggufjac.operators.base import One, Operator, Tally
from ggufjac.operators.lanes import joined_adjoint


class Behind(Operator):
    """y = the positions of A_1 x, then those of A_2 x, ...; lengths: how many each of them has."""

    def __init__(self, operators: Sequence[Operator], lengths: Sequence[int]) -> None:
        self.operators = tuple(operators)
        self.lengths = tuple(lengths)

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        return torch.cat([op.apply(x, one) for op in self.operators], -2)

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        return joined_adjoint(self.operators, g.split(self.lengths, -2), tally)

    @property
    def children(self) -> tuple[Operator, ...]:
        return self.operators
