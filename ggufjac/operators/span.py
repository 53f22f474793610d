"""A span of an operator's positions: what columns that begin and end there need of it.

A causal operator looks at no position that follows. So what enters from position `start` on stays there on its whole
way up, a cotangent that is zero from `stop` on stays so on its way down, and what it hands back to the positions before
`start` is nobody's business where nobody asks: the coefficients of the span do all the work.
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


def span(op: Operator, start: int, stop: int, n_tokens: int) -> Operator:
    """`op`, which maps n_tokens positions to as many and looks at none that follow, for blocks of those from `start` to
    before `stop`."""
    return op if start == 0 and stop == n_tokens else _span(op, slice(start, stop), n_tokens, 0)


def _span(op: Operator, at: slice, total: int, inner: int) -> Operator:
    """inner: axes between the positions' and the last one of a block (1 inside of heads)."""
    if isinstance(op, _ALIKE):
        return op
    if isinstance(op, Residual):
        return Residual(_span(op.branch, at, total, inner), _span(op.skip, at, total, inner), op.name)
    if isinstance(op, Sequential | Parallel):
        return type(op)(_span(part, at, total, inner) for part in op.operators)
    if isinstance(op, Stack):
        return Stack([_span(part, at, total, inner) for part in op.operators], op.widths)
    if isinstance(op, Inside):
        return _changed(op, op=_span(op.op, at, total, inner))
    if isinstance(op, Heads):
        return _changed(op, op=_span(op.op, at, total, inner + 1))
    if type(op) in _COEFFICIENTS:
        # that of a rotation has its heads' axis already
        more = inner if type(op) in (Scale, Bias, Reject, Shift, Outer) else 0
        axes = _COEFFICIENTS[type(op)]
        return _changed(op, **{name: _cut(getattr(op, name), at, total, axis + more) for name, axis in axes.items()})
    if isinstance(op, Mix):
        return _changed(op, p=op.p[..., at, at])
    if isinstance(op, Attend):
        ways = {name: _span(getattr(op, name), at, total, inner) for name in ("queries", "keys", "values")}
        # queries meet what lies before the span as well
        seen = {"k": op.k[: at.stop], "v": op.v[: at.stop], "p": op.p[..., at, : at.stop]}
        slope = None if op.slope is None else op.slope[..., at, : at.stop]
        return _changed(op, q=op.q[at], slope=slope, before=at.start, **seen, **ways)
    if isinstance(op, Routed) and op.shape == (total,) and not inner:
        return Routed(_routes(op, at), (at.stop - at.start,), op.n_in, op.n_out)
    if isinstance(op, Weigh):
        return _changed(op, rank=op.rank[at], x=op.x[..., at, :])
    return Padded(op, at, total, inner)


class Padded(Operator):
    """A span of an operator's positions, as all of them with zeros around: right for whatever looks at none that
    follow."""

    def __init__(self, op: Operator, at: slice, n_tokens: int, inner: int = 0) -> None:
        self.op = op
        self.at = at
        self.n_tokens = n_tokens
        self.axis = -2 - inner

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        return self._of_span(self.op.apply(self._padded(x), one))

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        return self._of_span(self.op.adjoint(self._padded(g), tally))

    @property
    def children(self) -> tuple[Operator, ...]:
        return (self.op,)

    def _of_span(self, x: Tensor) -> Tensor:
        return x.narrow(self.axis, self.at.start, self.at.stop - self.at.start)

    def _padded(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, 0) * (-1 - self.axis) + (self.at.start, self.n_tokens - self.at.stop))


def _routes(op: Routed, at: slice) -> list[tuple[Tensor, Operator]]:
    """The routes with the tokens of theirs that are in the span; tokens are in ascending order."""
    found = []
    for tokens, route in op.routes:
        start, stop = int((tokens < at.start).sum()), int((tokens < at.stop).sum())
        if start < stop:
            found.append((tokens[start:stop] - at.start, span(route, start, stop, len(tokens))))
    return found


def _cut(coefficient: Tensor, at: slice, total: int, axis: int) -> Tensor:
    """A span of `total` positions along the axis, counted from the last one; a coefficient that has no such axis, or 1
    there, is that of every position."""
    if coefficient.dim() < axis or coefficient.shape[-axis] != total:
        return coefficient
    return coefficient.narrow(-axis, at.start, at.stop - at.start)


def _changed(op: Operator, /, **attributes: Any) -> Operator:
    new = copy.copy(op)
    for name, value in attributes.items():
        setattr(new, name, value)
    return new
