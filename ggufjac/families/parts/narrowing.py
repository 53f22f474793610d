"""How a part that mixes positions drops those that nothing after it needs."""

from __future__ import annotations

from torch import Tensor

from ggufjac.families.parts.run import Part, Run
from ggufjac.operators import Identity, Operator, Select


def kept(run: Run, x: Tensor) -> Operator:
    """The positions of x [..., T, n] that the run still needs after this part."""
    return Identity() if run.rows is None else Select(run.rows, x.shape[-2], x.device)


class Narrowed(Part):
    """The positions of x that the run still needs: for layers that mix none, of which llama.cpp drops the others before
    the MLP."""

    @property
    def narrows(self) -> bool:
        return True

    def build(self, run: Run, x: Tensor) -> tuple[Operator, Tensor]:
        op = kept(run, x)
        return op, op.apply(x)
