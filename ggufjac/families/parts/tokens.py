"""What a layer takes from the numbers of the prompt's tokens: a constant of the map."""

from __future__ import annotations

from torch import Tensor

from ggufjac.families.parts.run import Part, Run
from ggufjac.operators import Bias, Operator
from ggufjac.quants.tensor import QuantTensor


class TokenRows(Part):
    """y_t = x_t + scale * (the entries start ... start + n - 1 of the row of token t), for x [..., T, n].

    table [n_vocab, m]; its rows are read once per prompt and left for the other layers, under the table's name.
    """

    def __init__(self, table: QuantTensor, start: int, scale: float) -> None:
        self.table = table
        self.start = start
        self.scale = scale

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        if self.table.name not in run.shared:
            rows = self.table.gather(run.tokens.flatten().cpu().numpy(), x.dtype)
            run.shared[self.table.name] = rows.unflatten(0, run.tokens.shape)
        rows = run.shared[self.table.name][..., self.start : self.start + x.shape[-1]]
        op = Bias(self.scale * rows.to(x), self.table.name)
        return op, op.apply(x, 1.0)
