"""x W^T and g W for packed W, tile by tile, on any torch device.

On the CPU the C++ kernels dequantise a tile into cache and multiply; other devices are `ggufjac.quants.device`. Both
directions are linear in x, so each is the other's derivative: autograd sees one function whose backward pass is the
opposite product.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ggufjac.quants import native
from ggufjac.quants.device import products as device
from ggufjac.quants.memory.store import DeviceWeights
from ggufjac.quants.memory.threads import kernel_threads
from ggufjac.quants.tensor import QuantTensor
from ggufjac.reader.types import GGMLType


def apply(weight: QuantTensor, x: Tensor, store: DeviceWeights | None = None) -> Tensor:
    """x W^T: [..., n_in] -> [..., n_out], in the dtype of x (float32 or float64); store: where a device has W."""
    return _product(x, weight, store, False)


def adjoint(weight: QuantTensor, g: Tensor, store: DeviceWeights | None = None) -> Tensor:
    """g W: [..., n_out] -> [..., n_in], in the dtype of g (float32 or float64); store: where a device has W."""
    return _product(g, weight, store, True)


class Dense:
    """A matrix W [n_out, n_in] of floats with the same two products: on the kernels where it is float32 on the CPU."""

    def __init__(self, matrix: Tensor) -> None:
        self._matrix = matrix
        self._packed: QuantTensor | None = None
        if matrix.device.type == "cpu" and matrix.dtype == torch.float32:
            data = matrix.contiguous().numpy().view(np.uint8)
            self._packed = QuantTensor("dense", GGMLType.F32, matrix.shape[1], data)

    def apply(self, x: Tensor) -> Tensor:
        """x W^T."""
        return x @ self._matrix.T if self._packed is None else apply(self._packed, x)

    def adjoint(self, g: Tensor) -> Tensor:
        """g W."""
        return g @ self._matrix if self._packed is None else adjoint(self._packed, g)


def _product(x: Tensor, weight: QuantTensor, store: DeviceWeights | None, transposed: bool) -> Tensor:
    out: Tensor = _Product.apply(x, weight, store, transposed)  # type: ignore[no-untyped-call]
    return out


class _Product(torch.autograd.Function):
    """The product as autograd sees it: linear in x, with a constant weight."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: QuantTensor, store: DeviceWeights | None, transposed: bool) -> Tensor:
        ctx.weight, ctx.store, ctx.transposed = weight, store, transposed
        n = weight.n_out if transposed else weight.n_in
        if x.shape[-1] != n:
            raise ValueError(f"{weight.name}: a block with {x.shape[-1]} columns meets a matrix that wants {n}")
        flat = x.reshape(-1, n)
        if flat.is_meta and store is None:  # a rehearsal: shapes and operations alone
            nothing = flat.new_empty(1, 1).expand(weight.shape)
            out = flat @ (nothing if transposed else nothing.T)
        elif store is None and flat.device.type == "cpu" and flat.dtype in (torch.float32, torch.float64):
            out = _on_cpu(flat, weight, transposed)
        else:
            product = device.adjoint if transposed else device.apply
            out = product(store or DeviceWeights(flat.device), weight, flat)
        return out.reshape(*x.shape[:-1], out.shape[-1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        return _product(grads[0], ctx.weight, ctx.store, not ctx.transposed), None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        return _product(tangents[0], ctx.weight, ctx.store, ctx.transposed)


def _on_cpu(x: Tensor, weight: QuantTensor, transposed: bool) -> Tensor:
    product = native.matmul_adjoint if transposed else native.matmul
    out = product(weight.type, weight.data, x.detach().numpy(), threads=kernel_threads())
    return torch.from_numpy(out)
