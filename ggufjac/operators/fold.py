"""Fewer operations for many columns: a token's MLP, scale and all, as one matrix.

With its gate frozen, the MLP of token t is the matrix F_t = W_down diag(s_t) W_up. Making it costs 2 d^2 d_ff
operations a token and saves 2 (2 d d_ff - d^2) a column, so it pays beyond d d_ff / (2 d_ff - d) columns. Where gate
and projection are both live, F_t = W_down (diag(s_t) W_up + diag(r_t) W_gate).
Constants are left out: folded operators serve columns of the linear map, never values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ggufjac.operators.base import One, Operator, Parallel, Residual, Sequential, Tally
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


@dataclass(frozen=True)
class _Scaled:
    """One way into a product: a projection up, and what each of its T outputs is multiplied by, s [T, n_ff]."""

    up: MatMul
    s: Tensor


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
    """Fold what `out` ends in, if it is a product, a scale and a product, or several of the first two side by side."""
    live = [(i, part) for i, part in enumerate(out) if not isinstance(part, Bias)][-3:]
    if len(live) < 2 or not isinstance(live[-1][1], MatMul):
        return
    down, (before, last) = live[-1][1], live[-2]
    if isinstance(last, Parallel):
        start, branches = before, [_branch(branch) for branch in last.operators]
    else:
        start, branches = live[0][0], [_scaled([part for _, part in live[:-1]])]
    found = [branch for branch in branches if branch is not None]
    if len(found) == len(branches) and _pays(found, down, columns) and _folded_bytes(found, down) <= room:
        out[start:] = [PerToken(_matrices(found, down))]


def _branch(op: Operator) -> _Scaled | None:
    parts = op.operators if isinstance(op, Sequential) else (op,)
    return _scaled([part for part in parts if not isinstance(part, Bias)])


def _scaled(parts: list[Operator]) -> _Scaled | None:
    if len(parts) == 2 and isinstance(parts[0], MatMul) and isinstance(parts[1], Scale) and parts[1].s.dim() == 2:
        return _Scaled(parts[0], parts[1].s)
    return None


def _pays(branches: list[_Scaled], down: MatMul, columns: int) -> bool:
    n_out = down.weight.n_out
    # Where products with packed weights are made of halves, those with dense matrices of float32 would be slower.
    if down.store is not None and down.store.kernels.fast_halves and branches[0].s.dtype == torch.float32:
        return False
    n_ff, n_in = branches[0].up.weight.shape
    as_they_are = n_ff * (len(branches) * n_in + n_out)
    return columns * (as_they_are - n_in * n_out) > len(branches) * n_ff * n_in * n_out


def _folded_bytes(branches: list[_Scaled], down: MatMul) -> int:
    """Of the matrices of all tokens, and of what is expanded on the way to them."""
    s, n_out = branches[0].s, down.weight.n_out
    n_ff, n_in = branches[0].up.weight.shape
    rows = 2 * min(ROWS, n_out) if down.store is None else 2 * DEVICE_ROWS
    # one as it comes from float32, and all of them
    whole = (len(branches) + 2) * n_ff * n_in if down.store is None and _expands(s) else 0
    return (s.shape[0] * n_in * n_out + rows * n_ff + whole) * s.element_size()


def _matrices(branches: list[_Scaled], down: MatMul) -> Tensor:
    """F_t for every token: [T, n_out, n_in]."""
    like = branches[0].s
    n_tokens, n_out = like.shape[0], down.weight.n_out
    made = like.new_empty(n_tokens, n_out, branches[0].up.weight.n_in)
    if down.store is None:
        products_of = [_into(b.up.weight, like) for b in branches]
        for start in range(0, n_out, ROWS):
            rows = _expanded(down.weight.rows(start, start + ROWS), like)
            for t, matrix in enumerate(made):
                ways = zip(products_of, branches, strict=True)
                matrix[start : start + ROWS] = _sum(into(rows * b.s[t]) for into, b in ways)
        return made
    start, step = 0, max(1, DEVICE_ROWS // n_tokens)
    for tile in device.expanded(down.store, down.weight, like):
        for rows in tile.split(step):
            scaled = ((b, (rows * b.s[:, None]).flatten(0, 1)) for b in branches)
            product = _sum(products.adjoint(b.up.weight, x, b.up.store) for b, x in scaled)
            made[:, start : start + rows.shape[0]] = product.unflatten(0, (n_tokens, -1))
            start += rows.shape[0]
    return made


def _into(weight: QuantTensor, like: Tensor) -> Callable[[Tensor], Tensor]:
    """x -> x W. Where the kernels do not multiply, W is expanded once for all tokens."""
    if not _expands(like):
        return partial(products.adjoint, weight)
    w = _expanded(weight, like)
    return lambda x: x @ w


def _expands(like: Tensor) -> bool:
    return like.dtype == torch.bfloat16


def _sum(pieces: Iterable[Tensor]) -> Tensor:
    first, *rest = pieces
    for piece in rest:
        first += piece
    return first


def _expanded(weight: QuantTensor, like: Tensor) -> Tensor:
    return like.new_empty(weight.shape) if like.is_meta else weight.dequantize(like.dtype)
