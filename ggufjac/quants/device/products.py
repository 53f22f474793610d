"""x W^T and g W on a device, chunk by chunk of the packed weights as they lie there or arrive.

A few rows of x meet the weights while these are expanded, in one kernel; for many rows a tile of weights is expanded
and the device's own library multiplies.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ggufjac.quants.device import halves
from ggufjac.quants.memory.precision import all_digits
from ggufjac.quants.memory.store import DeviceWeights, even_rows
from ggufjac.quants.tensor import QuantTensor

#: Weights expanded at a time: 16 Mi weights are 64 MiB in float32, a few times that where torch's operations make them.
TILE_WEIGHTS = 1 << 24
#: Rows of x from which three products of float16 parts are worth splitting x and W.
WORTH_SPLITTING = 128


@all_digits()
def apply(store: DeviceWeights, weight: QuantTensor, x: Tensor) -> Tensor:
    """x W^T for x [m, n_in], on the device of x."""
    kernels, n_in = store.kernels, weight.n_in
    out = x.new_empty(x.shape[0], weight.n_out)
    split = halves.halves_of(x, by_row=True) if _splits(store, x) else None
    for chunk, packed in store.chunks(weight):
        fused = kernels.apply(weight.type, packed, n_in, x)
        if fused is not None:
            out[:, chunk] = fused
            continue
        for tile, rows in _tiles(packed, n_in, chunk.start):
            if split is not None:
                out[:, tile] = halves.apply(split, kernels.halves(weight.type, rows, n_in))
            else:
                torch.mm(x, kernels.expand(weight.type, rows, n_in, x.dtype).T, out=out[:, tile])
    return out


@all_digits()
def adjoint(store: DeviceWeights, weight: QuantTensor, g: Tensor) -> Tensor:
    """g W for g [m, n_out], on the device of g."""
    kernels, n_in = store.kernels, weight.n_in
    split = halves.halves_of(g, by_row=True) if _splits(store, g) else None
    total: Tensor | None = None
    for chunk, packed in store.chunks(weight):
        fused = kernels.adjoint(weight.type, packed, n_in, g[:, chunk])
        if fused is not None:
            total = _add(total, fused)
            continue
        for tile, rows in _tiles(packed, n_in, chunk.start):
            if split is not None:
                part = split.columns(tile.start, tile.stop)
                total = _add(total, halves.adjoint(part, kernels.halves(weight.type, rows, n_in)))
            else:
                expanded = kernels.expand(weight.type, rows, n_in, g.dtype)
                total = _add_product(total, g[:, tile], expanded)
    return g.new_zeros(g.shape[0], n_in) if total is None else total.to(g.dtype)


def expanded(store: DeviceWeights, weight: QuantTensor, like: Tensor) -> Iterator[Tensor]:
    """The rows of W in tiles [r, n_in] on the device and in the dtype of `like`; the bytes travel packed."""
    for chunk, packed in store.chunks(weight):
        for _, rows in _tiles(packed, weight.n_in, chunk.start):
            yield store.kernels.expand(weight.type, rows, weight.n_in, like.dtype)


def _splits(store: DeviceWeights, x: Tensor) -> bool:
    return store.kernels.fast_halves and x.dtype == torch.float32 and x.shape[0] >= WORTH_SPLITTING


def _tiles(packed: Tensor, n_in: int, first: int) -> Iterator[tuple[slice, Tensor]]:
    """Rows that are expanded together, and their numbers; `first` is that of the first packed row."""
    step = even_rows(TILE_WEIGHTS // max(1, n_in))
    for start in range(0, packed.shape[0], step):
        rows = packed[start : start + step]
        yield slice(first + start, first + start + rows.shape[0]), rows


def _add(total: Tensor | None, part: Tensor) -> Tensor:
    return part if total is None else total.add_(part)


def _add_product(total: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
    """total + a b; parts of bfloat16 are summed in float32, and one alone is left as it is."""
    if a.dtype == torch.bfloat16 and total is not None:
        return _add(total.float(), torch.mm(a, b).float())
    return torch.mm(a, b) if total is None else total.addmm_(a, b)
