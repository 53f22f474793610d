"""Fewer operations for many columns: a token's MLP, scale and all, as one matrix.

With its gate frozen, the MLP of token t is the matrix F_t = W_down diag(s_t) W_up. Making it costs 2 d^2 d_ff
operations a token and saves 2 (2 d d_ff - d^2) a column, so it pays beyond d d_ff / (2 d_ff - d) columns.
Constants are left out: folded operators serve columns of the linear map, never values.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ggufjac.operators.base import One, Operator, Residual, Sequential, Tally
from ggufjac.operators.elementwise import Bias, Scale
from ggufjac.operators.matmul import MatMul
from ggufjac.quants import products
from ggufjac.quants.device import products as device
from ggufjac.quants.tensor import QuantTensor


class PerToken(Operator):
    """y_t = F_t x_t with a dense matrix F_t for each of T tokens; matrices [T, n_out, n_in]."""

    def __init__(self, matrices: Tensor) -> None:
        self.matrices = matrices

    def apply(self, x: Tensor, one: One = None) -> Tensor:
        if self._packed:
            return torch.stack([products.Dense(f).apply(x[..., t, :]) for t, f in enumerate(self.matrices)], -2)
        return torch.einsum("tij,...tj->...ti", self.matrices, x)

    def adjoint(self, g: Tensor, tally: Tally = None) -> Tensor:
        if self._packed:
            return torch.stack([products.Dense(f).adjoint(g[..., t, :]) for t, f in enumerate(self.matrices)], -2)
        return torch.einsum("tij,...ti->...tj", self.matrices, g)

    @property
    def _packed(self) -> bool:
        """Whether the kernels multiply with them as with packed weights."""
        return self.matrices.device.type == "cpu" and self.matrices.dtype == torch.float32


#: Rows of the down projection that are expanded at a time; and rows, those of all tokens together, that a device
#: multiplies at a time, for which the weights of the up projection are expanded once.
ROWS, DEVICE_ROWS = 1 << 10, 1 << 12


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
    # Where products with packed weights are made of halves, those with dense matrices of float32 would be slower.
    halved = down.store is not None and down.store.kernels.fast_halves and scale.s.dtype == torch.float32
    if scale.s.dim() != 2 or halved:
        return False
    return columns * (n_ff * (n_in + n_out) - n_in * n_out) > n_ff * n_in * n_out


def _folded_bytes(up: MatMul, scale: Scale, down: MatMul) -> int:
    """Of the matrices of all tokens, and of what is expanded on the way to them."""
    (n_ff, n_in), n_out = up.weight.shape, down.weight.n_out
    rows = 2 * min(ROWS, n_out) if down.store is None else 2 * DEVICE_ROWS
    return (scale.s.shape[0] * n_in * n_out + rows * n_ff) * scale.s.element_size()


def _matrices(up: MatMul, scale: Scale, down: MatMul) -> Tensor:
    """F_t for every token: [T, n_out, n_in]."""
    n_tokens, n_out = scale.s.shape[0], down.weight.n_out
    made = scale.s.new_empty(n_tokens, n_out, up.weight.n_in)
    if down.store is None:
        for start in range(0, n_out, ROWS):
            rows = _expanded(down.weight.rows(start, start + ROWS), scale.s)
            for matrix, s in zip(made, scale.s, strict=True):
                matrix[start : start + ROWS] = products.adjoint(up.weight, rows * s)
        return made
    start, step = 0, max(1, DEVICE_ROWS // n_tokens)
    for tile in device.expanded(down.store, down.weight, scale.s):
        for rows in tile.split(step):
            scaled = (rows * scale.s[:, None]).flatten(0, 1)
            product = products.adjoint(up.weight, scaled, up.store)
            made[:, start : start + rows.shape[0]] = product.unflatten(0, (n_tokens, -1))
            start += rows.shape[0]
    return made


def _expanded(weight: QuantTensor, like: Tensor) -> Tensor:
    return like.new_empty(weight.shape) if like.is_meta else weight.dequantize(like.dtype)
