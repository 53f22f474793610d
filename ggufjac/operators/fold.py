"""Fewer operations for many columns: a token's MLP, scale and all, as one matrix.

With its gate frozen, the MLP of token t is the matrix F_t = W_down diag(s_t) W_up. Making it costs 2 d^2 d_ff
operations a token and saves 2 (2 d d_ff - d^2) a column, so it pays beyond d d_ff / (2 d_ff - d) columns.
Constants are left out: folded operators serve columns of the linear map, never values.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ggufjac.operators.base import Chain, One, Operator, Residual, Tally
from ggufjac.operators.elementwise import Bias, Scale
from ggufjac.operators.matmul import MatMul
from ggufjac.quants import products


class PerToken(Operator):
    """y_t = F_t x_t with a dense matrix F_t [n_out, n_in] for each of T tokens."""

    def __init__(self, matrices: Sequence[Tensor]) -> None:
        self.weights = [products.Dense(f) for f in matrices]

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        return torch.stack([f.apply(x[..., t, :]) for t, f in enumerate(self.weights)], -2)

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        return torch.stack([f.adjoint(g[..., t, :]) for t, f in enumerate(self.weights)], -2)


def fold(op: Operator, columns: int) -> Operator:
    """`op`, with every MLP in it folded for which that pays at this many columns."""
    if isinstance(op, Residual):
        branch = fold(op.branch, columns)
        return op if branch is op.branch else Residual(branch, op.skip, op.name)
    if not isinstance(op, Chain):
        return op
    parts = [fold(part, columns) for part in op.operators]
    out: list[Operator] = []
    for part in parts:
        out.append(part)
        if isinstance(part, Bias):
            continue
        _fold_tail(out, columns)
    return op if out == list(op.operators) else Chain(out)


def _fold_tail(out: list[Operator], columns: int) -> None:
    live = [(i, part) for i, part in enumerate(out) if not isinstance(part, Bias)][-3:]
    if len(live) < 3:
        return
    (start, up), (_, scale), (_, down) = live
    if (
        isinstance(up, MatMul)
        and isinstance(scale, Scale)
        and isinstance(down, MatMul)
        and _pays(up, scale, down, columns)
    ):
        out[start:] = [PerToken(_matrices(up, scale, down))]


def _pays(up: MatMul, scale: Scale, down: MatMul, columns: int) -> bool:
    (n_ff, n_in), n_out = up.weight.shape, down.weight.n_out
    if scale.s.dim() != 2:
        return False
    return columns * (n_ff * (n_in + n_out) - n_in * n_out) > n_ff * n_in * n_out


def _matrices(up: MatMul, scale: Scale, down: MatMul) -> list[Tensor]:
    dense = down.weight.dequantize(scale.s.dtype)
    return [products.adjoint(up.weight, dense * s) for s in scale.s]
