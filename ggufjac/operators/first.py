"""The first positions of an operator: what columns that end there need of it.

What a causal operator hands back to a position depends on no cotangent before it. So a cotangent that is zero from
position n on stays so on its whole way down, and the first n positions of every coefficient do all the work.
"""

from __future__ import annotations

import copy
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from ggufjac.operators.attend import Attend
from ggufjac.operators.base import Identity, One, Operator, Parallel, Residual, Sequential, Tally
from ggufjac.operators.blocksum import BlockSum
from ggufjac.operators.convolve import Convolve
from ggufjac.operators.dense import Dot, Outer, Transposed
from ggufjac.operators.elementwise import Bias, Center, Scale
from ggufjac.operators.fold import PerToken
from ggufjac.operators.heads import Heads
from ggufjac.operators.lanes import Blend, Inside, Pad, Slice, Stack
from ggufjac.operators.matmul import MatMul
from ggufjac.operators.mix import Mix
from ggufjac.operators.pick import Pick
from ggufjac.operators.recurrence import Scan
from ggufjac.operators.reject import Reject
from ggufjac.operators.rotate import Rotate
from ggufjac.operators.routed import Routed, Weigh
from ggufjac.operators.shift import Shift

#: What does the same at every position, however many there are.
_ALIKE = (Identity, MatMul, Center, Pick, Slice, Pad, BlockSum, Convolve, Dot, Transposed)
#: The coefficients that have positions, and the axis of these, counted from the last.
_COEFFICIENTS: dict[type[Operator], dict[str, int]] = {
    Scale: {"s": 2},
    Bias: {"b": 2},
    Reject: {"u": 2},
    Shift: {"m": 2},
    Outer: {"v": 2},
    Rotate: {"cos": 3, "sin": 3},
    Blend: {"c": 3},
    PerToken: {"matrices": 3},
    Scan: {"step": 2, "b": 2, "c": 2},
}


def first(op: Operator, n: int, n_tokens: int) -> Operator:
    """`op`, which maps n_tokens positions to as many and looks at none that follow, for blocks of the first n."""
    return op if n == n_tokens else _first(op, n, n_tokens, 0)


def _first(op: Operator, n: int, total: int, inner: int) -> Operator:
    """inner: axes between the positions' and the last one of a block (1 inside of heads)."""
    if isinstance(op, _ALIKE):
        return op
    if isinstance(op, Residual):
        return Residual(_first(op.branch, n, total, inner), _first(op.skip, n, total, inner), op.name)
    if isinstance(op, Sequential | Parallel):
        return type(op)(_first(part, n, total, inner) for part in op.operators)
    if isinstance(op, Stack):
        return Stack([_first(part, n, total, inner) for part in op.operators], op.widths)
    if isinstance(op, Inside):
        return _changed(op, op=_first(op.op, n, total, inner))
    if isinstance(op, Heads):
        return _changed(op, op=_first(op.op, n, total, inner + 1))
    if type(op) in _COEFFICIENTS:
        # that of a rotation has its heads' axis already
        more = inner if type(op) in (Scale, Bias, Reject, Shift, Outer) else 0
        axes = _COEFFICIENTS[type(op)]
        return _changed(op, **{name: _cut(getattr(op, name), n, total, axis + more) for name, axis in axes.items()})
    if isinstance(op, Mix):
        return _changed(op, p=op.p[..., :n, :n])
    if isinstance(op, Attend):
        ways = {name: _first(getattr(op, name), n, total, inner) for name in ("queries", "keys", "values")}
        slope = None if op.slope is None else op.slope[..., :n, :n]
        return _changed(op, q=op.q[:n], k=op.k[:n], v=op.v[:n], p=op.p[..., :n, :n], slope=slope, **ways)
    if isinstance(op, Routed) and op.shape == (total,) and not inner:
        return Routed(_routes(op, n), (n,), op.n_in, op.n_out)
    if isinstance(op, Weigh):
        return _changed(op, rank=op.rank[:n], x=op.x[..., :n, :])
    return Padded(op, n, total, inner)


class Padded(Operator):
    """The first n of an operator's positions, as all of them with zeros behind: right for whatever looks at none that
    follow."""

    def __init__(self, op: Operator, n: int, n_tokens: int, inner: int = 0) -> None:
        self.op = op
        self.n = n
        self.n_tokens = n_tokens
        self.axis = -2 - inner

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        return self.op.apply(self._padded(x), one).narrow(self.axis, 0, self.n)

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        return self.op.adjoint(self._padded(g), tally).narrow(self.axis, 0, self.n)

    @property
    def children(self) -> tuple[Operator, ...]:
        return (self.op,)

    def _padded(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, 0) * (-1 - self.axis) + (0, self.n_tokens - self.n))


def _routes(op: Routed, n: int) -> list[tuple[Tensor, Operator]]:
    """The routes with the tokens of theirs that are among the first n; tokens are in ascending order."""
    found = []
    for tokens, route in op.routes:
        m = int((tokens < n).sum())
        if m:
            found.append((tokens[:m], first(route, m, len(tokens))))
    return found


def _cut(coefficient: Tensor, n: int, total: int, axis: int) -> Tensor:
    """The first n of `total` positions along the axis, counted from the last one; a coefficient that has no such axis,
    or 1 there, is that of every position."""
    if coefficient.dim() < axis or coefficient.shape[-axis] != total:
        return coefficient
    return coefficient.narrow(-axis, 0, n)


def _changed(op: Operator, /, **attributes: Any) -> Operator:
    new = copy.copy(op)
    for name, value in attributes.items():
        setattr(new, name, value)
    return new
