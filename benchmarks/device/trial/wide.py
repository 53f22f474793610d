"""Wide products: tiles of other sizes, the adjoint in bfloat16 by columns, or with sums that stay in float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.device.check import Check, Clock
from benchmarks.device.products import ALLOWED, DTYPES
from benchmarks.device.rows import Row
from benchmarks.device.trial.candidates import TYPE
from benchmarks.device.trial.matrix import Matrix
from benchmarks.device.trial.tried import NOW, PHASE, tried
from ggufjac.quants.device import halves
from ggufjac.quants.device.choice import kernels_of
from ggufjac.quants.device.kernels import Kernels
from ggufjac.quants.device.products import TILE_WEIGHTS
from ggufjac.quants.memory.precision import all_digits
from ggufjac.quants.triton_kernels import launch

#: Weights that are expanded at a time, in powers of two; how long sums on float16's units are, for the middle one.
TILES, STRETCHES = (24, 26, 28), (1024, 2048)
#: Rows of the result that are compared, and seconds for one timing.
COMPARED, SECONDS = 64, 0.01


def rows(check: Check, clock: Clock) -> Iterator[Row]:
    shapes, kernels = check.settings.scale.shapes, kernels_of(check.card.device)
    summed = halves.offered(check.card.device)
    for shape in dict.fromkeys((shapes[0], shapes[-1])):
        matrix = Matrix(check, shape)
        for adjoint in (False, True):
            for dtype in DTYPES:
                some, exact = matrix.block(COMPARED, dtype, adjoint=adjoint)
                for m in check.settings.scale.wide:
                    x = some.repeat(-(-m // COMPARED), 1)[:m]
                    for name, product, now in _ways(kernels, dtype, adjoint=adjoint, summed=summed):
                        if clock.left <= 0:
                            yield Row(PHASE, "wide products", note="the rest was not timed: its time is over")
                            return
                        row = Row(PHASE, matrix.name(adjoint=adjoint), str(m), str(dtype).removeprefix("torch."), name)
                        row = replace(row, unit="TFLOP/s", note=NOW if now else "")
                        work = partial(_digits, product, matrix, x, adjoint)
                        row = tried(check, row, [work], exact, ALLOWED[dtype], SECONDS, captured=False)
                        flops = 2 * m * matrix.n_out * matrix.n_in
                        yield row if row.seconds is None else replace(row, rate=flops / row.seconds / 1e12)


def _ways(
    kernels: Kernels, dtype: torch.dtype, *, adjoint: bool, summed: bool
) -> Iterator[tuple[str, Callable[..., Tensor], bool]]:
    """(name, product of (matrix, x, adjoint), whether the engine's). summed: whether torch has sums in float32."""
    for bits in TILES:
        usual = 1 << bits == TILE_WEIGHTS
        if dtype == torch.float32:
            yield f"one product, 2^{bits}", partial(_expanded, kernels, 1 << bits), usual and not kernels.fast_halves
            for stretch in STRETCHES if bits == TILES[1] else (halves.STRETCH,):
                now = usual and kernels.fast_halves
                name = f"three of halves, 2^{bits}, stretches of {stretch}"
                yield name, partial(_halves, kernels, 1 << bits, stretch), now
        elif adjoint:
            yield f"tiles rounded, 2^{bits}", partial(_rounded, kernels, 1 << bits), usual
            if summed:
                yield f"sums in float32, 2^{bits}", partial(_summed, kernels, 1 << bits), False
            yield f"by columns, 2^{bits}", partial(_columns, 1 << bits), False
        else:
            yield f"one product, 2^{bits}", partial(_expanded, kernels, 1 << bits), usual


@all_digits()
def _digits(product: Callable[..., Tensor], matrix: Matrix, x: Tensor, adjoint: bool) -> Tensor:
    return product(matrix, x, adjoint)


def _tiles(matrix: Matrix, weights: int) -> Iterator[tuple[slice, Tensor]]:
    """Rows of W, and their numbers."""
    step = max(128, weights // matrix.n_in // 128 * 128)
    for start in range(0, matrix.n_out, step):
        rows = matrix.packed[0][start : start + step]
        yield slice(start, start + rows.shape[0]), rows


def _expanded(kernels: Kernels, weights: int, matrix: Matrix, x: Tensor, adjoint: bool) -> Tensor:
    """One product for each tile."""
    total: Tensor | None = None
    out = x.new_empty(x.shape[0], matrix.n_in if adjoint else matrix.n_out)
    for tile, rows in _tiles(matrix, weights):
        w = kernels.expand(TYPE, rows, matrix.n_in, x.dtype)
        if not adjoint:
            torch.mm(x, w.T, out=out[:, tile])
        elif total is None:
            total = torch.mm(x[:, tile], w, out=out)
        else:
            total.addmm_(x[:, tile], w)
    return out


def _halves(kernels: Kernels, weights: int, stretch: int, matrix: Matrix, x: Tensor, adjoint: bool) -> Tensor:
    """Three products of float16 parts for each tile, whose sums on float16's units are so long at most."""
    with patch.object(halves, "STRETCH", stretch):
        split = halves.halves_of(x, by_row=True)
        out = x.new_zeros(x.shape[0], matrix.n_in if adjoint else matrix.n_out)
        for tile, rows in _tiles(matrix, weights):
            w = kernels.halves(TYPE, rows, matrix.n_in)
            if adjoint:
                out += halves.adjoint(split.columns(tile.start, tile.stop), w)
            else:
                out[:, tile] = halves.apply(split, w)
        return out


def _rounded(kernels: Kernels, weights: int, matrix: Matrix, g: Tensor, adjoint: bool) -> Tensor:
    """g W in bfloat16 for each tile, widened and summed."""
    total: Tensor | None = None
    for tile, rows in _tiles(matrix, weights):
        made = torch.mm(g[:, tile], kernels.expand(TYPE, rows, matrix.n_in, g.dtype)).float()
        total = made if total is None else total.add_(made)
    assert total is not None
    return total.to(g.dtype)


def _summed(kernels: Kernels, weights: int, matrix: Matrix, g: Tensor, adjoint: bool) -> Tensor:
    """g W with a result in float32 to which the library adds the next tile's."""
    total: Tensor | None = None
    for tile, rows in _tiles(matrix, weights):
        w = kernels.expand(TYPE, rows, matrix.n_in, g.dtype)
        if total is None:
            total = torch.mm(g[:, tile], w, out_dtype=torch.float32)
        else:
            torch.addmm(total, g[:, tile], w, out_dtype=torch.float32, out=total)
    assert total is not None
    return total.to(g.dtype)


def _columns(weights: int, matrix: Matrix, g: Tensor, adjoint: bool) -> Tensor:
    """g W for some columns of W after the others, so that nothing is added."""
    step = max(TYPE.block, weights // matrix.n_out // TYPE.block * TYPE.block)
    packed, out = matrix.packed[0], g.new_empty(g.shape[0], matrix.n_in)
    for start in range(0, matrix.n_in, step):
        stop = min(start + step, matrix.n_in)
        some = packed[:, start // TYPE.block * TYPE.block_bytes : stop // TYPE.block * TYPE.block_bytes]
        w = g.new_empty(matrix.n_out, stop - start)
        made = launch.expansion(TYPE, some, w)
        made = replace(made, arguments=(some, w, packed.stride(0), *w.shape))  # a row begins where W's does
        made.run(g.device)
        torch.mm(g, w, out=out[:, start:stop])
    return out
