"""Products on any torch device but the CPU, tile by tile."""

from __future__ import annotations

import torch
from torch import Tensor

from ggufjac.quants.memory.store import DeviceWeights
from ggufjac.quants.tensor import QuantTensor


def apply(store: DeviceWeights, weight: QuantTensor, x: Tensor) -> Tensor:
    """x W^T for x [m, n_in], on the device of x."""
    out = x.new_empty(x.shape[0], weight.n_out)
    for start, tile in store.tiles(weight, x.dtype):
        out.narrow(1, start, tile.shape[0]).copy_(x @ tile.T)
    return out


def adjoint(store: DeviceWeights, weight: QuantTensor, g: Tensor) -> Tensor:
    """g W for g [m, n_out], on the device of g."""
    out = g.new_zeros(g.shape[0], weight.n_in)
    for start, tile in store.tiles(weight, g.dtype):
        out.addmm_(g.narrow(1, start, tile.shape[0]), tile)
    return out


def expand(store: DeviceWeights, weight: QuantTensor, like: Tensor) -> Tensor:
    """All weights [n_out, n_in] on the device and in the dtype of `like`; the bytes travel packed."""
    return torch.cat([tile for _, tile in store.tiles(weight, like.dtype)])
