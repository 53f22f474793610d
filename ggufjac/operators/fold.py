"""Fewer operations for many columns: a token's MLP, scale and all, as one matrix.

With its gate frozen, the MLP of token t is the matrix F_t = W_down diag(s_t) W_up. Making it costs 2 d^2 d_ff
operations a token and saves 2 (2 d d_ff - d^2) a column, so it pays beyond d d_ff / (2 d_ff - d) columns.
Constants are left out: folded operators serve columns of the linear map, never values.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ggufjac.operators.base import One, Operator, Residual, Sequential, Tally
from ggufjac.operators.elementwise import Bias, Scale
from ggufjac.operators.matmul import MatMul
from ggufjac.quants import device, products
from ggufjac.quants.memory.store import DeviceWeights
from ggufjac.quants.tensor import QuantTensor


class PerToken(Operator):
    """y_t = F_t x_t with a dense matrix F_t [n_out, n_in] for each of T tokens."""

    def __init__(self, matrices: Sequence[Tensor]) -> None:
        self.weights = [products.Dense(f) for f in matrices]

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        return torch.stack([f.apply(x[..., t, :]) for t, f in enumerate(self.weights)], -2)

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        return torch.stack([f.adjoint(g[..., t, :]) for t, f in enumerate(self.weights)], -2)


#: Rows of the down projection that are expanded at a time.
ROWS = 1 << 10


def fold(op: Operator, columns: int, room: int) -> Operator:
    """`op`, with every MLP in it folded for which that pays at this many columns and fits into `room` bytes."""
    if isinstance(op, Residual):
        branch = fold(op.branch, columns, room)
        return op if branch is op.branch else Residual(branch, op.skip, op.name)
    if not isinstance(op, Sequential):
        return op
    parts = [fold(part, columns, room) for part in op.operators]
    out: list[Operator] = []
    for part in parts:
        out.append(part)
        if isinstance(part, Bias):
            continue
        _fold_tail(out, columns, room)
    return op if out == list(op.operators) else Sequential(out)


def _fold_tail(out: list[Operator], columns: int, room: int) -> None:
    live = [(i, part) for i, part in enumerate(out) if not isinstance(part, Bias)][-3:]
    if len(live) < 3:
        return
    (start, up), (_, scale), (_, down) = live
    if (
        isinstance(up, MatMul)
        and isinstance(scale, Scale)
        and isinstance(down, MatMul)
        and _pays(up, scale, down, columns)
        and _folded_bytes(up, scale, down) <= room
    ):
        out[start:] = [PerToken(_matrices(up, scale, down))]


def _pays(up: MatMul, scale: Scale, down: MatMul, columns: int) -> bool:
    (n_ff, n_in), n_out = up.weight.shape, down.weight.n_out
    if scale.s.dim() != 2:
        return False
    return columns * (n_ff * (n_in + n_out) - n_in * n_out) > n_ff * n_in * n_out


def _folded_bytes(up: MatMul, scale: Scale, down: MatMul) -> int:
    """Of the matrices of all tokens, and of what is expanded on the way to them."""
    (n_ff, n_in), n_out = up.weight.shape, down.weight.n_out
    return (scale.s.shape[0] * n_in * n_out + 2 * min(ROWS, n_out) * n_ff) * scale.s.element_size()


def _expanded(weight: QuantTensor, store: DeviceWeights | None, like: Tensor) -> Tensor:
    if like.is_meta and store is None:
        return like.new_empty(weight.shape)
    if like.device.type == "cpu":
        return weight.dequantize(like.dtype)
    return device.expand(store or DeviceWeights(like.device), weight, like)


def _matrices(up: MatMul, scale: Scale, down: MatMul) -> list[Tensor]:
    n_out, n_in = down.weight.n_out, up.weight.n_in
    made = [scale.s.new_empty(n_out, n_in) for _ in scale.s]
    for start in range(0, n_out, ROWS):
        rows = _expanded(down.weight.rows(start, start + ROWS), down.store, scale.s)
        for matrix, s in zip(made, scale.s, strict=True):
            matrix[start : start + ROWS] = products.adjoint(up.weight, rows * s, up.store)
    return made
