"""Operators that act on every head of a projection alone."""

from __future__ import annotations

from torch import Tensor

from ggufjac.operators.base import One, Operator, Tally


class Heads(Operator):
    """`op` on blocks [..., T, n_head, d], which lie side by side in the blocks of this one, [..., T, n_head * d]."""

    def __init__(self, op: Operator, n_head: int) -> None:
        self.op = op
        self.n_head = n_head

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        unit = one[..., None] if isinstance(one, Tensor) and one.dim() else one
        return self.op.apply(x.unflatten(-1, (self.n_head, -1)), unit).flatten(-2)

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        return self.op.adjoint(g.unflatten(-1, (self.n_head, -1)), _of_heads(tally)).flatten(-2)

    @property
    def children(self) -> tuple[Operator, ...]:
        return (self.op,)


def _of_heads(tally: Tally) -> Tally:
    """Inside, a constant is told for every head apart: [..., T, n_head]."""
    if tally is None:
        return None
    return lambda name, worth: tally(name, worth.sum(-1))
