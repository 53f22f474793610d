"""Learned positions: a constant of the map, not a part of what a token brings."""

from __future__ import annotations

from torch import Tensor

from ggufjac.families.parts.run import Part, Run
from ggufjac.operators import Bias, Operator
from ggufjac.quants.tensor import QuantTensor


class LearnedPositions(Part):
    """y_t = x_t + table[position of t]: what GPT-2 adds before its first block. table [n_ctx_train, d]."""

    def __init__(self, table: QuantTensor) -> None:
        self.table = table

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        op = Bias(self.table.gather(run.positions.numpy(), x.dtype).to(x.device), self.table.name)
        return op, run.at(-1).value("inpL", op.apply(x, 1.0))
