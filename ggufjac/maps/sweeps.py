"""Columns through a stack of operators, forwards or backwards, in pieces that fit a memory budget.

Layers are the outer loop: each layer's weights are met once per sweep however many columns there are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress

import torch
from torch import Tensor

from ggufjac.errors import UserError
from ggufjac.operators import One, Operator
from ggufjac.operators.fold import fold
from ggufjac.quants.threads import kernels_first

#: Columns are cut so that the values of one piece stay near the caches.
PIECE_BYTES = 3 << 20


def default_budget() -> int:
    """A quarter of the machine's memory, in bytes; 4 GiB where the machine does not tell."""
    with suppress(ValueError, OSError, AttributeError):
        return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4)
    return 4 << 30


def columns_within(budget: int, column_bytes: int) -> int:
    """How many columns of the given size fit; two blocks of them live at once."""
    columns = budget // (2 * column_bytes)
    if columns < 1:
        need = -(-2 * column_bytes >> 20)
        raise UserError(f"the memory budget of {budget >> 20} MiB does not hold one column; the smallest is {need} MiB")
    return columns


def forward(operators: Iterable[Operator], x: Tensor, one: One = None) -> Tensor:
    """x [n, T, d] through the operators in order."""
    with kernels_first():
        for op in operators:
            x = _joined([op.apply(piece, unit) for piece, unit in _pieces(x, one)])
    return x


def backward(operators: Sequence[Operator], g: Tensor) -> Tensor:
    """g [n, T', d] through the transposed operators, last to first."""
    columns = g.shape[0]
    with kernels_first():
        for op in reversed(operators):
            cheap = fold(op, columns)
            g = _joined([cheap.adjoint(piece) for piece, _ in _pieces(g, None)])
    return g


def _joined(pieces: list[Tensor]) -> Tensor:
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def _pieces(x: Tensor, one: One) -> Iterable[tuple[Tensor, One]]:
    step = max(16, PIECE_BYTES // max(1, x[0].numel() * x.element_size())) if x.shape[0] else 1
    for start in range(0, max(1, x.shape[0]), step):
        unit = one[start : start + step] if isinstance(one, Tensor) else one
        yield x[start : start + step], unit
